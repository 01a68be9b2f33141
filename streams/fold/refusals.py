"""Events that were not counted: one entry for each record and reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streams.model.errors import EventError, quoted
from streams.model.events import MAX_RANGES

FOLD_FAILED = "FOLD_FAILED"
"""Code of an event that failed because of an internal error, not because of its sender."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Events of one record that were not counted for the same reason.

    Attributes:
        index: Place of the first one within the record; impressions count through all groups.
        error: Reason of the refusal.
        count: Number of events refused with the same code.
        ranges: First and last index of each run of them, ascending; empty for one event.
    """

    index: int
    error: EventError
    count: int = 1
    ranges: tuple[tuple[int, int], ...] = ()


def refusal(index: int, error: Exception) -> Refusal:
    """Return the refusal of an event for any exception raised while counting it."""
    if isinstance(error, EventError):
        return Refusal(index, error)
    failure = EventError(FOLD_FAILED, f"{type(error).__name__}: {quoted(str(error))}")
    failure.__cause__ = error
    return Refusal(index, failure)


def by_code(refusals: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """Return the refusals of one record's events, grouped by code.

    Their errors carry no traceback: its frames would keep the decoded record alive.
    """
    if len(refusals) == 1:
        refusals[0].error.__traceback__ = None
        return tuple(refusals)
    groups: dict[str, list[Refusal]] = {}
    for each in refusals:
        groups.setdefault(each.error.code, []).append(each)
    return tuple(_together(group) for group in groups.values())


def _together(group: Sequence[Refusal]) -> Refusal:
    first = group[0]
    first.error.__traceback__ = None
    if len(group) == 1:
        return first
    return Refusal(first.index, first.error, len(group), _ranges(each.index for each in group))


def _ranges(indexes: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return the runs of consecutive ones among ascending indexes, the last one up to the end."""
    ranges: list[tuple[int, int]] = []
    for index in indexes:
        if ranges and (index <= ranges[-1][1] + 1 or len(ranges) == MAX_RANGES):
            ranges[-1] = ranges[-1][0], index
        else:
            ranges.append((index, index))
    return tuple(ranges)
