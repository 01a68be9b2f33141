"""The time series of an experiment as the API answers it and the client returns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.model.published import Open, Published, from_json, json_value
from streams.stats.direction import Direction


@dataclass(frozen=True, slots=True)
class SeriesContrast(Published):
    """A variant against the control at a time, by the metric of the series.

    Attributes:
        probability_better, difference, difference_lower, difference_upper: As in `AgainstControl`.
        sequence_lower, sequence_upper: Likewise; None of all but the primary metric.
    """

    probability_better: float
    difference: float
    difference_lower: float
    difference_upper: float
    sequence_lower: float | None
    sequence_upper: float | None


@dataclass(frozen=True, slots=True)
class SeriesVariant(Published):
    """A variant at a time.

    Attributes:
        id: Its id.
        assignments, exposures, observations: Counts since the start, observations of all metrics.
        allocation: Share of the traffic it got then, in [0, 1].
        probability_best: P(best) by the primary metric.
        mean, lower, upper: Posterior mean of the metric of the series, and its 95 % interval; None
            where they do not exist.
        against_control: The variant against the control; None of the control, and without a mean
            of either.
    """

    id: str
    assignments: int
    exposures: int | None
    observations: int
    allocation: float
    probability_best: float
    mean: float | None
    lower: float | None
    upper: float | None
    against_control: SeriesContrast | None = None


@dataclass(frozen=True, slots=True)
class SeriesPoint(Published):
    """Statistics at a time.

    Attributes:
        at: Time of the newest included event, in milliseconds since the epoch.
        version: Version of the statistics.
        status: Status of the experiment.
        recommended_action, reason_code: Recommendation, and its reason.
        variants: The variants at that time.
    """

    at: int
    version: int
    status: str
    recommended_action: Open[RecommendedAction]
    reason_code: Open[ReasonCode]
    variants: tuple[SeriesVariant, ...]


@dataclass(frozen=True, slots=True)
class Timeseries(Published):
    """Answer of `GET /experiments/{id}/timeseries`.

    Attributes:
        experiment_id: Id of the experiment.
        metric: The metric.
        direction: Its direction of improvement.
        control_id: Id of the control.
        width: Bucket width in seconds of event time; each point but the last is the first of its
            bucket.
        points: The points, in order of their time; the last one is the newest of the span.
    """

    experiment_id: str
    metric: str
    direction: Open[Direction]
    control_id: str
    width: int
    points: tuple[SeriesPoint, ...]

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Timeseries:
        """Return the series in the JSON of the API; fields that are not known are ignored.

        Raises:
            ValidationError: a field is missing or has another type.
        """
        return from_json(cls, payload, ())

    def to_json(self) -> dict[str, Any]:
        """Return the JSON of the API."""
        return json_value(self, ())
