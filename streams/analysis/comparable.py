"""Samples for posteriors and policies if the weights of the variants moved."""

from __future__ import annotations

from collections.abc import Callable

from streams.analysis.contrasts import MetricContrasts
from streams.analysis.traffic import Traffic
from streams.stats.comparable_samples import Comparisons, blend_constant
from streams.stats.families.base import Family
from streams.stats.kinds import MetricKind
from streams.stats.sample import Sample
from streams.stats.weighting import Weighting


def reported_samples(
    contrasts: MetricContrasts,
    by_inverse: Callable[[], Comparisons],
    plain: tuple[Sample, ...],
    family: Family,
) -> tuple[Sample, ...]:
    """Return the samples for posteriors, lifts and P(best), valid under any policy.

    Args:
        contrasts: The sums by which the metric is compared.
        by_inverse: Returns its means under the weights 1 / p.
        plain: Unweighted sums over the units of every variant.
        family: Family of the kind of the metric.
    """
    traffic = contrasts.traffic
    if not traffic.has_moved:
        return plain
    is_binary = family.kind is MetricKind.BINARY
    if traffic.has_excluded and contrasts.weighting is Weighting.OVERLAP:
        # The weights 1 / p of a variant cover only requests for which it was eligible.
        return contrasts.comparisons().samples_by_pair(
            plain, is_binary=is_binary, is_not_negative=family.is_not_negative
        )
    if traffic.is_by_context or contrasts.weighting is Weighting.INVERSE:
        # Under a contextual policy, overlap weights would compare other requests.
        return by_inverse().samples(plain, is_binary=is_binary)
    constant = blend_constant(float(traffic.shares.min()), len(plain))
    blended = contrasts.comparisons().blended(by_inverse(), constant)
    return blended.samples_by_pair(
        plain, is_binary=is_binary, is_not_negative=family.is_not_negative
    )


def policy_samples(
    traffic: Traffic,
    weighting: Weighting,
    by_overlap: Callable[[], Comparisons],
    plain: tuple[Sample, ...],
    family: Family,
) -> tuple[Sample, ...]:
    """Return the most precise samples, for a policy whose shares follow from posteriors.

    Without sums by pair it sees unweighted units: with units weighted by 1 / propensity, a variant
    with a small share always seems uncertain, which costs more than a drift may.

    Args:
        traffic: Split of the units.
        weighting: Weighting that the sums of the metric allow.
        by_overlap: Returns its means under overlap weights.
        plain, family: As in `reported_samples`.
    """
    is_by_model = traffic.is_by_context and not traffic.has_excluded
    if weighting is not Weighting.OVERLAP or is_by_model or not traffic.has_moved:
        return plain
    return by_overlap().samples_by_pair(
        plain,
        is_binary=family.kind is MetricKind.BINARY,
        is_not_negative=family.is_not_negative,
    )
