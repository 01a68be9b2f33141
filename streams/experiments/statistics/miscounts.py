"""Faults of the data: events that could not be counted, or not correctly."""

from __future__ import annotations

from dataclasses import dataclass

from streams.model.published import Published


@dataclass(frozen=True, slots=True)
class HeavyUnitReport(Published):
    """A unit with a large share of the observations of a metric: a program, or many people.

    Attributes:
        assignment_id: Its assignment; to void it takes the unit out.
        unit: Its hash, 16 hexadecimal digits; users and sessions have the same in all experiments.
        metric: Name of the metric.
        observations: Its observations of the metric that count.
        share: Its share of all observations of the metric, in (0, 1].
    """

    assignment_id: str
    unit: str
    metric: str
    observations: int
    share: float


@dataclass(frozen=True, slots=True)
class Miscounts(Published):
    """Events that could not be counted, or not correctly: faults of the data.

    Attributes:
        unremembered_units: Assignments not counted because the memory of units was full.
        unremembered_observations: Observations not counted because that of events was.
        is_memory_full: Whether either is so large a share that nothing is concluded: numerator and
            denominator of a mean no longer are of the same units.
        units_in_several_variants: Units assigned to more than one variant.
        is_in_several_variants: Whether they are so large a share of the units that nothing is
            concluded.
        most_events: Observations of the unit that has most of one metric, voided or not; 0 while
            none has several.
        full_units: Units with so many observations of one metric that further ones do not count.
        is_heavy: Whether one unit has so large a share of the observations that it is a finding.
        heavy_units: Those units, the one with most observations first; at most 5.
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
