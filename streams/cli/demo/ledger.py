"""Ledger of what the pipeline sent, kept apart from the engine, and their comparison.

A ledger is a set of facts: an assignment id is a unit, and an event counts by its name. So it says
what the engine must have counted, however often anything was sent.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from experiment_streams_client import Assignment, ObservationRequest, Stats
from streams.model.quantities import to_micro

ASSIGNMENTS = "assignments"
"""Stands in the column of the metric for the units themselves; no metric of the demo."""

EXPOSURES = "exposures"
"""Stands there for the units that saw what they were assigned."""


@dataclass(frozen=True, slots=True)
class CountAndSum:
    """A number of things, and the sum of their values in micro-units."""

    n: int = 0
    sum_micro: int = 0


@dataclass(frozen=True, slots=True)
class ComparedCount:
    """One comparison.

    Attributes:
        metric: The metric, or `ASSIGNMENTS`.
        sent: What the ledger says.
        counted: What the engine says.
    """

    experiment: str
    variant: str
    metric: str
    sent: CountAndSum
    counted: CountAndSum

    @property
    def is_exact(self) -> bool:
        """Whether both say the same, to the last micro-unit."""
        return self.sent == self.counted


@dataclass(slots=True)
class SentEvents:
    """Record of what was sent.

    Attributes:
        assignments_answered: Assignments the API answered with a receipt, duplicates included.
        not_enrolled: Assignments it answered without one.
        observations_sent: Observations handed over, duplicates included.
    """

    assignments_answered: int = 0
    not_enrolled: int = 0
    observations_sent: int = 0
    _units: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _exposed: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _events: defaultdict[tuple[str, str], dict[tuple[str, str], int]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    def assigned(self, assignment: Assignment) -> None:
        """Write down an answered assignment."""
        if assignment.id is None:
            self.not_enrolled += 1
            return
        self.assignments_answered += 1
        self._units[assignment.variant_id].add(assignment.id)

    def exposed(self, assignment: Assignment) -> None:
        """Write down an exposure that is handed over; call it for every duplicate too."""
        self._exposed[assignment.variant_id].add(assignment.id or "")

    def observed(self, variant_id: str, observation: ObservationRequest) -> None:
        """Write down an observation that is handed over; call it for every duplicate too."""
        self.observations_sent += 1
        events = self._events[variant_id, observation.metric]
        name = (observation.assignment_id or "", observation.event_id or "")
        events.setdefault(name, to_micro(observation.value))

    @property
    def events(self) -> int:
        """Assignments answered and observations sent."""
        return self.assignments_answered + self.observations_sent

    @property
    def duplicates(self) -> int:
        """Observations sent that must not count."""
        return self.observations_sent - sum(map(len, self._events.values()))

    def compared(self, stats: Stats) -> tuple[ComparedCount, ...]:
        """Return what was sent of an experiment beside what the engine counted, line by line."""
        lines = []
        for variant in stats.variants:
            sent = CountAndSum(len(self._units[variant.id]))
            counted = CountAndSum(variant.stats.assignments)
            lines.append(ComparedCount(stats.name, variant.name, ASSIGNMENTS, sent, counted))
            if variant.stats.exposures is not None:
                sent = CountAndSum(len(self._exposed[variant.id]))
                counted = CountAndSum(variant.stats.exposures)
                lines.append(ComparedCount(stats.name, variant.name, EXPOSURES, sent, counted))
            seen = variant.stats.metrics
            named = {metric for owner, metric in self._events if owner == variant.id}
            for metric in sorted(named | seen.keys()):
                events = self._events.get((variant.id, metric), {})
                sent = CountAndSum(len(events), sum(events.values()))
                found = seen.get(metric)
                counted = (
                    CountAndSum(found.observations, found.sum_micro) if found else CountAndSum()
                )
                lines.append(ComparedCount(stats.name, variant.name, metric, sent, counted))
        return tuple(lines)
