"""From samples to posteriors: which family a kind of metric has, and with which priors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray
from streams.stats.kinds import MetricKind
from streams.stats.posteriors.base import Posteriors
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.posteriors.gamma import PRIOR_EVENTS, GammaPosterior
from streams.stats.posteriors.normal import NormalPosterior, NormalPrior
from streams.stats.posteriors.revenue import RevenuePosterior
from streams.stats.sample import Sample

_PRIOR_UNITS_OF_DISPERSION = 3.0  # as many as the prior of a variance weighs


@dataclass(frozen=True, slots=True)
class Priors:
    """Priors of the mean of a metric; None is a weak one made from all arms together.

    Attributes:
        alpha: Pseudo-units with a value, > 0 (binary; revenue). Binary: 1 unless stated.
        beta: Pseudo-units without, > 0 (binary; revenue). Binary: 1 unless stated.
        events: Pseudo-events of a rate, > 0 (count).
        event_units: Pseudo-units of a rate, > 0 (count).
        values: Mean and variance of the values (continuous), or of those units have (revenue).
    """

    alpha: float | None = None
    beta: float | None = None
    events: float = PRIOR_EVENTS
    event_units: float | None = None
    values: NormalPrior | None = None


def posteriors_of(
    kind: MetricKind, samples: Sequence[Sample], priors: Priors | None = None
) -> Posteriors:
    """Return the posteriors of the means per unit of all arms.

    Binary metrics have Beta, counts Gamma, revenue `RevenuePosterior`, and continuous values
    Student t posteriors.

    Args:
        kind: Kind of the metric; a ratio has more sums than samples hold: see `ratio_posteriors`.
        samples: The arms, at least one.
        priors: Priors.

    Raises:
        InvalidParameterError: a sample is none of this kind, or the kind is `ratio`.

    Examples:
        >>> clicks = [Sample(98, 3, 3, 0, 0), Sample(98, 6, 6, 0, 0)]
        >>> posteriors_of(MetricKind.BINARY, clicks).means
        array([0.04, 0.07])
    """
    priors = priors or Priors()
    units = np.array([sample.units for sample in samples], dtype=np.float64)
    totals = np.array([sample.total for sample in samples], dtype=np.float64)
    match kind:
        case MetricKind.BINARY:
            return BetaPosterior.observed(
                totals,
                np.maximum(units - totals, 0.0),
                prior_alpha=1.0 if priors.alpha is None else priors.alpha,
                prior_beta=1.0 if priors.beta is None else priors.beta,
            )
        case MetricKind.COUNT:
            return GammaPosterior.observed(
                totals,
                units,
                prior_events=priors.events,
                prior_units=priors.event_units,
                dispersion=dispersions(samples),
            )
        case MetricKind.REVENUE:
            return RevenuePosterior.observed(
                samples, prior_alpha=priors.alpha, prior_beta=priors.beta, prior=priors.values
            )
        case MetricKind.CONTINUOUS:
            deviations = [sample.squared_deviations for sample in samples]
            return NormalPosterior.observed(units, totals, deviations, prior=priors.values)
        case MetricKind.RATIO:
            raise InvalidParameterError("kind", kind.value, "of one metric")
        case _:
            assert_never(kind)


def dispersions(samples: Sequence[Sample]) -> FloatArray:
    """Return variance over mean of the counts of every arm, at least 1; shape (n_arms,).

    Each arm's own, drawn towards that of all arms, and that towards the 1 of Poisson counts, by as
    much as three units weigh. Counts less spread out than Poisson, as of things that happen to
    everybody once, are taken for Poisson, which errs to the side of caution.
    """
    ratios = np.array(
        [
            sample.squared_deviations / sample.mean if sample.mean > 0.0 else sample.units
            for sample in samples
        ],
        dtype=np.float64,
    )  # sum of squared deviations over the mean; as many as units, for Poisson counts
    units = np.array([sample.units for sample in samples], dtype=np.float64)
    weight = _PRIOR_UNITS_OF_DISPERSION
    common = (weight + ratios.sum()) / (weight + units.sum())
    own: FloatArray = np.maximum((weight * common + ratios) / (weight + units), 1.0)
    return own
