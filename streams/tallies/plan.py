"""What is kept of an experiment's units besides sums: its measurement plan.

Sums of values and of their squares serve most metrics, and need no knowledge of any. A capped
value, a product of two metrics and the time of an assignment cannot be had from them afterwards:
they are of a unit, and the unit is known only while it is folded. A plan is fixed when its
experiment is created, before the first unit, so the tallies stay a function of the log: of
`commands`, and of their own partition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streams.domain.errors import EngineError, InvalidParameterError, quoted
from streams.domain.ids import experiment_id

Pair = tuple[str, str]
"""Two metrics in order of their names, of which the sum of the products over the units is kept."""


def pair_of(left: str, right: str) -> Pair:
    """Return the pair of two metrics, given in any order."""
    return (left, right) if left < right else (right, left)


@dataclass(frozen=True, slots=True)
class PeriodPlan:
    """What is kept by period of assignment.

    Attributes:
        metric: The metric whose values are kept so, with the units.
        n_variants: Variants of the experiment. Units with larger indices, of a promoted winner, are
            not kept so: they would make the periods of the experiment longer from then on.
    """

    metric: str
    n_variants: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is kept of one experiment.

    Attributes:
        caps: Largest value of a unit by metric, in micro-units, > 0: a unit whose observations sum
            to more has this value.
        pairs: Metrics whose products are kept; of capped values where there is a cap.
        by_period: What is also kept by period of assignment; None if nothing is.

    Raises:
        InvalidParameterError: a cap is not positive, or a pair is not of two metrics in order.
    """

    caps: Mapping[str, int] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    by_period: PeriodPlan | None = None

    def __post_init__(self) -> None:
        for metric, cap in self.caps.items():
            if cap <= 0:
                raise InvalidParameterError(f"caps[{quoted(metric)}]", cap, "> 0")
        for pair in self.pairs:
            if pair[0] >= pair[1]:
                raise InvalidParameterError("pairs", pair, "of two metrics in order")


def capped(total: int, cap: int | None) -> int:
    """Return what a unit is worth whose observations sum to `total`, both in micro-units.

    >>> capped(7, 5), capped(-7, 5), capped(7, None)
    (5, -7, 7)
    """
    return total if cap is None or total < cap else cap


PLAIN = Plan()
"""Nothing besides the sums; the plan of most experiments, and of those that nobody has created."""

PlanOf = Callable[[int], Plan | None]
"""Gives the plan of an experiment, a 64-bit number; None while it is not known.

It never changes its mind: what it has given once it gives for ever.
"""


def plain(experiment: int) -> Plan:
    """Return `PLAIN`, whatever the experiment."""
    del experiment
    return PLAIN


class PlanMissingError(EngineError):
    """A record cannot be folded before the plan of one of its experiments is known.

    Nothing of the record has been counted, and everything before it has.

    Attributes:
        experiment: The experiment as a 64-bit number.
    """

    def __init__(self, experiment: int) -> None:
        name = experiment_id(experiment)
        super().__init__("PLAN_MISSING", f"the plan of {name} is not known yet", "experimentId")
        self.experiment = experiment
