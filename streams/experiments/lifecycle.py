"""State of an experiment, as its commands have left it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.experiments.definition import ExperimentDefinition
from streams.experiments.holdouts import Holdout
from streams.experiments.promotion_state import Phase, Promotion
from streams.experiments.roster import Roster
from streams.experiments.schedule import History
from streams.experiments.served import Served
from streams.model.ids import MAX_VARIANTS, experiment_id, variant_id
from streams.model.validation import parse


class Status(StrEnum):
    """Status of an experiment."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    CONCLUDED = "concluded"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class Experiment:
    """State of an experiment after its commands.

    Attributes:
        number: The experiment as a 64-bit integer.
        definition: Configuration and variants.
        status: Its status.
        version: Number of commands applied, >= 1.
        changed_version: `version` right after the newest command that was no `tick`, in
            [1, `version`]: what is newer shows the same experiment. Given as 0 where it is not
            known, as in a record from before it was kept, it is `version`: then a command of an
            author who saw an earlier one is refused, and none is lost.
        created_at_ms: Time of `create`.
        started_at_ms: Time of `start`; None before.
        started_version: `version` right after `start`; 0 before. Fixed allocations carry it.
        concluded_at_ms: Time of `conclude`; None before.
        winner: Index of the variant it was concluded with; the control after a roll-back; None
            without a winner.
        promotion: Assignment after the conclusion; None before, and if it assigns nothing.
        served: Variant that all units get after the conclusion; None before it, and if no variant
            is served or units are still assigned.
        clock_ms: Time of the newest `tick`, which also ends conversion windows; 0 before the first.
        history: Events of the schedule in force, oldest first.
        peak_traffic: Largest traffic share since the start; 0 before it.
        lowered_version: `version` when the traffic share was first lowered; 0 if it never was.
        roster: Changes of its variants since the start; None without changes.
    """

    number: int
    definition: ExperimentDefinition
    status: Status
    version: int
    created_at_ms: int
    started_at_ms: int | None = None
    started_version: int = 0
    concluded_at_ms: int | None = None
    winner: int | None = None
    promotion: Promotion | None = None
    clock_ms: int = 0
    history: History = ()
    peak_traffic: float = 0.0
    lowered_version: int = 0
    served: Served | None = None
    roster: Roster | None = None
    changed_version: int = 0

    def __post_init__(self) -> None:
        if not self.changed_version:
            object.__setattr__(self, "changed_version", self.version)

    @property
    def id(self) -> str:
        """The experiment's id."""
        return experiment_id(self.number)

    @property
    def key(self) -> str | None:
        """The key given by its author; None without one."""
        return self.definition.config.key

    @property
    def n_started(self) -> int:
        """Number of variants at the start, or of a draft; later ones have larger indices."""
        return len(self.definition.variants) if self.roster is None else self.roster.n_started

    @property
    def has_changed(self) -> bool:
        """Whether a variant was added, stopped or reactivated since the start."""
        return self.roster is not None and self.roster.version > self.started_version

    @property
    def fixed_version(self) -> int:
        """Version of a fixed allocation."""
        return self.started_version if self.roster is None else self.roster.version

    @property
    def holdout(self) -> Holdout | None:
        """Its holdout settings, while it holds units out; None for every other experiment."""
        spec = self.definition.config.holdout
        if spec is None or self.status is not Status.RUNNING or self.started_at_ms is None:
            return None
        unit = self.definition.config.unit
        return Holdout(self.number, spec, self.started_version, self.started_at_ms, unit)

    @property
    def phase(self) -> Phase:
        """Phase in which its assignments are counted."""
        return Phase.TRIAL if self.promotion is None else self.promotion.phase

    @property
    def is_assigning(self) -> bool:
        """Whether units are assigned now."""
        if self.status is Status.CONCLUDED:
            return self.promotion is not None
        return self.status is Status.RUNNING

    @property
    def shipped(self) -> Served | None:
        """The variant that is served to all units now; None if no variant is."""
        return self.served if self.status is Status.CONCLUDED else None

    def logged_index(self, variant: int, phase: Phase) -> int:
        """Return the index of a variant in the receipts and tallies of a phase."""
        return phase * MAX_VARIANTS + variant

    def variant_id(self, index: int) -> str:
        """Return the id of the variant at `index`."""
        return variant_id(self.id, index)


_ENDED = parse(
    ExperimentDefinition,
    {
        "config": {"name": "ended", "type": "bayesian_ab", "primaryMetric": "ended"},
        "variants": [{"name": "a", "isControl": True}, {"name": "b"}],
    },
)
"""Definition that replaces those of all experiments that have ended."""


def ended(number: int, status: Status, version: int, created_at_ms: int) -> Experiment:
    """Return the reduced state of an archived experiment that has ended."""
    return Experiment(number, _ENDED, status, version, created_at_ms)
