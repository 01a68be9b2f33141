"""Miscounts: events that could not be counted correctly, and the limits for conclusions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streams.experiments.statistics.miscounts import HeavyUnitReport, Miscounts
from streams.tallies.cell import Tally, VariantTally
from streams.tallies.heavy_units import HeavyUnit
from streams.tallies.plan import MAX_EVENTS

UNREMEMBERED_SHARE = 0.001
"""Share of the assignments or observations that may be missing because a memory was full; above it,
nothing is concluded. It bounds the relative error of a rate."""

CROSSED_SHARE = 0.01
"""Share of the units that may be in more than one variant; above it, nothing is concluded. They
reduce the difference of the variants by that share."""

HEAVY_SHARE = 0.05
"""Share of all observations of a metric that one unit may have before it is a finding; fewer than
`HEAVY_FROM` observations are never one."""

MAX_REPORTED = 5
"""Maximum number of reported units."""


def find_miscounts(
    tally: Tally, variants: Sequence[VariantTally], *, is_by_exposure: bool = False
) -> Miscounts:
    """Return the events that could not be counted correctly.

    Args:
        tally: The sum of all cells.
        variants: The variants of the experiment.
        is_by_exposure: Whether units count from their first exposure. Then uncounted assignments do
            not matter, and crossed units are counted by assignment.
    """
    units = sum(variant.assigned if is_by_exposure else variant.units for variant in variants)
    observations = sum(
        metric.observations for variant in variants for metric in variant.metrics.values()
    )
    heavy = find_heavy(tally.heavy, variants)
    return Miscounts(
        unremembered_units=tally.unremembered_units,
        unremembered_observations=tally.unremembered,
        is_memory_full=(
            (not is_by_exposure and _is_above(tally.unremembered_units, units, UNREMEMBERED_SHARE))
            or _is_above(tally.unremembered, observations, UNREMEMBERED_SHARE)
        ),
        units_in_several_variants=tally.crossed_units,
        is_in_several_variants=tally.crossed_units > CROSSED_SHARE * units,
        most_events=tally.most_events,
        full_units=tally.full_units,
        is_heavy=bool(heavy),
        heavy_units=heavy,
    )


def find_heavy(
    units: Iterable[HeavyUnit], variants: Sequence[VariantTally]
) -> tuple[HeavyUnitReport, ...]:
    """Return the units with a large share of a metric, or at the limit of observations.

    Args:
        units: Units with many observations, in descending order.
        variants: The variants of the experiment.
    """
    found: list[HeavyUnitReport] = []
    for each in units:
        if each.is_voided or len(found) == MAX_REPORTED:
            continue
        known = (variant.metrics.get(each.metric) for variant in variants)
        of_all = max(sum(metric.observations for metric in known if metric), each.events)
        share = each.events / of_all
        if share > HEAVY_SHARE or each.events >= MAX_EVENTS:
            named = each.assignment_id, f"{each.unit:016x}", each.metric
            found.append(HeavyUnitReport(*named, each.events, share))
    return tuple(found)


def _is_above(missing: int, counted: int, share: float) -> bool:
    return missing > share * (missing + counted)
