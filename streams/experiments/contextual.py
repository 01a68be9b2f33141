"""Weights of an experiment and, under a contextual policy, the model that gives those of a request.

The worker fits and publishes the model; whoever assigns compiles it into a `Scorer`.
"""

from __future__ import annotations

from collections.abc import Sequence

from streams.allocation.contextual.encoding import FeatureSpace
from streams.allocation.contextual.model import LinearModel
from streams.allocation.contextual.scoring import Scorer
from streams.allocation.policies import Arm, ContextualPolicy, Policy
from streams.allocation.policies.base import pooled_deviation
from streams.allocation.weights import allocate
from streams.domain.vectors import INTERCEPT
from streams.experiments.snapshot import PublishedModel
from streams.tallies.cell import MetricTally, VariantTally
from streams.tallies.linear import LinearTally


def weigh(
    policy: Policy,
    variants: Sequence[VariantTally],
    metric: str,
    arms: Sequence[Arm],
    *,
    is_mirrored: bool = False,
) -> tuple[tuple[int, ...], PublishedModel | None]:
    """Return the weights of the variants, and the model a contextual policy decides by.

    Args:
        policy: The policy of the experiment.
        variants: Tallies, in the order of the definition.
        metric: Name of the metric that decides.
        arms: What the policy sees of those tallies.
        is_mirrored: Whether the arms are mirrored, because the metric is to fall.

    Returns:
        The integer weights, which sum to 65,536, and the model; None under a policy that does not
        look at the request. Under one that does, the weights are those of a request of which
        nothing is known.
    """
    if not isinstance(policy, ContextualPolicy):
        return allocate(policy, arms), None
    tallies = [
        _linear_tally(variant, metric, round(arm.units))
        for variant, arm in zip(variants, arms, strict=True)
    ]
    model = LinearModel.fit(
        [tally.mirrored() for tally in tallies] if is_mirrored else tallies,
        FeatureSpace(policy.features).dimension,
        noise=pooled_deviation(arms),
        units=sum(round(arm.units) for arm in arms),
        ridge=policy.ridge,
    )
    published = PublishedModel(
        model.noise,
        model.units,
        tuple(map(tuple, model.coefficients.tolist())),
        tuple(map(tuple, model.triangles())),
    )
    return Scorer(policy, model).weights(INTERCEPT), published


def scorer_of(policy: ContextualPolicy, model: PublishedModel) -> Scorer:
    """Return the weights of a published model for each context."""
    fitted = LinearModel.of_triangles(
        model.coefficients, model.triangles, noise=model.noise, units=model.units
    )
    return Scorer(policy, fitted)


def _linear_tally(variant: VariantTally, metric: str, units: int) -> LinearTally:
    tally = variant.metrics.get(metric, MetricTally())
    return LinearTally(variant.gram, tally.moment).with_intercept(units, tally.total)
