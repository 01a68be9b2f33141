"""Ends of a difference, as shares of the mean of the control.

The mean of the control is estimated from the same units, so an end over it is no end of the lift:
where a variant has three times the mean of the control, most of what is uncertain about the ratio
is the control. A lift l is left out by a sequence if the difference "variant - (1 + l) control" is
further from 0 than the sequence reaches. It reaches as many standard errors as for the difference
itself, and the variance of the control counts (1 + l)^2 times.

Source: Fieller (1954), "Some problems in interval estimation", section 3; Deng, Knoblich and Lu
    (2018), "Applying the delta method in metric analytics", section 3.2, for lifts of means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from streams.stats.sample import Sample


@dataclass(frozen=True, slots=True)
class Ratio:
    """Mean of a variant over that of the control, both of which are estimated.

    Attributes:
        difference: Mean of the variant less that of the control.
        control: Mean of the control, > 0.
        share: Share of the variance of the difference that is the control's, in [0, 1].
    """

    difference: float
    control: float
    share: float

    @property
    def lift(self) -> float:
        """The difference over the mean of the control."""
        return self.difference / self.control

    def lower(self, end: float) -> float:
        """Return the lower end of the lift, given that of the difference; -inf without one.

        Examples:
            >>> round(Ratio(0.1, 0.05, 0.3).lower(0.05), 3)
            0.734
        """
        a, b, c = self._parabola(self.difference - end)
        root = math.sqrt(max(b * b - a * c, 0.0))
        found = -math.inf
        if b > 0.0 and (a > 0.0 or c > 0.0):
            found = c / (b + root) - 1.0
        elif a > 0.0:
            found = (b - root) / a - 1.0
        return _of_sign(found, end)

    def upper(self, end: float) -> float:
        """Return the upper end of the lift, given that of the difference; inf without one."""
        a, b, c = self._parabola(end - self.difference)
        root = math.sqrt(max(b * b - a * c, 0.0))
        found = math.inf
        if a > 0.0:
            found = ((b + root) / a if b > 0.0 else c / (b - root) if b - root else 0.0) - 1.0
        return _of_sign(found, end)

    def _parabola(self, reach: float) -> tuple[float, float, float]:
        """Return a, b, c; a t^2 - 2 b t + c = 0 where variant - t control is at its boundary.

        All three are 0, so that no lift is left out, where the difference has no end.

        Args:
            reach: Distance of the end from the difference; not finite without an end.
        """
        # A lift has no unit, and a power of two changes no digit.
        control, difference, reach = _scaled(self.control, self.difference, reach)
        if not math.isfinite(control + difference + reach):
            return 0.0, 0.0, 0.0
        square, variant = max(reach, 0.0) ** 2, control + difference
        return (
            control * control - self.share * square,
            control * variant,
            variant * variant - (1.0 - self.share) * square,
        )


def _scaled(*numbers: float) -> list[float]:
    """Return numbers over a power of two: none is above 1, so no power of them overflows."""
    _, exponent = math.frexp(max(map(abs, numbers)))
    return [math.ldexp(number, -exponent) for number in numbers]


def _of_sign(lift: float, end: float) -> float:
    """Return a lift with the sign of the difference, which rounding might change next to 0."""
    return max(lift, 0.0) if end > 0.0 else min(lift, 0.0) if end < 0.0 else lift


def share_of_control(variant: Sample, control: Sample) -> float:
    """Return the share of the variance of a difference of means that is the control's.

    Either counts one more typical value: a control without conversions is not known exactly.
    """
    deviations = _scaled(variant.squared_deviations, control.squared_deviations)
    typical = sum(deviations) / max(variant.units_with_value + control.units_with_value, 1.0)
    of_variant, of_control = (
        (own + typical) / max(each.units * each.units, 1.0)
        for own, each in zip(deviations, (variant, control), strict=True)
    )
    whole = of_variant + of_control
    return of_control / whole if whole > 0.0 else 0.5
