"""The receipt keys of a process: from its settings, and again from their file at SIGHUP."""

from __future__ import annotations

from streams.domain.receipts import Keyring
from streams.settings import Settings


def keyring_of(settings: Settings) -> Keyring:
    """Return the keyring of a process.

    Raises:
        ConfigurationError: there are no keys, or they cannot be used.
    """
    return Keyring.parse(settings.signing_keys)


def reload_keyring(keyring: Keyring, settings: Settings) -> str:
    """Take the keys that the settings give now; return what is to be logged of them.

    Raises:
        ConfigurationError: they cannot be read or used; the keyring is as it was.
    """
    keyring.take(keyring_of(settings))
    signs, *verify = keyring.ids
    return f"key {signs} signs, {', '.join(map(str, verify)) or 'none'} besides verifies"
