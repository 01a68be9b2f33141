"""Authentication by API key. Without a file of keys every request is admitted, on loopback only."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from api.http.error_responses import AccessError
from streams.api_keys import VARIABLE, ApiKey, Scope, digest, read_keys
from streams.model.errors import ConfigurationError, counted, quoted

MAX_CACHED = 1024
"""Presented keys whose verification is cached; when full, the cache is cleared."""


class KnownCaller(NamedTuple):
    """A caller whose key is known.

    Attributes:
        name: Name of its API key; empty if the API requires none.
        scopes: Its rights.
    """

    name: str
    scopes: frozenset[Scope]


_ANYBODY = KnownCaller("", frozenset(Scope))


class ApiKeyAuth:
    """Authentication and authorization of requests by API key.

    Args:
        keys: The keys; None admits every request.
    """

    def __init__(self, keys: Iterable[ApiKey] | None) -> None:
        self.is_open = keys is None
        self._keys: list[tuple[bytes, KnownCaller]] = []
        self._verified: dict[bytes, KnownCaller] = {}
        self.replace_keys(keys or ())

    def replace_keys(self, keys: Iterable[ApiKey]) -> None:
        """Replace the keys."""
        self._keys = [
            (bytes.fromhex(key.blake2b), KnownCaller(key.name, key.scopes)) for key in keys
        ]
        self._verified = {}

    def check(self, headers: Iterable[tuple[bytes, bytes]], *scopes: Scope) -> str:
        """Return the caller of a request with these headers, if its key has one of the scopes.

        Returns:
            The name of the API key; empty if the API requires none.

        Raises:
            AccessError: it carries no known key (`UNAUTHENTICATED`), or one without the scope
                (`FORBIDDEN`).
        """
        known = self.caller(headers)
        if known.scopes.isdisjoint(scopes):
            raise AccessError(
                "FORBIDDEN", f"the API key does not have the scope {' or '.join(scopes)}"
            )
        return known.name

    def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> KnownCaller:
        """Return the caller of a request with these headers, regardless of its scopes.

        Raises:
            AccessError: it carries no known key (`UNAUTHENTICATED`).
        """
        if self.is_open:
            return _ANYBODY
        presented = _presented_key(headers)
        known = self._verified.get(presented)
        return self._verify(presented) if known is None else known

    def _verify(self, presented: bytes) -> KnownCaller:
        presented_digest = digest(presented)
        found: KnownCaller | None = None
        for known, holder in self._keys:  # always all of them: the time must not reveal a match
            if hmac.compare_digest(known, presented_digest):
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
        ConfigurationError: the file cannot be used, or no file is configured and `host` is not
            loopback.
    """
    if file is not None:
        return ApiKeyAuth(read_keys(file))
    if not is_loopback(host):
        raise ConfigurationError(
            f"api_host == {quoted(host)} can be reached by others, "
            f"so {VARIABLE} must name a file of API keys",
            VARIABLE,
        )
    return ApiKeyAuth(None)


def reload_keys(auth: ApiKeyAuth, file: Path, on_replaced: Callable[[], None]) -> str:
    """Replace the keys by those that the file holds now; return a summary for the log.

    Args:
        auth: Has the keys.
        file: The file.
        on_replaced: Called once the keys are replaced, to end what a key of before has opened.

    Raises:
        ConfigurationError: as `read_keys`; the keys stay as they were.
    """
    keys = read_keys(file)
    auth.replace_keys(keys)
    on_replaced()
    return counted(len(keys), "key")


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _presented_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
        if name == b"x-api-key":
            return value.strip()
    return b""
