"""What is known of an experiment at one moment: the value that is published and served."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.experiments.lifecycle import Experiment


class RecommendedAction(StrEnum):
    """What an experiment's author should do next."""

    CONTINUE = "continue"
    CONCLUDE_WINNER = "conclude_winner"
    CONCLUDE_NO_DIFFERENCE = "conclude_no_difference"


class MetricKind(StrEnum):
    """How the values of a metric are modelled."""

    BINARY = "binary"
    CONTINUOUS = "continuous"


@dataclass(frozen=True, slots=True)
class Allocation:
    """Integer weights that sum to 65,536, one per variant, with the version that decided them."""

    version: int
    weights: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MetricReport:
    """One metric of one variant.

    Attributes:
        name: The metric.
        kind: How it is modelled.
        units: Units with at least one observation.
        observations: Observations counted.
        total: Exact sum, in micro-units.
        mean: Posterior mean per assigned unit, in units of the metric.
        lower, upper: Equal-tailed 95 % credible interval of the mean.
    """

    name: str
    kind: MetricKind
    units: int
    observations: int
    total: int
    mean: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class VariantReport:
    """One variant.

    Attributes:
        assignments: Units assigned (impressions, for the unit `impression`).
        observations: Observations of all metrics.
        mean: Observed mean of the primary metric per assigned unit; 0 without units.
        lower, upper: Equal-tailed 95 % credible interval of that mean.
        probability_best: Posterior probability that its mean is the best.
        expected_loss: Expected amount by which the best mean exceeds its mean.
        metrics: Every metric seen or declared, by name.
    """

    assignments: int
    observations: int
    mean: float
    lower: float
    upper: float
    probability_best: float
    expected_loss: float
    metrics: tuple[MetricReport, ...]


@dataclass(frozen=True, slots=True)
class CellPlace:
    """Where a cell ended: the last offset it has folded of its source partition."""

    source: str
    partition: int
    hw: int


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """What a contextual policy decides by: a `LinearModel`, as plain numbers.

    Attributes:
        noise: Standard deviation of the unit values within the variants.
        units: Units of all variants in it.
        coefficients: Of each variant, in the order of the definition.
        triangles: Covariance of each, packed as `LinearModel.triangles` does.
    """

    noise: float
    units: int
    coefficients: tuple[tuple[float, ...], ...]
    triangles: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is published of an experiment.

    Attributes:
        experiment: Definition and lifecycle.
        version: Number of commands applied + sum over the cells of (hw + 1). It grows with every
            event folded, and does not depend on batching, so a replay gets the same.
        allocation: Weights in force; under a contextual policy, those of a request of which nothing
            is known.
        variants: Reports, in the order of the definition.
        winner: Index of the variant that is certain enough to win; None if there is none, and the
            chosen one once concluded.
        confidence: Posterior probability of the leading variant to be the best, in [0, 1].
        recommended_action: What to do next.
        reason: One sentence that says why.
        duplicates: Repeated events that were not counted.
        cells: Cells it was made from, in order of source and partition.
        as_of_ms: Time of the newest event in it; 0 without events.
        model: What a contextual policy decides by; None under every other one.
    """

    experiment: Experiment
    version: int
    allocation: Allocation
    variants: tuple[VariantReport, ...]
    winner: int | None
    confidence: float
    recommended_action: RecommendedAction
    reason: str
    duplicates: int
    cells: tuple[CellPlace, ...]
    as_of_ms: int
    model: PublishedModel | None = None
