"""Units with the most observations of one metric: bots, or several users behind one id.

The window of a partition counts the observations of each unit exactly, and all of a unit are in one
partition. So the units with the most are also exact: a count only grows, and a unit that was left
out is considered again with its next observation. A voided unit keeps its place, so that the
selection does not depend on batching.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

HEAVY_FROM = 100
"""Observations of one metric from which on a unit is recorded."""

MAX_HEAVY = 16
"""Units that a cell has, at most, a unit once for each metric: of 12 partitions 192."""

_MOST_NOTED = 4 * MAX_HEAVY

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
        """Its key in findings."""
        return self.assignment_id, self.metric


def heaviest(units: Iterable[HeavyUnit], limit: int = MAX_HEAVY) -> tuple[HeavyUnit, ...]:
    """Return the units with the most observations, the most first."""
    return tuple(sorted(units, key=_rank)[:limit])


def noted(
    before: Iterable[HeavyUnit], new: Mapping[HeavyKey, HeavyUnit], voided: Iterable[str]
) -> tuple[HeavyUnit, ...]:
    """Return the heaviest units among earlier and newly recorded ones.

    Args:
        before: The earlier ones.
        new: Those recorded since, with newer counts.
        voided: Assignment ids that were voided since.
    """
    known = {each.key: each for each in before} | dict(new)
    out = set(voided)
    return heaviest(
        each._replace(is_voided=True) if each.assignment_id in out else each
        for each in known.values()
    )


class HeavyNotes:
    """Builder of heavy units: those recorded since the last `freeze`."""

    __slots__ = ("_units", "_voided")

    def __init__(self) -> None:
        self._units: dict[HeavyKey, HeavyUnit] = {}
        self._voided: set[str] = set()

    def note(self, unit: HeavyUnit) -> None:
        """Record the number of observations of a metric by a heavy unit."""
        self._units[unit.key] = unit
        if len(self._units) > _MOST_NOTED:
            self._units = {each.key: each for each in heaviest(self._units.values())}

    def void(self, assignment_id: str, known: Iterable[HeavyUnit]) -> None:
        """Record that a unit was voided, if it is a known or recorded one.

        Args:
            assignment_id: Its assignment.
            known: The heaviest units so far.
        """
        if any(each.assignment_id == assignment_id for each in (*known, *self._units.values())):
            self._voided.add(assignment_id)

    def freeze(self, known: tuple[HeavyUnit, ...]) -> tuple[HeavyUnit, ...]:
        """Return the heaviest units of the known and the recorded ones."""
        return noted(known, self._units, self._voided) if self._units or self._voided else known


def _rank(unit: HeavyUnit) -> tuple[int, str, str]:
    return -unit.events, unit.assignment_id, unit.metric
