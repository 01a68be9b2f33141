"""Which version of every schema may be written: the one that every reader reads.

The log says so (topic `generations`). The first process of an installation logs the versions that
it has itself, and `experiment schemas enable` raises them once every process reads newer ones. So
processes of the next release write what those of this one read until then, without a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_LEVELS = 256
"""Schemas that levels name at most."""

Versions = Mapping[str, int]
"""Version by name of the schema; a name that is not there stands for 0: none."""


@dataclass(frozen=True, slots=True)
class LevelsChange:
    """A record of levels.

    Attributes:
        versions: What may be written.
        is_initial: Whether it is what the first process of an installation has; it counts only if
            no other came before it.
        at_ms: When that was asked for, in milliseconds since the epoch.
    """

    versions: Versions
    is_initial: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class SchemaLevels:
    """What the records of levels have made.

    Attributes:
        versions: What may be written; None before the first record.
    """

    versions: Versions | None = field(default=None)

    def after(self, change: LevelsChange) -> SchemaLevels:
        """Return the levels after a change. They only grow: what was written must stay readable."""
        before = self.versions
        if before is None:
            return SchemaLevels(dict(sorted(change.versions.items())))
        if change.is_initial:
            return self
        return SchemaLevels(higher(before, change.versions))

    def too_new(self, reads: Versions) -> dict[str, int]:
        """Return what may be written and somebody who reads up to `reads` cannot read."""
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
    """Return versions in words: `snapshot 4, tally_cell 5`."""
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
