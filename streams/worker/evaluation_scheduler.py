"""Scheduling of evaluations: which changed experiments are evaluated now, by their cost.

Evaluations take a share of the processor time. If more has changed than fits, the experiment that
was evaluated longest ago comes first. A busy experiment changes again before it is due; an idle one
has a separate share and goes before the busy ones, so that it does not wait for them.

Large evaluations run elsewhere, on a separate share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping

from streams.process.cadence import Cadence
from streams.worker.pacing import GRID_S, TimeBudget

EVALUATION_INTERVAL_S = 0.1
"""Shortest time between two evaluations of one experiment, at any traffic. One that was not
evaluated for that long is evaluated as soon as it changes."""

STEP_S = 0.01
"""Time after which a step publishes what it has evaluated, and leaves the rest to the next, before
which what has changed meanwhile has its turn. A cheap evaluation takes a tenth of it."""

EVALUATION_SHARE = 0.25
"""Processor time of evaluations, as a share of one core."""

EVALUATION_BURST_S = 0.1
"""Evaluation time allowed at once after a pause."""

IDLE_SHARE = 0.1
"""Additional share for idle experiments. When it is used up, they wait with the busy ones."""

IDLE_BURST_S = 0.05

HEAD_START_S = 1.0
"""Time by which an idle experiment precedes the busy ones. So even among more idle ones than can be
evaluated, a busy one still gets its turn, delayed by this time."""

LARGE_SHARE = 0.1
"""Share of the time for all large evaluations together."""

ExperimentPlace = tuple[int, int]
"""Partition and number of an experiment."""


class EvaluationScheduler:
    """The order of changed experiments, and the time of the next step.

    Args:
        clock: Monotonic seconds.
        interval_s: As `EVALUATION_INTERVAL_S`.

    Attributes:
        cadence: When each was evaluated.
        share: Of all evaluations but large ones. As the next, it is charged by processor time: on a
            busy machine an evaluation may wait for its turn for longer than it takes.
        idle_share: Of those that were idle.
        large_share: Of large ones.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        interval_s: float = EVALUATION_INTERVAL_S,
    ) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self.cadence: Cadence[ExperimentPlace] = Cadence(interval_s, clock, grid_s=GRID_S)
        self.share = TimeBudget(
            EVALUATION_SHARE, EVALUATION_BURST_S, clock, cost_clock=time.thread_time
        )
        self.idle_share = TimeBudget(IDLE_SHARE, IDLE_BURST_S, clock, cost_clock=time.thread_time)
        self.large_share = TimeBudget(LARGE_SHARE, EVALUATION_BURST_S, clock)
        self._began_s = clock()
        self._were_busy: set[ExperimentPlace] = set()
        self._busy: set[ExperimentPlace] = set()
        self._without_share: set[ExperimentPlace] = set()
        self._has_evaluated = False

    def take_due(
        self, changed: dict[ExperimentPlace, None], commanded: Collection[int]
    ) -> list[ExperimentPlace]:
        """Begin a step: take the due experiments from the changed ones, in the order of evaluation.

        Commanded experiments are always due, and come first.
        """
        self._began_s = self._clock()
        self._were_busy, self._busy = self._busy, set()
        due = dict.fromkeys(place for place in changed if place[1] in commanded)
        due |= dict.fromkeys(self.cadence.due(changed, self._head_start_s))
        for place in due:
            del changed[place]
        self._busy.update(changed)
        self._without_share = set()
        self._has_evaluated = False
        return [*due]

    def has_turn(self, place: ExperimentPlace, *, is_large: bool) -> bool:
        """Return whether an experiment is evaluated in this step; if not, it stays queued."""
        if not self._budget(place, is_large=is_large).is_left:
            self.refuse(place)
            return False
        # From the second on, however slow the machine is.
        if self._has_evaluated and self._clock() - self._began_s > STEP_S:
            if place in self._were_busy:
                self._busy.add(place)
            return False
        return True

    def refuse(self, place: ExperimentPlace) -> None:
        """Let an experiment wait for its share."""
        self._without_share.add(place)
        self._busy.add(place)

    def begin(self, place: ExperimentPlace, *, is_large: bool) -> TimeBudget:
        """Record that an experiment is evaluated now, and return the budget to charge."""
        budget = self._budget(place, is_large=is_large)
        self.cadence.handled(place)
        self._has_evaluated |= not is_large
        return budget

    def restore(self, places: Iterable[ExperimentPlace]) -> None:
        """Make experiments due again, of which the results could not be published."""
        self.cadence.failed(places)

    def wait_s(self, changed: Mapping[ExperimentPlace, None]) -> float | None:
        """Return the seconds until a step is due; None if nothing has changed.

        Experiments without a share are gathered for an interval; they are evaluated earlier if
        another one has a step before.
        """
        fresh = [place for place in changed if place not in self._without_share]
        wait_s = self.cadence.wait_s(fresh)
        if len(fresh) == len(changed):
            return wait_s
        again_s = max(0.0, self._began_s + self._interval_s - self._clock())
        return again_s if wait_s is None else min(wait_s, again_s)

    def _budget(self, place: ExperimentPlace, *, is_large: bool) -> TimeBudget:
        if is_large:
            return self.large_share
        if place not in self._were_busy and self.idle_share.is_left:
            return self.idle_share
        return self.share

    def _head_start_s(self, place: ExperimentPlace) -> float:
        return 0.0 if place in self._were_busy else HEAD_START_S
