"""API keys and their scopes. Without a file of keys every request is admitted, on loopback only.

The file is JSON; it holds hashes, so reading it gives no access:

    {"keys": [{"name": "ads", "blake2b": "<64 hex digits>", "scopes": ["assign", "observe"]}]}

`python -m api.auth ads assign observe` draws a key, prints it, and prints its line for the file.
"""

from __future__ import annotations

import hmac
import secrets
import sys
from collections.abc import Iterable
from enum import StrEnum
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, NamedTuple

import orjson
from pydantic import Field, StringConstraints

from api.http.error_responses import AccessError
from streams.model.errors import ConfigurationError, InputError, quoted
from streams.model.validation import InputModel, parse
from streams.settings import ENVIRONMENT_PREFIX

DIGEST_BYTES = 32
KEY_BYTES = 32
MAX_CACHED = 1024
"""Presented keys whose verification is remembered; when full, all are verified again."""

_VARIABLE = f"{ENVIRONMENT_PREFIX}API_KEYS_FILE"


class Scope(StrEnum):
    """A right of an API key."""

    ASSIGN = "assign"
    OBSERVE = "observe"
    MANAGE = "manage"
    READ = "read"
    METRICS = "metrics"
    ASSIGNER = "assigner"
    """Of processes that assign by themselves: all snapshots, and batches of impressions."""


class ApiKey(InputModel):
    """An entry of the file of keys.

    Attributes:
        name: Name of the caller. Keys of one name are one caller, as while one replaces the other.
        blake2b: BLAKE2b-256 of the key, hexadecimal. A fast hash is enough: keys are random and
            256 bits long, so there is nothing to guess.
        scopes: Rights of the key.
    """

    name: str
    blake2b: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[frozenset[Annotated[Scope, Field(strict=False)]], Field(strict=False)]


class ApiKeyFile(InputModel):
    """The file of keys."""

    keys: Annotated[tuple[ApiKey, ...], Field(min_length=1, strict=False)]


class _Caller(NamedTuple):
    name: str
    scopes: frozenset[Scope]


class ApiKeyAuth:
    """Authentication and authorization of requests by API key.

    Args:
        keys: The keys; None admits every request.
    """

    def __init__(self, keys: Iterable[ApiKey] | None) -> None:
        self.is_open = keys is None
        self._keys: list[tuple[bytes, _Caller]] = []
        self._verified: dict[bytes, _Caller] = {}
        self.replace_keys(keys or ())

    def replace_keys(self, keys: Iterable[ApiKey]) -> None:
        """Replace the keys."""
        self._keys = [(bytes.fromhex(key.blake2b), _Caller(key.name, key.scopes)) for key in keys]
        self._verified = {}

    def check(self, headers: Iterable[tuple[bytes, bytes]], *scopes: Scope) -> str:
        """Return the caller of a request with these headers, if its key has one of the scopes.

        Returns:
            The name of the API key; empty where the API asks for none.

        Raises:
            AccessError: it carries no known key (`UNAUTHENTICATED`), or one without the scope
                (`FORBIDDEN`).
        """
        if self.is_open:
            return ""
        presented = _presented_key(headers)
        known = self._verified.get(presented)
        if known is None:
            known = self._verify(presented)
        if known.scopes.isdisjoint(scopes):
            raise AccessError(
                "FORBIDDEN", f"the API key does not have the scope {' or '.join(scopes)}"
            )
        return known.name

    def _verify(self, presented: bytes) -> _Caller:
        digest = _digest(presented)
        found: _Caller | None = None
        for known, holder in self._keys:  # all of them, so that the time reveals nothing
            if hmac.compare_digest(known, digest):
                found = holder
        if found is None:
            raise AccessError("UNAUTHENTICATED", "the request carries no valid API key")
        if len(self._verified) >= MAX_CACHED:
            self._verified.clear()
        self._verified[presented] = found
        return found


def api_key_auth(host: str, file: Path | None) -> ApiKeyAuth:
    """Return the authentication of an API that listens on `host`.

    Raises:
        ConfigurationError: the file cannot be used, or there is none and `host` is not loopback.
    """
    if file is not None:
        return ApiKeyAuth(read_keys(file))
    if not is_loopback(host):
        raise ConfigurationError(
            f"api_host == {quoted(host)} can be reached by others, "
            f"so {_VARIABLE} must name a file of API keys",
            _VARIABLE,
        )
    return ApiKeyAuth(None)


def reload_keys(auth: ApiKeyAuth, file: Path) -> str:
    """Replace the keys by those that the file holds now; return a summary for the log.

    Raises:
        ConfigurationError: as `read_keys`; the keys stay as they were.
    """
    keys = read_keys(file)
    auth.replace_keys(keys)
    return f"{len(keys)} keys"


def read_keys(file: Path) -> tuple[ApiKey, ...]:
    """Return the keys of a file.

    Raises:
        ConfigurationError: it cannot be read, or does not hold keys.
    """
    try:
        return parse(ApiKeyFile, orjson.loads(file.read_bytes())).keys
    except (OSError, ValueError, InputError) as error:
        raise ConfigurationError(f"the API keys in {file}: {error}", _VARIABLE) from error


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def new_key(name: str, scopes: Iterable[str]) -> tuple[str, ApiKey]:
    """Return a fresh key, and what the file is to hold of it."""
    key = secrets.token_urlsafe(KEY_BYTES)
    digest = _digest(key.encode()).hex()
    return key, parse(ApiKey, {"name": name, "blake2b": digest, "scopes": list(scopes)})


def _digest(key: bytes) -> bytes:
    return blake2b(key, digest_size=DIGEST_BYTES).digest()


def _presented_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
        if name == b"x-api-key":
            return value.strip()
    return b""


if __name__ == "__main__":
    drawn, entry = new_key(sys.argv[1], sys.argv[2:])
    sys.stdout.write(f"key (shown once): {drawn}\nline of the file: {entry.model_dump_json()}\n")
