"""Levels of schemas: the version of each that may be written, because every reader reads it.

They are in the log (topic `generations`). The first process of an installation logs the versions
that it has, and `experiment schemas enable` raises them once every process reads newer ones. Until
then, processes of the next release write what those of this one read, without a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_LEVELS = 256
"""Most schemas in a record of levels."""

MAX_NAME_CHARACTERS = 64
"""Longest name of a schema in a record of levels or a setting."""

Versions = Mapping[str, int]
"""Version by name of the schema; 0 for a name without an entry."""


@dataclass(frozen=True, slots=True)
class LevelsChange:
    """Record of levels.

    Attributes:
        versions: Versions that may be written.
        is_initial: Whether the first process of an installation wrote the record; such a record
            counts only if it is the first.
        at_ms: Time of the request, in milliseconds since the epoch.
    """

    versions: Versions
    is_initial: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class SchemaLevels:
    """State after the records of levels.

    Attributes:
        versions: Versions that may be written; None before the first record.
    """

    versions: Versions | None = field(default=None)

    def after(self, change: LevelsChange) -> SchemaLevels:
        """Return the levels after a change; they only grow: written records stay readable."""
        before = self.versions
        if before is None:
            return SchemaLevels(dict(sorted(change.versions.items())))
        if change.is_initial:
            return self
        return SchemaLevels(higher(before, change.versions))

    def too_new(self, reads: Versions) -> dict[str, int]:
        """Return the versions that may be written and that a reader of `reads` cannot read."""
        return above(self.versions or {}, reads)


def higher(left: Versions, right: Versions) -> dict[str, int]:
    """Return the larger version of each schema."""
    names = sorted(left.keys() | right.keys())
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in names}


def above(versions: Versions, reads: Versions) -> dict[str, int]:
    """Return those of `versions` that are larger than in `reads`.

    >>> above({"snapshot": 4, "command": 1}, {"snapshot": 3, "command": 1})
    {'snapshot': 4}
    """
    return {name: version for name, version in versions.items() if version > reads.get(name, 0)}


def listed(versions: Versions) -> str:
    """Return versions as text, such as `snapshot 4, tally_cell 5`."""
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
