"""Cohorts: units whose conversion window ends at about the same time, until it is over.

Recently assigned units have not had time to convert, and a variant whose users convert earlier
would look better. So a metric with a *conversion window* is compared by its mature units only:
those whose window is over. As maturity depends on later events, units are counted by cohort of
assignment, each an eighth of the window long, until the newest event is a window later than the end
of the cohort. Then the cohort is merged into all others that are over.

A cohort holds tallies of variants like those of all units, from the same tables of fields. The
cohort of a unit depends on its assignment time only, and its maturity on the newest time of all: so
these tallies are also sums that may be folded, merged and replayed in any order. About ten cohorts
exist for each window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

COHORTS_PER_WINDOW = 8
"""Cohorts per conversion window: on average a unit matures a sixteenth of the window late."""

MIN_CONVERSION_WINDOW_S = 60
"""Shortest conversion window: cohorts are a few seconds long at least."""

MAX_CONVERSION_WINDOWS = 4
"""Different conversion windows of one experiment, each of which has its own cohorts."""

_MATURE = -1

TallyT = TypeVar("TallyT")


class Cohort(NamedTuple):
    """Units assigned in one period, counted by the metrics of one conversion window.

    Attributes:
        window_s: The conversion window, in seconds, >= `MIN_CONVERSION_WINDOW_S`.
        number: Number of the period among those of this window; -1 for all units whose window is
            over.
    """

    window_s: int
    number: int

    @classmethod
    def of(cls, window_s: int, assigned_at_ms: int) -> Cohort:
        """Return the cohort of a unit that was assigned at a time.

        >>> Cohort.of(80, 25_000)
        Cohort(window_s=80, number=2)
        """
        return cls(window_s, max(assigned_at_ms, 0) * COHORTS_PER_WINDOW // (window_s * 1000))

    @classmethod
    def mature(cls, window_s: int) -> Cohort:
        """Return the cohort of all units whose window is over."""
        return cls(window_s, _MATURE)

    @property
    def is_mature(self) -> bool:
        """Whether it holds all units whose window is over."""
        return self.number == _MATURE

    def is_over(self, now_ms: int) -> bool:
        """Return whether the windows of all its units have ended by the time of the newest event.

        >>> Cohort(80, 2).is_over(109_999), Cohort(80, 2).is_over(110_000)
        (False, True)
        """
        return self.over_at_ms <= now_ms

    @property
    def over_at_ms(self) -> int:
        """First time at which the windows of all its units have ended; 0 if they had before."""
        if self.is_mature:
            return 0
        ends = (self.number + 1 + COHORTS_PER_WINDOW) * self.window_s * 1000
        return -(-ends // COHORTS_PER_WINDOW)


def seen_at(
    now_ms: int,
    cohorts: Iterable[tuple[Cohort, TallyT]],
    add: Callable[[TallyT, TallyT], TallyT],
) -> dict[Cohort, TallyT]:
    """Return the tallies of cohorts, in their order, with mature ones merged.

    Args:
        now_ms: Time of the newest event.
        cohorts: Cohorts with their tallies; a cohort may come several times.
        add: Adds two tallies.
    """
    found: dict[Cohort, TallyT] = {}
    for cohort, tally in cohorts:
        seen = Cohort.mature(cohort.window_s) if cohort.is_over(now_ms) else cohort
        known = found.get(seen)
        found[seen] = tally if known is None else add(known, tally)
    return dict(sorted(found.items()))


ByCohort = Mapping[Cohort, TallyT]
"""Tallies by cohort, in order of window and number."""
