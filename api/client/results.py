"""What the calls return: the JSON of the API as frozen, typed values.

Fields that a newer engine adds are ignored, so an older client goes on working.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel


class Result(BaseModel):
    """Base of all results: snake_case here, camelCase on the wire."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class Variant(Result):
    """A variant of an experiment, as its author wrote it."""

    id: str
    name: str
    is_control: bool
    weight: float | None = None
    config: dict[str, Any]


class Experiment(Result):
    """An experiment and where it is in its life.

    Attributes:
        status: `draft`, `running`, `paused`, `concluded` or `archived`.
        version: Number of commands applied.
        config: The configuration, complete, with its JSON names.
        created_at, started_at, concluded_at: Milliseconds since the epoch; None if not yet.
        winner_variant_id: Variant it was concluded with.
    """

    id: str
    status: str
    version: int
    config: dict[str, Any]
    variants: tuple[Variant, ...]
    created_at: int
    started_at: int | None = None
    concluded_at: int | None = None
    winner_variant_id: str | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.config["name"])


class Assignment(Result):
    """The variant chosen for one request.

    Attributes:
        id: The receipt that observations name; None for a unit that is not enrolled.
        config: Configuration of the variant.
        enrolled: Whether the unit takes part. One that does not gets the control's configuration,
            and nothing is logged.
        reason: Why it got this variant, as a stable code.
        propensity: Probability the variant had, in (0, 1]; None for a unit that is not enrolled.
    """

    id: str | None
    experiment_id: str
    variant_id: str
    variant_name: str
    config: dict[str, Any]
    enrolled: bool
    reason: str
    propensity: float | None


class Refused(Result):
    """Why a call for several assignments has none for one experiment and unit.

    Attributes:
        code: Stable code, as of an `ApiError`.
        message: One sentence for a person.
        path: Field at fault, as in `units[0].userId`; empty when there is none.
    """

    code: str
    message: str
    path: str

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, payload: Any) -> Any:
        return payload.get("error", payload) if isinstance(payload, dict) else payload


class MetricStats(Result):
    """One metric of one variant.

    Attributes:
        kind: `binary` or `continuous`.
        units: Units with at least one observation.
        observations: Observations counted.
        sum_micro: Exact sum, in micro-units of the metric.
        mean: Posterior mean per assigned unit.
        lower, upper: Equal-tailed 95 % credible interval of the mean.
    """

    kind: str
    units: int
    observations: int
    sum_micro: int
    mean: float
    lower: float
    upper: float


class VariantStats(Result):
    """What is known of a variant.

    Attributes:
        assignments: Units assigned; impressions where the unit is the impression.
        observations: Observations of all metrics.
        mean: Mean of the primary metric per assigned unit.
        lower, upper: Equal-tailed 95 % credible interval of that mean.
        probability_best: Posterior probability that its mean is the best.
        expected_loss: Expected amount by which the best mean exceeds its mean.
        allocation: Share of the traffic it gets now, in [0, 1].
        metrics: Every metric, by name.
    """

    assignments: int
    observations: int
    mean: float
    lower: float
    upper: float
    probability_best: float
    expected_loss: float
    allocation: float
    metrics: dict[str, MetricStats]


class VariantResult(Result):
    """A variant with its statistics."""

    id: str
    name: str
    is_control: bool
    stats: VariantStats


class Winner(Result):
    """The variant that is certain enough to win, or the one the experiment was concluded with."""

    id: str
    name: str


class Stats(Result):
    """What is known of an experiment.

    Attributes:
        version: Grows with every event counted.
        as_of: Time of the newest event counted, in milliseconds since the epoch; 0 without events.
        duplicates: Repeated events that were not counted.
        confidence: Posterior probability of the leading variant to be the best.
        recommended_action: `continue`, `conclude_winner` or `conclude_no_difference`.
        reason: One sentence that says why.
    """

    experiment_id: str
    name: str
    type: str
    unit: str
    status: str
    primary_metric: str
    version: int
    as_of: int
    total_assignments: int
    total_observations: int
    duplicates: int
    variants: tuple[VariantResult, ...]
    winner: Winner | None
    confidence: float
    recommended_action: str
    reason: str


class Accepted(Result):
    """How many observations were taken."""

    accepted: int


class Health(Result):
    """The API is alive."""

    status: str


class Readiness(Result):
    """Whether the API can assign.

    Attributes:
        missing: Names of what it lacks; empty when it is ready.
    """

    ready: bool
    missing: tuple[str, ...] = ()


class _Experiments(Result):
    experiments: tuple[Experiment, ...]


class _Assignments(Result):
    assignments: tuple[tuple[Assignment | Refused, ...], ...]


def experiments(payload: Any) -> tuple[Experiment, ...]:
    """Return the experiments of a `GET /experiments`."""
    return _Experiments.model_validate(payload).experiments


def assignments(payload: Any) -> tuple[tuple[Assignment | Refused, ...], ...]:
    """Return the assignments of a `POST /assign`, or why there is none, one row per unit."""
    return _Assignments.model_validate(payload).assignments
