"""Semantic versions (semver.org 2.0.0): reading and precedence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

MAX_VERSION_CHARACTERS = 128

_CORE = 3
_MAX_DIGITS = 18

Precedence = tuple[tuple[int, ...], tuple[tuple[int, int, str], ...]]
"""Sort key of a version: its three numbers, then the parts of its pre-release."""

_RELEASE = ((2, 0, ""),)
"""Above every pre-release of the same numbers."""


def version_of(value: Any) -> Precedence | None:
    """Return the precedence of a version; None if the value is not a version.

    A leading `v` is left out, a missing minor or patch number is 0, and what follows a `+` does not
    count, as in the other implementations of flags.

    >>> version_of("1.10.0") > version_of("1.9.3"), version_of("2.0.0-rc.1") < version_of("2.0.0")
    (True, True)
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_VERSION_CHARACTERS:
        return None
    return _read(value)


@lru_cache(maxsize=1_024)  # an application has few versions, and each is asked for many times
def _read(text: str) -> Precedence | None:
    core, is_pre_release, pre_release = text.removeprefix("v").partition("+")[0].partition("-")
    numbers = core.split(".")
    if len(numbers) > _CORE or not all(map(_is_number, numbers)):
        return None
    parts = pre_release.split(".") if is_pre_release else []
    if not all(part.isascii() and part.replace("-", "a").isalnum() for part in parts):
        return None
    padded = *map(int, numbers), *[0] * (_CORE - len(numbers))
    if not parts:
        return padded, _RELEASE
    return padded, tuple((0, int(p), "") if _is_number(p) else (1, 0, p) for p in parts)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS


def matches(operator: str, left: Precedence, right: Precedence) -> bool:
    """Return whether a comparison of two versions holds.

    Args:
        operator: One of `OPERATORS`; `^` is the same major number, `~` the same major and minor.
        left, right: The versions.
    """
    return _MATCHES[operator](left, right)


_MATCHES: Mapping[str, Callable[[Precedence, Precedence], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "^": lambda left, right: left[0][0] == right[0][0],
    "~": lambda left, right: left[0][:2] == right[0][:2],
}

OPERATORS = frozenset(_MATCHES)
