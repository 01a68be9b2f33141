"""Power of an experiment now and at its planned end."""

from __future__ import annotations

from dataclasses import dataclass

from streams.model.published import Published


@dataclass(frozen=True, slots=True)
class Outlook(Published):
    """Power of an experiment now and at its planned end, by its primary metric.

    All but `detectable` are None without a plan that is in use. Of several variants, numbers are of
    the one that is hardest to compare with the control.

    Attributes:
        detectable: Minimum detectable lift by now, as a share of the control's mean, with a power
            of 80 %; None while unknown.
        detectable_at_end: The same by the planned end.
        power: Probability that the planned lift would have been found by now.
        power_at_end: The same by the planned end.
        conditional_power: Largest probability, given the data, that a variant is eventually
            declared if it is better by the planned lift; None for more than 16 variants.
        remaining_ms: Time to the planned end at the current rate of information, in milliseconds,
            >= 0; None before the first information.
    """

    detectable: float | None = None
    detectable_at_end: float | None = None
    power: float | None = None
    power_at_end: float | None = None
    conditional_power: float | None = None
    remaining_ms: int | None = None
