"""Contrast of two variants: a sum that rises on average only if the first is better.

Unit t was assigned variant a_t with the known propensities p_t and has the value x_t. For any
h_t > 0 that the past decides, the increments

    D_t = h_t x_t / p_t(a) [a_t = a] - h_t x_t / p_t(b) [a_t = b]

have, given the past, the mean h_t (mean a - mean b): an allocation that moves with the data does
not bias them, nor does a base rate that drifts meanwhile. The choice of h determines the variance:

| weights w = h / p | h | increments | use |
|---|---|---|---|
| 1 / p | 1 | up to 1 / floor | what the tallies have always held, for any number of variants |
| "overlap", 1 - p for two variants | 1 / sum over k of 1 / p(k) | at most x | moving weights |
| 1 - q and q, with q = p(a) / (p(a) + p(b)) | q (1 - q) | at most x | fixed weights |

With h = 1, a period in which b had 1 % of the traffic adds a hundred times its share of noise,
forever. Overlap weights give every period the weight its information has, as inverse variances
would: nothing depends on the floor any more. Under fixed weights they are the difference of the
means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray, all_of
from streams.stats.sequential.centres import ValueRange
from streams.stats.sequential.conversions import ConversionPair, Conversions
from streams.stats.sequential.quantiles import QuantilePair
from streams.stats.sequential.tails import Moments, Tails, are_ends_believed

_OVERLAP_OF_EVEN = 0.5
_INVERSE_OF_EVEN = 2.0
_SMALLEST_BOUND = 1e-6  # of the other side's; the most uneven weights come to 1.5e-5


@dataclass(frozen=True, slots=True, eq=False)
class WeightedSums:
    """Sums over the units of variants, each unit with a weight w known before its value x.

    Every field has the same shape, or one that broadcasts.

    Attributes:
        units: Units of the variant, >= 0.
        weight: Sum of w, >= 0.
        weight_squared: Sum of w^2.
        total: Sum of w x.
        cross: Sum of w^2 x.
        total_squared: Sum of w^2 x^2.
        largest: Largest w x that a single unit can have, if values are >= 0 and bounded; infinite
            if they are not.
        variance: Variance of the values as observed, without weights; used for values without a
            bound (`standard_error`), else 0.
        moments: Moments of the values, by which normal approximations are believed; None where no
            comparison is one, and where all are believed.
        heaviest: Largest w of a unit, of bounded values that may be counted from another centre
            than 0; None of others.
        converted: Units with the value 1, if all values are 0 or 1 and no weight can exceed
            `largest`; None if not.
    """

    units: FloatArray
    weight: FloatArray
    weight_squared: FloatArray
    total: FloatArray
    cross: FloatArray
    total_squared: FloatArray
    largest: FloatArray
    variance: FloatArray
    moments: Moments | None = field(default=None, kw_only=True)
    heaviest: FloatArray | None = field(default=None, kw_only=True)
    converted: FloatArray | None = field(default=None, kw_only=True)

    @classmethod
    def stack(cls, several: Sequence[WeightedSums]) -> WeightedSums:
        """Return sums along a new first axis; all have the same optional ones, of one shape."""
        columns = {name: [getattr(each, name) for each in several] for name in _COLUMNS}
        found: dict[str, Any] = {
            name: None if column[0] is None else np.array(column)
            for name, column in columns.items()
        }
        moments = [each.moments for each in several if each.moments is not None]
        return WeightedSums(**found, moments=Moments.stack(moments) if moments else None)

    def at(self, own: NDArray[np.intp], others: NDArray[np.intp]) -> WeightedSums:
        """Return the sums of some variants as they count beside others.

        Args:
            own, others: Indices on the last two axes, which broadcast.
        """
        *stacked, n_variants, _ = self.weight.shape
        # For a few numbers, one flat index is looked up in an eighth of the time of two indices.
        places, flat = own * n_variants + others, (*stacked, n_variants * n_variants)

        def taken(column: FloatArray) -> FloatArray:
            chosen: FloatArray = column.reshape(flat).take(places, axis=-1)
            return chosen

        found: dict[str, Any] = {
            name: None if (column := getattr(self, name)) is None else taken(column)
            for name in _COLUMNS
        }
        moments = None if self.moments is None else self.moments.each(taken)
        return WeightedSums(**found, moments=moments)

    def multiplied(self, times: float) -> WeightedSums:
        """Return the sums of values multiplied by `times` >= 0, which then are not 0 or 1."""
        square = times * times
        return replace(
            self,
            total=times * self.total,
            cross=times * self.cross,
            total_squared=square * self.total_squared,
            variance=square * self.variance,
            moments=None if self.moments is None else self.moments.multiplied(times),
            converted=None,
        )

    def counted_from(self, least: float, most: float) -> WeightedSums:
        """Return the sums of values between `least` <= 0 and `most`, counted from the least one.

        Those of `self` count from 0, with the largest weight instead of the largest w x.
        """
        largest = self.largest * (most - least)
        if not least:
            return replace(self, largest=largest)
        return replace(
            self,
            total=self.total - least * self.weight,
            cross=self.cross - least * self.weight_squared,
            total_squared=self.total_squared
            - least * (2.0 * self.cross - least * self.weight_squared),
            largest=largest,
            converted=None,
        )


_COLUMNS = tuple(each.name for each in fields(WeightedSums) if each.name != "moments")


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """The sums of the increments of "a minus b", and how much they vary; all of one shape.

    Attributes:
        fewest: Units of the variant that has fewer.
        time: Intrinsic time of the sums: the sum of w^2, scaled so that a unit of an even split of
            two is 1.
        scale: Sum of h, so that total / scale estimates the difference of the means; > 0 unless
            there are no units.
        total: Sum of the increments.
        squares: Sum of the squared increments.
        max_decrement: Most by which one increment can lower the sum, > 0; infinite without a
            bound.
        max_increment: Most by which it can raise the sum, likewise.
        difference: Estimated mean a minus mean b, less noisy than total / scale: the values are
            taken from their common mean first (a control variate).
        standard_error: Standard error of `difference`; infinite without units. Under moving weights
            not less than the sum of w^2 lets expect: a variant that has had little traffic of late
            may not have shown its large values, and their absence must not pass for certainty.
        has_lower, has_upper: Whether values are known well enough for a lower end of the difference
            of the means, and for an upper one (`streams.stats.sequential.tails`).
        variance: Variance of the sum that `difference` is of, in squared values, scaled as `time`
            is. It grows with what is known of the sum: with values, whenever they come, and not
            with units that have none yet.
        squares_of_even: Square of the weight that a unit of an even split of two has, > 0: times
            `variance`, it is in the units of `squares`.
        values: Range of bounded values that may be counted from another centre than 0; None of
            others.
        quantiles: Units by the size of their value, if quantiles are compared; None for means.
        conversions: The units by their value, if it is 0 or 1; else None.
    """

    fewest: FloatArray
    time: FloatArray
    scale: FloatArray
    total: FloatArray
    squares: FloatArray
    max_decrement: FloatArray
    max_increment: FloatArray
    difference: FloatArray
    standard_error: FloatArray
    has_lower: NDArray[np.bool_]
    has_upper: NDArray[np.bool_]
    variance: FloatArray
    squares_of_even: FloatArray
    values: ValueRange | None = None
    quantiles: QuantilePair | None = None
    conversions: ConversionPair | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether exact inference is possible: all values are >= 0 and have a bound."""
        return all_of(np.isfinite(self.max_decrement + self.max_increment))

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether units of both variants are compared; if not, no end and no p-value says anything.

        Units that had all of the traffic have the weight 0, and values may be seen before the
        impressions of their units.
        """
        return np.asarray(
            (self.fewest > 0.0) & (self.scale > 0.0) & (self.time > 0.0), dtype=np.bool_
        )

    def take(self, chosen: NDArray[np.bool_] | slice) -> Contrast:
        """Return the contrasts of a mask or slice; shape (n_chosen,)."""
        nested = ("values", "quantiles", "conversions")
        columns = {
            name: getattr(self, name)[chosen] for name in self.__slots__ if name not in nested
        }
        values, quantiles, pair = self.values, self.quantiles, self.conversions
        return Contrast(
            **columns,
            values=None if values is None else values.take(chosen),
            quantiles=None if quantiles is None else quantiles.take(chosen),
            conversions=None if pair is None else pair.take(chosen),
        )

    def stack(self, other: Contrast) -> Contrast:
        """Return these contrasts and others along a new first axis; none are of quantiles."""
        nested = ("values", "quantiles", "conversions")
        columns = {
            name: np.array([getattr(self, name), getattr(other, name)])
            for name in self.__slots__
            if name not in nested
        }
        ranges, pairs = (self.values, other.values), (self.conversions, other.conversions)
        return Contrast(
            **columns,
            values=None if ranges[0] is None or ranges[1] is None else ranges[0].stack(ranges[1]),
            quantiles=None,
            conversions=None if pairs[0] is None or pairs[1] is None else pairs[0].stack(pairs[1]),
        )

    def reversed(self) -> Contrast:
        """Return the contrasts of "b minus a"."""
        return Contrast(
            self.fewest,
            self.time,
            self.scale,
            -self.total,
            self.squares,
            self.max_increment,
            self.max_decrement,
            -self.difference,
            self.standard_error,
            self.has_upper,
            self.has_lower,
            self.variance,
            self.squares_of_even,
            None if self.values is None else self.values.reversed(),
            None if self.quantiles is None else self.quantiles.reversed(),
            None if self.conversions is None else self.conversions.reversed(),
        )


def overlap_contrast(a: WeightedSums, b: WeightedSums) -> Contrast:
    """Return the contrasts of variants whose units have overlap weights.

    The sum of h is estimated by the mean of the two sums of weights, each of which has that
    expectation; the sign of an interval does not depend on it.

    Args:
        a: Sums of the variants that may be better.
        b: Sums of those they are compared with; the shapes broadcast.

    Source: Li and Li (2019), "Propensity score weighting for causal inference with multiple
        treatments", for the weights; Waudby-Smith et al., arXiv 2210.10768, for inference at every
        look from weighted increments.
    """
    return _contrast(a, b, (a.weight + b.weight) / 2.0, _OVERLAP_OF_EVEN)


def inverse_contrast(a: WeightedSums, b: WeightedSums, units: FloatArray) -> Contrast:
    """Return the contrasts of variants whose units have the weights 1 / p.

    The weights of a variant sum to the number of all units on average. While they sum to less,
    units with a large weight are missing: a variant whose share has been small since the base rate
    rose has none of the later units yet, and neither its mean nor its sum of squared weights shows
    that. So the difference varies as if what is missing came with the largest weight. Of values
    with a bound, that bound has the same effect.

    Args:
        a: Sums of the variants that may be better.
        b: Sums of those they are compared with; the shapes broadcast.
        units: Units of all variants of the experiment, not of two alone.

    Source: Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro, arXiv 2210.10768.
    """
    return _contrast(a, b, units, _INVERSE_OF_EVEN, missing=_missing(a, units) + _missing(b, units))


def _missing(sums: WeightedSums, units: FloatArray) -> FloatArray | float:
    """Return the sum of the squared weights that are missing, of values without a bound."""
    if sums.moments is None:
        return 0.0
    return np.maximum(units - sums.weight, 0.0) * sums.moments.heaviest


def _contrast(
    a: WeightedSums,
    b: WeightedSums,
    scale: FloatArray,
    weight_of_even: float,
    share: FloatArray | None = None,
    missing: FloatArray | float = 0.0,
) -> Contrast:
    # For a few numbers the cost of numpy is that of its calls, so each sum is computed once.
    weights, weights_squared = a.weight + b.weight, a.weight_squared + b.weight_squared
    zeros = np.zeros(weights.shape)
    some = np.where(weights > 0.0, weights, np.inf)  # nothing over them is 0
    mean = (a.total + b.total) / some
    harmonic = 2.0 * a.weight * b.weight / some
    comparable = harmonic > 0.0
    divisor = np.where(comparable, harmonic, np.inf)
    total_squared = a.total_squared + b.total_squared
    centred_total = a.total - b.total - mean * (a.weight - b.weight)
    centred_squares = (
        total_squared - 2.0 * mean * (a.cross + b.cross) + mean * mean * weights_squared
    )
    weights_squared = weights_squared + missing
    expected_squares = np.maximum(a.variance, b.variance) * weights_squared
    centred_squares = np.maximum(centred_squares, expected_squares)
    has_lower = has_upper = np.ones(weights.shape, np.bool_)
    is_bounded = all_of(np.isfinite(a.largest + b.largest))
    if a.moments is not None and b.moments is not None and not is_bounded:
        columns = (*a.moments.columns, a.units, a.weight, a.weight_squared)
        of_b = (*b.moments.columns, b.units, b.weight, b.weight_squared)
        both = np.empty((len(columns), 2, *weights.shape))
        for place, (x, y) in enumerate(zip(columns, of_b, strict=True)):
            both[place, 0], both[place, 1] = x, y
        tails = Tails.of(Moments(*both[:3]), *both[3:])
        has_lower, has_upper = are_ends_believed(tails)
    squares_of_even = weight_of_even * weight_of_even
    return Contrast(
        fewest=np.minimum(a.units, b.units),
        time=weights_squared / squares_of_even,
        scale=scale + zeros,
        total=a.total - b.total,
        squares=total_squared,
        # A bound may be larger than needed, but not 0, as that of a control whose values are
        # multiplied by 1 less a tolerated harm of 1.
        max_decrement=np.maximum(b.largest, _SMALLEST_BOUND * a.largest),
        max_increment=np.maximum(a.largest, _SMALLEST_BOUND * b.largest),
        difference=centred_total / divisor,
        standard_error=np.where(comparable, np.sqrt(centred_squares) / divisor, np.inf),
        has_lower=has_lower,
        has_upper=has_upper,
        variance=np.where(comparable, centred_squares / squares_of_even, 0.0),
        squares_of_even=squares_of_even + zeros,
        values=_range(a, b, weights.shape),
        conversions=_conversions(a, b, share, weights.shape),
    )


def _range(a: WeightedSums, b: WeightedSums, shape: tuple[int, ...]) -> ValueRange | None:
    """Return the range of bounded values, of weights that are not 0."""
    if a.heaviest is None or b.heaviest is None:
        return None
    heaviest = a.heaviest, b.heaviest
    most = (
        np.divide(each.largest, top, out=np.zeros_like(top), where=top > 0.0)
        for each, top in zip((a, b), heaviest, strict=True)
    )
    columns = (
        a.weight - b.weight,
        a.cross + b.cross,
        a.weight_squared + b.weight_squared,
        *heaviest,
        *most,
    )
    zeros = np.zeros(shape)
    return ValueRange(*(each + zeros for each in columns))


def _conversions(
    a: WeightedSums, b: WeightedSums, share: FloatArray | None, shape: tuple[int, ...]
) -> ConversionPair | None:
    if a.converted is None or b.converted is None:
        return None

    def side(sums: WeightedSums, converted: FloatArray) -> Conversions:
        columns = (
            sums.units,
            sums.weight,
            sums.weight_squared,
            converted,
            sums.total,
            sums.total_squared,
            sums.largest,
        )
        return Conversions(*(_of_shape(column, shape) for column in columns))

    spread = None if share is None else _of_shape(share, shape)
    return ConversionPair(side(a, a.converted), side(b, b.converted), spread)


def _of_shape(column: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    return column if column.shape == shape else np.broadcast_to(column, shape)


@dataclass(frozen=True, slots=True, eq=False)
class PlainSums:
    """Sums over the units of one or several variants under fixed weights; all of one shape.

    Attributes:
        units: Units of the variant, >= 0.
        total: Sum of their values.
        total_squared: Sum of their squares.
        share: Share of the traffic the variant has had all the time, in (0, 1].
        largest: Largest value of a unit, if values are >= 0 and bounded; else infinite.
        moments, heaviest, converted: As in `WeightedSums`; a unit has the weight 1.
    """

    units: FloatArray
    total: FloatArray
    total_squared: FloatArray
    share: FloatArray
    largest: FloatArray
    moments: Moments | None = field(default=None, kw_only=True)
    heaviest: FloatArray | None = field(default=None, kw_only=True)
    converted: FloatArray | None = field(default=None, kw_only=True)


def fixed_contrast(a: PlainSums, b: PlainSums) -> Contrast:
    """Return the contrasts of variants whose shares never changed.

    Only the units of the two count: among them, a has had the propensity q = a / (a + b).

    Raises:
        InvalidParameterError: a share is outside (0, 1].
    """
    for sums in (a, b):
        if not all_of((sums.share > 0.0) & (sums.share <= 1.0)):
            raise InvalidParameterError("share", sums.share.tolist(), "in (0, 1]")
    units = a.units + b.units
    q = a.share / (a.share + b.share) + np.zeros(units.shape)
    scale = units * q * (1.0 - q)
    return _contrast(_tilted(a, 1.0 - q), _tilted(b, q), scale, _OVERLAP_OF_EVEN, q)


def _tilted(sums: PlainSums, weight: FloatArray) -> WeightedSums:
    square = weight * weight
    return WeightedSums(
        sums.units,
        weight * sums.units,
        square * sums.units,
        weight * sums.total,
        square * sums.total,
        square * sums.total_squared,
        weight * sums.largest,
        np.zeros_like(weight),
        moments=None if sums.moments is None else sums.moments.tilted(weight),
        heaviest=None if sums.heaviest is None else weight * sums.heaviest,
        converted=sums.converted,
    )
