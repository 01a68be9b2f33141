"""Converted and not converted units of two variants, with the weights they are compared by."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from streams.stats.arrays import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Conversions:
    """Units of one side of a contrast whose values are 0 or 1; all of one shape.

    Attributes:
        units: Units of the variant, >= 0.
        weight: Sum of their weights w.
        weight_squared: Sum of w^2.
        converted: Units with the value 1.
        total: Sum of w over these.
        total_squared: Sum of w^2 over these.
        largest: Largest weight there can be, > 0.
    """

    units: FloatArray
    weight: FloatArray
    weight_squared: FloatArray
    converted: FloatArray
    total: FloatArray
    total_squared: FloatArray
    largest: FloatArray

    def take(self, chosen: NDArray[np.bool_] | slice) -> Conversions:
        """Return those of a mask or slice; shape (n_chosen,)."""
        return Conversions(*(getattr(self, each.name)[chosen] for each in fields(self)))

    def stack(self, other: Conversions) -> Conversions:
        """Return these and others along a new first axis."""
        names = self.__slots__
        return Conversions(*(np.array([getattr(self, n), getattr(other, n)]) for n in names))

    @property
    def unconverted(self) -> Conversions:
        """The same units, those without a conversion taken for those with one."""
        return Conversions(
            self.units,
            self.weight,
            self.weight_squared,
            np.maximum(self.units - self.converted, 0.0),
            np.maximum(self.weight - self.total, 0.0),
            np.maximum(self.weight_squared - self.total_squared, 0.0),
            self.largest,
        )


@dataclass(frozen=True, slots=True, eq=False)
class ConversionPair:
    """Both sides of a contrast.

    Attributes:
        a: The variant that may be better.
        b: The one it is compared with.
        share: Share of a among the units of both, if it never moved: a has had the weights
            1 - share and b the weights `share`. None if it moved.
    """

    a: Conversions
    b: Conversions
    share: FloatArray | None

    def take(self, chosen: NDArray[np.bool_] | slice) -> ConversionPair:
        """Return those of a mask or slice; shape (n_chosen,)."""
        share = None if self.share is None else self.share[chosen]
        return ConversionPair(self.a.take(chosen), self.b.take(chosen), share)

    def stack(self, other: ConversionPair) -> ConversionPair:
        """Return these and others along a new first axis."""
        shares = self.share, other.share
        share = None if shares[0] is None or shares[1] is None else np.array(shares)
        return ConversionPair(self.a.stack(other.a), self.b.stack(other.b), share)

    def reversed(self) -> ConversionPair:
        """Return the pair of "b minus a"."""
        return ConversionPair(self.b, self.a, None if self.share is None else 1.0 - self.share)
