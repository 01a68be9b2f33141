"""Comparable samples of variants under moving weights, whose units came at different times.

Under adaptive weights, each variant has units of different times, and plain means compare weekends
with weekdays, or one group of users with another. Weighted sums over the units of two variants
(`streams.stats.sequential.contrasts`) compare them at the same times. Here such comparisons are
converted to one sample per variant, with the mean and the effective number of units of the
comparisons. Posteriors, lifts and policies use them like any other samples.

Three weights of a unit serve different purposes:

- *overlap* weights, h = p(a) p(b) / (p(a) + p(b)) over the propensity, give every time the weight
  of its information. They are the most precise, and give a policy the least regret. But the amount
  of information depends on the results: a variant that seems bad gets little more. So their
  standardised differences are extreme too often, as at a stopping time.
- weights h = 1, 1 / propensity, do the opposite: times with a small share count a hundredfold.
- weights for which every time adds the same variance make the standardised difference Normal,
  whatever the weights of the traffic follow: h in proportion to the root of the overlap. They are
  close to the overlap plus a constant, so they follow from the sums of the other two: see
  `Comparisons.blended`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.stats.arrays import FloatArray, any_of
from streams.stats.sample import Sample
from streams.stats.sequential.contrasts import WeightedSums

_NOTHING = Sample(0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Weighted means of every variant in the comparison with every other one.

    Every shape is (n_variants, n_variants): over the units of a, weighted for b, at [a, b].

    Attributes:
        weight: Sum of the weights, >= 0; 0 where nothing is comparable.
        mean: Weighted mean; 0 where nothing is comparable.
        error: Standard error of it.
        unit_error: The same if the values had the variance 1: 1 over it squared is the effective
            number of units. Infinite where nothing is comparable.
    """

    weight: FloatArray
    mean: FloatArray
    error: FloatArray
    unit_error: FloatArray

    @classmethod
    def of(
        cls, sums: WeightedSums, means: FloatArray | float = 0.0, scale: float = 1.0
    ) -> Comparisons:
        """Return the weighted means of sums.

        Args:
            sums: Sums over the units; shape (n_variants, n_variants).
            means: Means that the values are deviations from, if they sum to 0.
            scale: Scale of the values, > 0.

        Source: Kish (1965), Survey Sampling, section 11.7, for the effective number of units; the
            error is that of a ratio of sums, by linearisation.
        """
        some = sums.weight > 0.0
        weight = np.where(some, sums.weight, 1.0)
        own = sums.total / weight
        spread = sums.total_squared + own * (own * sums.weight_squared - 2.0 * sums.cross)
        # A lack of rare large values in a variant must not be treated as certainty.
        spread = np.maximum(spread, sums.variance * sums.weight_squared)
        return cls(
            weight=np.where(some, sums.weight, 0.0),
            mean=np.where(some, own / scale + means, 0.0),
            error=np.where(some, np.sqrt(np.maximum(spread, 0.0)) / (weight * scale), 0.0),
            unit_error=np.where(some, np.sqrt(sums.weight_squared) / weight, np.inf),
        )

    def blended(self, inverse: Comparisons, constant: float) -> Comparisons:
        """Return the means under the weights w + constant / p, w being the weights of these.

        Their errors are at most the sum of both, for any dependence between the two. Where these
        have no weight, only the others count.

        Args:
            inverse: The means under the weights 1 / p.
            constant: > 0; see `blend_constant`.
        """
        total = self.weight + constant * inverse.weight
        some = total > 0.0
        share = np.divide(self.weight, total, out=np.zeros_like(total), where=some)
        rest = np.where(some, 1.0 - share, 0.0)
        own_unit_error = np.where(self.weight > 0.0, self.unit_error, 0.0)
        added_unit_error = np.where(rest > 0.0, inverse.unit_error, 0.0)
        return Comparisons(
            weight=total,
            mean=share * self.mean + rest * inverse.mean,
            error=share * self.error + rest * inverse.error,
            unit_error=np.where(some, share * own_unit_error + rest * added_unit_error, np.inf),
        )

    def samples(self, plain: tuple[Sample, ...], *, is_binary: bool) -> tuple[Sample, ...]:
        """Return one sample per variant, with means over all units of the experiment.

        Means under the weights 1 / p are of this kind: they are the same in every comparison.

        Args:
            plain: Unweighted sums over the units of every variant.
            is_binary: Whether values are 0 or 1.
        """
        indices = np.arange(len(plain))
        found = self._estimates(indices, np.zeros_like(indices), _units(plain), is_binary)
        return _samples(plain, found)

    def samples_by_pair(
        self, plain: tuple[Sample, ...], *, is_binary: bool, is_not_negative: bool
    ) -> tuple[Sample, ...]:
        """Return one sample per variant.

        The *reference* is the variant with most units. Its mean is that of all its units; every
        other variant has the estimated mean at the times of the reference: shifted by the
        comparison of the two, by odds (`is_binary`), by their ratio (`is_not_negative`) or by their
        difference. A comparison adds the errors of both sides; the part common to all comparisons
        of the reference is attributed to it, and the rest to the other variant.

        Args:
            plain: Unweighted sums over the units of every variant.
            is_binary: Whether values are 0 or 1.
            is_not_negative: Whether values are >= 0.
        """
        counts = _units(plain)
        indices = np.arange(len(plain))
        reference = int(np.argmax(counts))
        others = np.full_like(indices, reference)
        own = self._estimates(indices, others, counts, is_binary)
        back = self._estimates(others, indices, counts, is_binary)
        comparable = (indices != reference) & (own.units > 0.0) & (back.units > 0.0)
        if not any_of(comparable):
            return plain
        most = float(back.units[comparable].max())
        level = plain[reference].mean
        errors = sum(
            np.divide(1.0, each.units, out=np.zeros_like(each.units), where=comparable)
            for each in (own, back)
        )
        units = np.divide(1.0, errors - 1.0 / most, out=np.zeros_like(errors), where=comparable)
        mean, variance = own.mean, own.variance
        if is_binary:
            mean = _moved_odds(own.mean, back.mean, level)
            variance = mean * (1.0 - mean)
        elif is_not_negative:
            is_positive = (back.mean > 0.0) & (level > 0.0)
            factor = np.divide(level, back.mean, out=np.ones_like(mean), where=is_positive)
            mean, variance = mean * factor, variance * factor * factor
        else:
            mean = mean + level - back.mean
        is_reference = indices == reference
        widest = back.variance[comparable].max()
        return _samples(
            plain,
            _Estimates(
                np.where(is_reference, level, mean),
                np.where(is_reference, level * (1.0 - level) if is_binary else widest, variance),
                np.where(is_reference, most, units),
            ),
        )

    def _estimates(
        self,
        own: NDArray[np.intp],
        beside: NDArray[np.intp],
        counts: FloatArray,
        is_binary: bool,  # noqa: FBT001 - of a private method
    ) -> _Estimates:
        """Return the estimates of some variants, each compared with another one."""
        mean, error = self.mean[own, beside], self.error[own, beside]
        unit_error = self.unit_error[own, beside]
        some = np.isfinite(unit_error)
        square = np.where(some, unit_error * unit_error, 1.0)
        # No weighting has more effective units than all units with equal weights.
        units = np.where(some, np.minimum(1.0 / square, counts[own]), 0.0)
        if not is_binary:
            return _Estimates(mean, error * error / square, units)
        # For values of 0 and 1 the mean determines the variance; if values correlate with weights,
        # the effective number is smaller.
        mean = np.clip(mean, 0.0, 1.0)
        variance = mean * (1.0 - mean)
        is_spread = some & (error > 0.0) & (variance > 0.0)
        worth = np.divide(variance, error * error, out=units.copy(), where=is_spread)
        return _Estimates(mean, variance, np.minimum(units, worth))


@dataclass(frozen=True, slots=True, eq=False)
class _Estimates:
    """Weighted means, variances of the values, and effective units; (n_variants,)."""

    mean: FloatArray
    variance: FloatArray
    units: FloatArray


def blend_constant(smallest_share: float, n_variants: int) -> float:
    """Return the constant of `Comparisons.blended` for which no time dominates.

    The root of the overlap at even weights, 1 / (2 n), and at the smallest share f is in the same
    proportion as overlap + c there with c = sqrt(f / (2 n)). Twice as much is conservative, as is
    the upper bound of the errors: in simulations with weekends, days and nights, a trend or a spike
    and equal arms, P(best) exceeded 95 % in 4 to 8 % of 1,000 experiments, with c itself in 7 to 9
    %, and with overlap weights alone in 17 to 20 %; 10 % is what fixed weights give.

    Source: Hadad, Hirshberg, Zhan, Wager and Athey (2021), "Confidence intervals for policy
        evaluation in adaptive experiments", section 2, for weights that stabilise the variance.

    Examples:
        >>> round(blend_constant(0.01, 2), 3)
        0.1
    """
    return math.sqrt(2.0 * smallest_share / n_variants)


def _units(plain: tuple[Sample, ...]) -> FloatArray:
    return np.array([sample.units for sample in plain], dtype=np.float64)


def _samples(plain: tuple[Sample, ...], found: _Estimates) -> tuple[Sample, ...]:
    """Return samples with the same share of units with a value as the plain ones."""
    columns = found.mean.tolist(), found.variance.tolist(), found.units.tolist()
    return tuple(
        _sample(own, mean, variance, units) if units else _NOTHING
        for own, mean, variance, units in zip(plain, *columns, strict=True)
    )


def _sample(plain: Sample, mean: float, variance: float, units: float) -> Sample:
    total = mean * units
    share = plain.units_with_value / plain.units if plain.units else 0.0
    with_value = min(share, 1.0) * units if total else 0.0
    deviations = variance * units
    of_values = deviations + mean * total
    if with_value:
        of_values -= total * total / with_value
    return Sample(units, with_value, total, deviations, max(of_values, 0.0))


def _moved_odds(own: FloatArray, reference: FloatArray, level: float) -> FloatArray:
    """Return shares whose odds relative to `level` are those of `own` relative to `reference`.

    >>> _moved_odds(np.array([0.2]), np.array([0.1]), 0.2).round(4)
    array([0.36])
    """
    if not 0.0 < level < 1.0:
        return own
    yes = own * (1.0 - reference) * level
    both = yes + (1.0 - own) * reference * (1.0 - level)
    is_known = (reference > 0.0) & (reference < 1.0)
    moved: FloatArray = np.divide(yes, both, out=own.copy(), where=is_known & (both > 0.0))
    return moved
