"""Weights of an experiment and, under a contextual policy, the model for weights per request.

The worker fits and publishes the model; assignment compiles it into a `Scorer`.
"""

from __future__ import annotations

from collections.abc import Sequence

from streams.experiments.covariates import Covariate, missing_entry
from streams.experiments.snapshot import PublishedModel
from streams.experiments.statistics.feature_use import FeatureUse
from streams.model.vectors import FEATURE_ONE, INTERCEPT
from streams.policies.base import Arm, Policy, pooled_deviation
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.contextual.encoding import FeatureSpace
from streams.policies.contextual.features import FeatureType
from streams.policies.contextual.model import LinearModel
from streams.policies.contextual.scoring import Scorer
from streams.policies.weights import allocate
from streams.tallies.cell import MetricTally, VariantTally
from streams.tallies.linear import LinearTally, diagonal


def weigh(
    policy: Policy,
    variants: Sequence[VariantTally],
    metric: str,
    arms: Sequence[Arm],
    *,
    is_mirrored: bool = False,
) -> tuple[tuple[int, ...], PublishedModel | None]:
    """Return the weights of the variants, and the model of a contextual policy.

    Args:
        policy: The policy of the experiment.
        variants: Tallies, in the order of the definition.
        metric: Name of the primary metric.
        arms: The arms as the policy sees them.
        is_mirrored: Whether the arms are mirrored, because the metric should decrease.

    Returns:
        The integer weights, which sum to 65,536, and the model; None under a policy without
        context. Under a contextual policy, the weights are those of a request without features.
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


def feature_uses(policy: Policy, variants: Sequence[VariantTally]) -> tuple[FeatureUse, ...]:
    """Return how often the features of a contextual policy had a declared value.

    A text adds to a vector one entry of plus or minus 1, so the diagonal of the sum of
    x x^T counts the units that had it, and no event is looked up. An undeclared text, such as
    `Mobile` for `mobile`, adds nothing, like a missing value.
    """
    if not isinstance(policy, ContextualPolicy):
        return ()
    units = sum(variant.units for variant in variants)
    found = []
    start = 1
    for feature in policy.features:
        if feature.type is not FeatureType.NUMBER:
            known = sum(
                variant.gram[place]
                for variant in variants
                for place in map(diagonal, range(start, start + feature.width))
                if place < len(variant.gram)
            )
            found.append(FeatureUse(feature.name, units, units - known // FEATURE_ONE**2))
        start += feature.width
    return tuple(found)


def covariate_uses(
    covariates: Sequence[Covariate], variants: Sequence[VariantTally]
) -> tuple[FeatureUse, ...]:
    """Return how many units had no value of each covariate."""
    units = sum(variant.units for variant in variants)
    grams = [variant.gram for variant in variants]

    def counted(index: int) -> int:
        place = diagonal(index)
        return sum(gram[place] for gram in grams if place < len(gram)) // FEATURE_ONE**2

    unsaid = units - counted(0)  # units whose receipts have no covariates at all
    return tuple(
        FeatureUse(each.name, units, max(unsaid, 0) + counted(missing_entry(place)))
        for place, each in enumerate(covariates)
    )


def scorer_of(
    policy: ContextualPolicy,
    model: PublishedModel,
    active: Sequence[int] | None = None,
    n_variants: int = 0,
) -> Scorer:
    """Return the weights of a published model for each context.

    Args:
        policy: The policy.
        model: The model.
        active: Indices of its variants in the definition; None if none is stopped.
        n_variants: Variants of the definition; not read if none is stopped.
    """
    fitted = LinearModel.of_triangles(
        model.coefficients, model.triangles, noise=model.noise, units=model.units
    )
    return Scorer(policy, fitted, active, n_variants)


def _linear_tally(variant: VariantTally, metric: str, units: int) -> LinearTally:
    tally = variant.metrics.get(metric, MetricTally())
    return LinearTally(variant.gram, tally.moment).with_intercept(units, tally.total)
