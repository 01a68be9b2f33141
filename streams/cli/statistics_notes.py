"""Notes below the tables of an experiment: what the counts mean, and what needs attention."""

from __future__ import annotations

from datetime import timedelta

from rich.text import Text

from streams.cli.numbers import number
from streams.experiments.statistics.miscounts import Miscounts
from streams.experiments.stats_response import Stats
from streams.model.errors import counted


def notes(stats: Stats) -> list[Text]:
    """Return one line a note, those that need attention last."""
    return [
        *_periods(stats),
        *_outlook(stats),
        *_unexposed(stats),
        *_maturity(stats),
        *_untimely(stats),
        *_since_conclusion(stats),
        *(Text(f"! {line}", "yellow") for line in _findings(stats)),
    ]


def _periods(stats: Stats) -> list[Text]:
    """Return one line about how units of different times count, if they do not count alike."""
    model = stats.metrics.get(stats.primary_metric)
    if model is None or model.periods is None:
        return []
    said = []
    if model.periods.half_life is not None:
        said.append(f"half after {timedelta(seconds=model.periods.half_life)}")
    if model.periods.delayed:
        said.append("for what can have arrived")
    if model.periods.stratified:
        said.append("within periods")
    return [Text(f"Units count {', '.join(said)}: {stats.primary_metric}, policy and intervals.")]


def _outlook(stats: Stats) -> list[Text]:
    """Return one line about what a running experiment can still find."""
    evidence = stats.evidence
    found = None if evidence is None else evidence.outlook
    if evidence is None or found is None or found.detectable is None:
        return []
    now = f"By now a lift of {found.detectable:.1%} would be found in 80 of 100 experiments"
    if found.detectable_at_end is None or evidence.progress is None:
        return [Text(f"{now}.")]
    power = f"power {_given(found.power):.0%} by now, {_given(found.power_at_end):.0%} at the end"
    if found.remaining_ms is None or not found.remaining_ms:
        left = "the plan is over"
    else:
        left = f"{found.remaining_ms / 86_400_000:.1f} days left"
    return [
        Text(f"{now}, and one of {found.detectable_at_end:.1%} at the planned end."),
        Text(f"Plan: {evidence.progress:.0%} of the information, {power}; {left}."),
    ]


def _given(value: float | None) -> float:
    return 0.0 if value is None else value


def _unexposed(stats: Stats) -> list[Text]:
    """Return one line about observations without an exposure before them, if there are any."""
    unexposed = None if stats.evidence is None else stats.evidence.unexposed
    if not unexposed:
        return []
    some = counted(unexposed, "observation")
    text = f"Not counted: {some} without an exposure of the unit before."
    return [Text(text, "dim" if stats.total_exposures else "yellow")]


def _maturity(stats: Stats) -> list[Text]:
    """Return one line about the units that are compared, if these are not all, or should not be."""
    found = None if stats.evidence is None else stats.evidence.maturity
    if found is None:
        return []
    if found.warning is not None:
        return [Text(f"! {found.warning.message}.", "yellow")] if stats.winner else []
    units = ", ".join(
        f"{variant.name} {units:,}"
        for variant, units in zip(stats.variants, found.units, strict=True)
    )
    window = timedelta(seconds=found.window)
    return [Text(f"Compared are the units whose conversion window of {window} is over: {units}.")]


def _untimely(stats: Stats) -> list[Text]:
    """Return one line about observations before the delay or after the window of their metric."""
    found = None if stats.evidence is None else stats.evidence.maturity
    if found is None:
        return []
    counts = {
        "after the conversion window": found.late,
        "before the conversion delay": found.early,
    }
    parts = [f"{counted(count, 'observation')} {where}" for where, count in counts.items() if count]
    if not parts:
        return []
    return [Text(f"Not counted: {' and '.join(parts)} of their metric.", "dim")]


def _since_conclusion(stats: Stats) -> list[Text]:
    """Return one line about what is counted apart from the experiment, if anything is."""
    found = None if stats.evidence is None else stats.evidence.since_conclusion
    if found is None:
        return []
    control = next(index for index, each in enumerate(stats.variants) if each.is_control)
    units = ", ".join(
        f"{stats.variants[index].name} {found.units[index]:,}" for index in (found.variant, control)
    )
    return [Text(f"Units since the conclusion, counted apart: {units}.")]


def _findings(stats: Stats) -> list[str]:
    """Return the findings that need attention, besides the recommendation."""
    found = [
        f"{name}: {model.contradiction.message}; it is modelled as {model.kind}."
        for name, model in stats.metrics.items()
        if model.contradiction is not None
    ]
    found += [
        f"{name} of {variant.name}: {metric.undefined.message}."
        for variant in stats.variants
        for name, metric in variant.stats.metrics.items()
        if metric.undefined is not None and metric.observations
    ]
    found += [
        f"{each.metric} has no observation, but {each.observed} has {each.observations:,}: is it "
        "misspelt?"
        for each in stats.misspelt
    ]
    if stats.outside:
        reasons = ", ".join(f"{each.requests:,} {each.reason}" for each in stats.outside)
        found.append(f"Requests that took no part: {reasons}.")
    found += [f"{each.message}." for report in stats.dimensions for each in report.findings]
    if stats.voided:
        reasons = ", ".join(f"{each.units:,} {each.reason}" for each in stats.voided)
        found.append(f"Units that were voided and do not count: {reasons}.")
    if stats.failure is not None:
        found.insert(0, f"{stats.failure.code}: {stats.failure.message}")
    if stats.evidence is None:
        return found
    names = [variant.name for variant in stats.variants]
    found += [
        f"{names[each.variant]} harms {each.metric} by more than {number(each.tolerated_harm)}."
        for each in stats.evidence.guardrails
        if each.is_tripped
    ]
    since = stats.evidence.since_conclusion
    found += [
        f"Since it was promoted, {names[each.variant]} harms {each.metric} by more than "
        f"{number(each.tolerated_harm)}."
        for each in (() if since is None else since.guardrails)
        if each.is_tripped
    ]
    if stats.evidence.sample_ratio.is_mismatch:
        found.append("Sample ratio mismatch: observed counts deviate from the configured split.")
    return found + _miscounts(stats.evidence.miscounts)


def _miscounts(found: Miscounts) -> list[str]:
    """Return what could not be counted, or not correctly."""
    said = []
    if found.unremembered_units or found.unremembered_observations:
        said.append(
            f"Not counted: {counted(found.unremembered_units, 'assignment')} and "
            f"{counted(found.unremembered_observations, 'observation')}, because the memory of "
            "units or events was full."
        )
    if found.units_in_several_variants:
        said.append(
            "More than one variant was assigned to "
            f"{counted(found.units_in_several_variants, 'unit')}."
        )
    if found.is_heavy:
        said.append(
            f"One unit has {counted(found.most_events, 'observation')} of one metric; as many as "
            f"count: {counted(found.full_units, 'unit')}."
        )
        said += [
            f"{each.share:.0%} of {each.metric} is of one unit, "
            f"{counted(each.observations, 'observation')}: "
            f"experiment void --reason bot {each.assignment_id}"
            for each in found.heavy_units
        ]
    return said
