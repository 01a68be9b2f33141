"""Histograms of unit values, in bins whose width grows with the value.

Every power of two of micro-units is divided into 2**precision bins of equal width, so a bin is at
most 2**-precision of its values wide. The bin of a value follows from its leading bits, without a
logarithm, and the sums in it are integers: they can be added in any order, and afterwards values
can be capped at the end of any bin, and quantiles computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.tallies.fields import FieldTable, Statistic, Weight, add_named, summed

WINSORIZED_PRECISION = 2
"""Of metrics with a percentile as their cap: a cap is at most 25 % above the percentile."""

QUANTILE_PRECISION = 6
"""Of quantile metrics: an estimate is at most 1.6 % from the quantile of the units."""

_OCTAVES = 8  # typical range of the values of a metric


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of a metric, and the sums in them.

    Attributes:
        precision: Binary logarithm of the bins of a power of two, >= 0.
        has_values: Whether sums of values are kept, and not only of units.
    """

    precision: int
    has_values: bool

    @property
    def pair_sums(self) -> float:
        """Size of the sums by pair in all bins, in those that a metric has."""
        of_bin = 0.7 if self.has_values else 0.12
        return of_bin * (_OCTAVES << self.precision)


WINSORIZED = Bins(WINSORIZED_PRECISION, has_values=True)
QUANTILES = Bins(QUANTILE_PRECISION, has_values=False)


def bin_of(value: int, precision: int) -> int:
    """Return the bin of a value in micro-units; 0 for values of 0 or less.

    >>> [bin_of(value, 2) for value in (-3, 0, 1, 2, 3, 4, 5, 8, 9, 10)]
    [0, 0, 1, 5, 7, 9, 10, 13, 13, 14]
    """
    if value <= 0:
        return 0
    exponent = value.bit_length() - 1
    shift = exponent - precision
    leading = value >> shift if shift >= 0 else value << -shift
    return 1 + (exponent << precision) + leading - (1 << precision)


def end_of(index: int, precision: int) -> int:
    """Return the least value that is above a bin, in micro-units.

    >>> [end_of(index, 2) for index in (0, 1, 13, 14)]
    [1, 2, 10, 12]
    """
    exponent, place = divmod(index, 1 << precision)
    leading = (1 << precision) + place
    shift = exponent - precision
    return leading << shift if shift >= 0 else -(-leading >> -shift)


@dataclass(frozen=True, slots=True)
class BinTally:
    """The units of one variant whose value x of a metric is in one bin.

    Attributes:
        units: Units.
        weight, weight_squared: Sum of w over them, and of w**2; as in `VariantTally`.
        overlap, overlap_squared: By the other variant of a pair, sum of v, and of v**2; likewise.
        total, total_squared, total_cubed: As in `MetricTally`, and 0 where no values are kept; so
            are all that follow.
        weighted_total, weighted_cross, weighted_total_squared: As in `MetricTally`.
        overlap_total, overlap_cross, overlap_total_squared: As in `MetricTally`.
    """

    units: int = summed(Statistic.UNITS)
    weight: int = summed(Statistic.UNITS, Weight.INVERSE)
    weight_squared: int = summed(Statistic.UNITS, Weight.INVERSE_SQUARED)
    overlap: int = summed(Statistic.UNITS, Weight.OVERLAP)
    overlap_squared: int = summed(Statistic.UNITS, Weight.OVERLAP_SQUARED)
    total: int = summed(Statistic.VALUE)
    total_squared: int = summed(Statistic.SQUARE)
    total_cubed: int = summed(Statistic.CUBE)
    weighted_total: int = summed(Statistic.VALUE, Weight.INVERSE)
    weighted_cross: int = summed(Statistic.VALUE, Weight.INVERSE_SQUARED)
    weighted_total_squared: int = summed(Statistic.SQUARE, Weight.INVERSE_SQUARED)
    overlap_total: int = summed(Statistic.VALUE, Weight.OVERLAP)
    overlap_cross: int = summed(Statistic.VALUE, Weight.OVERLAP_SQUARED)
    overlap_total_squared: int = summed(Statistic.SQUARE, Weight.OVERLAP_SQUARED)

    def __add__(self, other: BinTally) -> BinTally:
        return BIN_FIELDS.new(*BIN_FIELDS.added(self, other))


BIN_FIELDS = FieldTable(BinTally)

ByBin = Mapping[int, BinTally]
"""Tallies by bin, in order of the bins; those without anything are left out."""


def add_bins(left: Mapping[str, ByBin], right: Mapping[str, ByBin]) -> dict[str, ByBin]:
    """Return the sums of tallies by metric and bin, in order of both."""
    return {
        name: filled(add_named(left.get(name, {}), right.get(name, {})))
        for name in sorted(left.keys() | right.keys())
    }


_NOTHING = BinTally()


def filled(bins: ByBin) -> ByBin:
    """Return the bins that are not empty.

    Whether units only passed through a bin depends on the order of their events. One that lost as
    many units as it got may hold other sums, as where a cohort that is over is changed once more.
    """
    return {index: tally for index, tally in bins.items() if tally.units or tally != _NOTHING}
