"""Encryption of addresses and secrets in the log.

Fernet (AES-128-CBC with HMAC-SHA256) of the package `cryptography`. The first key encrypts, all
keys decrypt.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from streams.model.errors import ConfigurationError, EngineError
from streams.settings import ENVIRONMENT_PREFIX, Settings

VARIABLE = f"{ENVIRONMENT_PREFIX}WEBHOOK_KEYS"


class SealError(EngineError):
    """An encrypted record that no key of this process can decrypt.

    Operator action: add the key that it was encrypted with, behind the newest one.
    """


@dataclass(frozen=True, slots=True)
class Confidential:
    """Confidential part of a webhook.

    Attributes:
        url: Its address, which may contain a token, as in Slack.
        secrets: Signing secrets, newest first; empty for a webhook without signatures.
        old_until_ms: Time from which only the newest one signs, in ms since the epoch.
        request_id: Id of the request that created it, as in `keyed_command_id`; empty without an
            idempotency key.
    """

    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    old_until_ms: int = 0
    request_id: str = ""

    def signing_secrets(self, now_ms: int) -> tuple[str, ...]:
        """Return the secrets that sign at a time."""
        return self.secrets if now_ms < self.old_until_ms else self.secrets[:1]


class Seals:
    """The keys of a process.

    Args:
        keys: Fernet keys, separated by commas or line breaks.

    Raises:
        ConfigurationError: no key is configured, or one is invalid; the message does not show it.
    """

    def __init__(self, keys: str) -> None:
        found = [each.strip() for each in keys.replace("\n", ",").split(",") if each.strip()]
        if not found:
            raise ConfigurationError(f"{VARIABLE} has no key", VARIABLE)
        try:
            self._fernet = MultiFernet([Fernet(each) for each in found])
        except ValueError:
            message = f"{VARIABLE} must hold 32 bytes in URL-safe base64 for each key"
            raise ConfigurationError(message, VARIABLE) from None

    def seal(self, content: Confidential) -> bytes:
        """Return the sealed form of the confidential part of a webhook."""
        found = {
            "url": content.url,
            "secrets": content.secrets,
            "oldUntilMs": content.old_until_ms,
            "requestId": content.request_id,
        }
        return self._fernet.encrypt(orjson.dumps(found))

    def open(self, sealed: bytes) -> Confidential:
        """Return the confidential part of a webhook.

        Raises:
            SealError: no key decrypts it (`WEBHOOK_SEALED`).
        """
        try:
            found = orjson.loads(self._fernet.decrypt(sealed))
            return Confidential(
                found["url"], tuple(found["secrets"]), found["oldUntilMs"], found["requestId"]
            )
        except (InvalidToken, ValueError, KeyError, TypeError):
            message = f"is sealed with a key that {VARIABLE} does not have"
            raise SealError("WEBHOOK_SEALED", message) from None


def seals_of(settings: Settings) -> Seals | None:
    """Return the keys of a process; None if it has none.

    Raises:
        ConfigurationError: they are invalid.
    """
    keys = settings.sealing_keys
    return None if keys is None else Seals(keys)
