"""Attributes of a request that a rule may read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Protocol


class RequestAttributes(Protocol):
    """A request, as far as a rule may read it."""

    @property
    def user_id(self) -> str | None:
        """Id of the user."""

    @property
    def session_id(self) -> str | None:
        """Id of the session."""

    @property
    def device(self) -> str | None:
        """The device."""

    @property
    def location(self) -> str | None:
        """The location."""

    @property
    def features(self) -> Mapping[str, Any] | None:
        """Everything else."""


Read = Callable[[RequestAttributes], Any]
"""Returns a value of a request; None if it has none."""

_FEATURES = "features."

_TEXTS: Mapping[str, Read] = {
    "userId": attrgetter("user_id"),
    "sessionId": attrgetter("session_id"),
    "device": attrgetter("device"),
    "location": attrgetter("location"),
}

NAMES = (*_TEXTS, f"{_FEATURES}*")


def reader_of(name: str) -> Read | None:
    """Return the reader of an attribute; None if no attribute has this name.

    `features.a.b` is the feature `a.b`, or else the member `b` of the feature `a`.
    """
    if name in _TEXTS:
        return _TEXTS[name]
    feature = name.removeprefix(_FEATURES)
    parts = feature.split(".")
    if not name.startswith(_FEATURES) or not all(parts):
        return None
    return _single(feature) if len(parts) == 1 else _nested(feature, parts)


def _single(feature: str) -> Read:
    def read(request: RequestAttributes) -> Any:
        features = request.features
        return None if features is None else features.get(feature)

    return read


def _nested(feature: str, parts: list[str]) -> Read:
    def read(request: RequestAttributes) -> Any:
        found: Any = request.features
        if found is None or feature in found:
            return None if found is None else found[feature]
        for part in parts:
            if not isinstance(found, Mapping):
                return None
            found = found.get(part)
        return found

    return read
