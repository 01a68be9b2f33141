"""Units with the most observations of one metric: programs, or many people behind one id.

The window of a partition counts the observations of each unit exactly, and all of a unit are in one
partition. So the units with the most are known exactly, too: a count only grows, and a unit that
was left out is looked at again with its next observation. A unit that is voided keeps its place, so
that which ones are here does not depend on how the log was cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

HEAVY_FROM = 100
"""Observations of one metric from which on a unit is noted."""

MAX_HEAVY = 16
"""Units that a cell has, at most, a unit once for each metric: of 12 partitions 192."""

HeavyKey = tuple[str, str]
"""Assignment id and metric."""


class HeavyUnit(NamedTuple):
    """A unit with many observations of one metric.

    Attributes:
        assignment_id: The receipt, as text.
        metric: Name of the metric.
        unit: 64-bit unit hash.
        events: Observations that were counted.
        is_voided: Whether the unit was voided since.
    """

    assignment_id: str
    metric: str
    unit: int
    events: int
    is_voided: bool = False

    @property
    def key(self) -> HeavyKey:
        """Name of it in findings."""
        return self.assignment_id, self.metric


def heaviest(units: Iterable[HeavyUnit], limit: int = MAX_HEAVY) -> tuple[HeavyUnit, ...]:
    """Return the units with the most observations, the most first."""
    return tuple(sorted(units, key=_rank)[:limit])


def noted(
    before: Iterable[HeavyUnit], new: Mapping[HeavyKey, HeavyUnit], voided: Iterable[str]
) -> tuple[HeavyUnit, ...]:
    """Return the heaviest units of before and of what was noted since.

    Args:
        before: Those of before.
        new: Those noted since, with newer counts.
        voided: Assignment ids that were voided since.
    """
    known = {each.key: each for each in before} | dict(new)
    out = set(voided)
    return heaviest(
        each._replace(is_voided=True) if each.assignment_id in out else each
        for each in known.values()
    )


def _rank(unit: HeavyUnit) -> tuple[int, str, str]:
    return -unit.events, unit.assignment_id, unit.metric
