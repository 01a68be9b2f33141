"""The receipt keys of a process: from its settings, and again from their file at SIGHUP."""

from __future__ import annotations

from pydantic import SecretStr

from streams.experiments.snapshot import Snapshot
from streams.model.errors import ConfigurationError
from streams.model.receipts import Keyring
from streams.settings import Settings


def keyring_of(settings: Settings) -> Keyring:
    """Return the keyring of a process.

    Raises:
        ConfigurationError: there are no keys, or they cannot be used.
    """
    return _parsed(settings.signing_keys)


def _parsed(text: str) -> Keyring:
    keyring = Keyring.parse(text)
    if not any(map(keyring.is_unlimited, keyring.ids)):
        message = "every receipt key is limited to some experiments, must be one that is not"
        raise ConfigurationError(message, "receipt_keys")
    return keyring


class ReceiptKeys:
    """The keys that this process has, whatever their file holds by now.

    Attributes:
        keyring: Signs and verifies with them.

    Raises:
        ConfigurationError: there are no keys, or they cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._text = settings.signing_keys
        self.keyring = _parsed(self._text)

    def note(self, snapshot: Snapshot) -> None:
        """Have the receipts of an experiment signed by the key that signed when it started."""
        experiment = snapshot.experiment
        self.keyring.sign_with(experiment.number, experiment.definition.config.receipt_key)

    def forget(self, snapshot: Snapshot) -> None:
        """Forget the key of an experiment that has ended."""
        self.keyring.sign_with(snapshot.experiment.number, None)

    def reload(self) -> str:
        """Take the keys that the settings give now; return what is to be logged of them.

        Raises:
            ConfigurationError: they cannot be read or used; everything is as it was.
        """
        text = self._settings.signing_keys
        self.keyring.take(_parsed(text))
        self._text = text
        signs, *verify = sorted(self.keyring.ids, key=self.keyring.limits.__contains__)
        return f"key {signs} signs, {', '.join(map(str, verify)) or 'none'} besides verifies"

    def as_settings(self) -> Settings:
        """Return the settings with the keys of this process, for what reads them on its own."""
        return self._settings.model_copy(
            update={"receipt_keys": SecretStr(self._text), "receipt_keys_file": None}
        )
