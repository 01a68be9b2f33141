"""Data quality: events that were not counted, or miscounted."""

from __future__ import annotations

from dataclasses import dataclass

from streams.model.published import Published


@dataclass(frozen=True, slots=True)
class HeavyUnitReport(Published):
    """A unit with a large share of the observations of a metric: a bot, or several users.

    Attributes:
        assignment_id: Its assignment; voiding it excludes the unit.
        unit: Its hash, 16 hexadecimal digits; users and sessions have the same in all experiments.
        metric: Name of the metric.
        observations: Its counted observations of the metric.
        share: Its share of all observations of the metric, in (0, 1].
    """

    assignment_id: str
    unit: str
    metric: str
    observations: int
    share: float


@dataclass(frozen=True, slots=True)
class Miscounts(Published):
    """Events that were not counted, or miscounted.

    Attributes:
        unremembered_units: Assignments not counted because the deduplication memory was full.
        unremembered_observations: Observations not counted for the same reason.
        is_memory_full: Whether either share is so large that nothing is concluded: numerator and
            denominator of a mean are no longer of the same units.
        units_in_several_variants: Units assigned to more than one variant.
        is_in_several_variants: Whether they are so large a share of the units that nothing is
            concluded.
        most_events: Largest number of observations of one metric by one unit, voided or not; 0
            while no unit has several.
        full_units: Units at the limit of observations of one metric; further ones do not count.
        is_heavy: Whether one unit has so large a share of the observations that it is a finding.
        heavy_units: Those units, by descending number of observations; at most 5.
    """

    unremembered_units: int
    unremembered_observations: int
    is_memory_full: bool
    units_in_several_variants: int
    is_in_several_variants: bool
    most_events: int
    full_units: int
    is_heavy: bool
    heavy_units: tuple[HeavyUnitReport, ...] = ()
