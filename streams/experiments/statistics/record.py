"""The statistics record of an experiment, without its variants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from streams.experiments.statistics.dimension_report import DimensionReport
from streams.experiments.statistics.evidence import Evidence
from streams.experiments.statistics.failure import Failure
from streams.experiments.statistics.feature_use import FeatureUse
from streams.experiments.statistics.left_out import OutsideCount, VoidedUnits
from streams.experiments.statistics.metric_model import MetricModel
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.model.published import Open, Published


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics(Published):
    """The statistics of an experiment without its variants: fields of every publication.

    Attributes:
        version: Number of commands applied + sum over the cells of (last offset + 1). It grows with
            every folded event and does not depend on batching, so a replay gets the same version.
        as_of_ms: Time of the newest included event; 0 without events.
        duplicates: Repeated events that were not counted.
        confidence: Posterior probability that the leading variant is the best, in [0, 1].
        recommended_action: Recommendation.
        reason_code: Its reason.
        metrics: Model of every declared or observed metric, by name.
        evidence: Evidence for the recommendation; None if it was never evaluated.
        features: Categorical features, in order of their declaration.
        voided: Units that were voided, in order of the reasons.
        outside: Requests that did not take part, in order of the reasons.
        dimensions: Results by the values of each dimension; exploratory.
        failure: Why the statistics are of an older version; None if they are current.
    """

    version: int
    as_of_ms: Annotated[int, Field(alias="asOf")]
    duplicates: int
    confidence: float
    recommended_action: Open[RecommendedAction]
    reason_code: Open[ReasonCode]
    metrics: dict[str, MetricModel] = field(default_factory=dict)
    evidence: Evidence | None = None
    features: tuple[FeatureUse, ...] = ()
    voided: tuple[VoidedUnits, ...] = ()
    outside: tuple[OutsideCount, ...] = ()
    dimensions: tuple[DimensionReport, ...] = ()
    failure: Failure | None = None
