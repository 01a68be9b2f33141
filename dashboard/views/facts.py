"""An experiment with its statistics, as sentences and charts ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.views.isolation import isolated_experiment, isolated_stats
from dashboard.views.text import Scale, count, scale_of, units_of
from experiment_streams_client import Experiment, Stats
from streams.experiments.statistics.evidence import Comparison, Guardrail
from streams.experiments.statistics.metric_model import MetricModel
from streams.experiments.stats_response import StatsEvidence, VariantResult
from streams.stats.direction import Direction

NEGLIGIBLE_SHARE = 0.01
"""Difference, as a share of the leader's mean, that counts as none unless the author says."""


@dataclass(frozen=True, slots=True)
class ExperimentFacts:
    """An experiment and its statistics, with names that may stand within a sentence.

    Attributes:
        experiment: Its definition and lifecycle.
        stats: Its statistics.
    """

    experiment: Experiment
    stats: Stats

    def __post_init__(self) -> None:
        """Isolate the direction of the names, which may be in any script."""
        object.__setattr__(self, "experiment", isolated_experiment(self.experiment))
        object.__setattr__(self, "stats", isolated_stats(self.stats))

    @property
    def names(self) -> list[str]:
        """Names of the variants, by index."""
        return [variant.name for variant in self.stats.variants]

    @property
    def control(self) -> int:
        """Index of the control."""
        return next(i for i, each in enumerate(self.stats.variants) if each.is_control)

    @property
    def control_name(self) -> str:
        """Name of the control."""
        return self.names[self.control]

    @property
    def evidence(self) -> StatsEvidence | None:
        """Evidence of the recommendation; None if it was never evaluated."""
        return self.stats.evidence

    @property
    def known(self) -> StatsEvidence:
        """Evidence of an experiment whose reason code implies that it has been evaluated.

        Raises:
            ValueError: the evidence is missing, which contradicts the reason code.
        """
        if self.stats.evidence is None:
            raise ValueError("the statistics lack the evidence that their reason code implies")
        return self.stats.evidence

    @property
    def metric(self) -> str:
        """Name of the primary metric."""
        return self.stats.primary_metric

    @property
    def primary(self) -> MetricModel | None:
        """Reading of the primary metric; None before it is known."""
        return self.stats.metrics.get(self.metric)

    @property
    def scale(self) -> Scale:
        """Spelling of the values of the primary metric."""
        return self.scale_of(self.metric)

    def scale_of(self, metric: str) -> Scale:
        """Return how values of a metric are written."""
        model = self.stats.metrics.get(metric)
        return scale_of("" if model is None else model.kind)

    def is_decrease(self, metric: str) -> bool:
        """Return whether less of a metric is better."""
        model = self.stats.metrics.get(metric)
        return model is not None and model.direction == Direction.DECREASE

    @property
    def units(self) -> str:
        """Name of the randomized units, in the plural."""
        return units_of(self.stats.unit)

    def n_units(self, n: int) -> str:
        """Return a number of units with their name."""
        return f"{count(n)} {units_of(self.stats.unit, n)}"

    @property
    def active(self) -> list[int]:
        """Indices of the variants that are not stopped."""
        return [i for i, each in enumerate(self.stats.variants) if each.is_active]

    @property
    def min_sample_size(self) -> int:
        """Units that each variant needs before it is judged."""
        return int(self.experiment.config.get("minSampleSize", 0))

    @property
    def winner_threshold(self) -> float:
        """Probability of being the best that a winner needs."""
        config = self.experiment.config
        early = (config.get("parameters") or {}).get("earlyStoppingThreshold") or 0.0
        return max(float(config.get("significanceThreshold", 0.95)), float(early))

    @property
    def negligible_share(self) -> float:
        """Difference, as a share of the leader's mean, below which it is negligible."""
        config = self.experiment.config
        stated, plan = config.get("negligibleDifference"), config.get("plan")
        if stated is not None:
            return float(stated)
        return NEGLIGIBLE_SHARE if plan is None else min(float(plan["lift"]) / 2.0, 1.0)

    @property
    def planned_units(self) -> int | None:
        """Units of each variant that are planned; None without a plan."""
        plan = self.experiment.config.get("plan")
        return None if plan is None else int(plan["units"])

    def variant_of(self, variant_id: str | None) -> VariantResult | None:
        """Return a variant by its id."""
        return next((each for each in self.stats.variants if each.id == variant_id), None)

    def name_of(self, variant_id: str | None) -> str:
        """Return the name of a variant by its id."""
        found = self.variant_of(variant_id)
        return "no variant" if found is None else found.name


def closest(comparisons: Sequence[Comparison]) -> Comparison | None:
    """Return the comparison with the smallest lead; None without any."""
    return min(
        comparisons,
        key=lambda each: (float("-inf") if each.lower is None else each.lower, each.variant),
        default=None,
    )


def worst(guardrails: Sequence[Guardrail]) -> Guardrail | None:
    """Return the guardrail that is most certainly harmed; None if none is."""
    tripped = [each for each in guardrails if each.is_tripped]
    return min(tripped, key=lambda each: (each.p_value, each.variant, each.metric), default=None)
