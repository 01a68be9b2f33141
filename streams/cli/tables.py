"""Experiments and statistics as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from experiment_streams_client import ListedExperiment
from streams.cli.fitting_table import LEAST_WIDTH, FittingTable
from streams.cli.numbers import change, loss, number, p_value, probability
from streams.experiments.statistics.miscounts import Miscounts
from streams.experiments.statistics.variant_report import AgainstControl, MetricReport
from streams.experiments.stats_response import Stats, VariantResult
from streams.model.errors import counted
from streams.model.quantities import MICRO
from streams.model.times import calendar_time
from streams.stats.weighting import Weighting

BAR_WIDTH = 8

INTERVALS = "Intervals are 95 % credible intervals of the mean per unit."
COMPARABLE = (
    "Weights that move give each variant units of other times: its mean is of units made "
    "comparable, and not of the counts beside it."
)
LIFTS = (
    "Lifts are against the control, with 95 % credible intervals; those of a primary metric with a "
    "winner have the ends of the confidence sequence. It and p hold however often one looks."
)
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_MAY_WRAP = frozenset({"key", "name", "variant", "experiment", "created"})
_STATUS_STYLES = {"running": "green", "paused": "yellow", "draft": "cyan"}


def experiments_table(experiments: Iterable[ListedExperiment]) -> Table:
    """Return one line an experiment, in their order."""
    table = table_of(
        "id", "key", "name", "owner", "type", "status", "recommended", ">units", "created"
    )
    for experiment in experiments:
        summary = experiment.summary
        table.add_row(
            experiment.id,
            experiment.key or "",
            Text(experiment.name),
            Text(str(experiment.config.get("owner") or "")),
            str(experiment.config.get("type", "")),
            _status(experiment.status),
            _recommended(experiment),
            "" if summary is None else f"{summary.units:,}",
            moment(experiment.created_at),
        )
    return table


def _recommended(experiment: ListedExperiment) -> Text:
    """Return the recommended action of a list, with its health unless that is good."""
    summary = experiment.summary
    if summary is None:
        return Text("")
    if summary.health == "ok":
        return Text(summary.action)
    codes = ", ".join(summary.health_codes)
    return Text(f"{summary.action}: {codes}", "red" if summary.health == "error" else "yellow")


def stats_view(stats: Stats) -> RenderableType:
    """Return all that is known of an experiment: head, variants, other metrics, recommendation."""
    parts: list[RenderableType] = [_head(stats), variants_table(stats)]
    if others := _other_metrics(stats):
        parts.append(metrics_table(stats, others))
    is_compared = any(_against(variant, stats.primary_metric) for variant in stats.variants)
    if is_compared:
        parts.append(lifts_table(stats, [stats.primary_metric, *others]))
    parts += _periods(stats)
    parts += _outlook(stats)
    parts += _unexposed(stats)
    parts += _maturity(stats)
    parts += _untimely(stats)
    parts += _since_conclusion(stats)
    parts += [Text(f"! {line}", "yellow") for line in _findings(stats)]
    winner = f"; winner: {stats.winner.name}" if stats.winner else ""
    parts.append(
        Text.assemble(
            (stats.recommended_action, "bold"),
            f"{winner}; confidence {probability(stats.confidence)}. {stats.reason}",
            (f"\n{' '.join(_how_to_read(stats, is_compared=is_compared))}", "dim"),
        )
    )
    return Group(*parts)


def _how_to_read(stats: Stats, *, is_compared: bool) -> Iterator[str]:
    yield INTERVALS
    if stats.evidence is not None and stats.evidence.weighting != Weighting.PLAIN:
        yield COMPARABLE
    if is_compared:
        yield LIFTS


def variants_table(stats: Stats) -> Table:
    """Return one line a variant: counts, primary metric, P(best) and allocation."""
    has_exposures = stats.total_exposures is not None
    table = table_of(
        "variant",
        ">assigned",
        *((">exposed",) if has_exposures else ()),
        f">{stats.primary_metric}",
        ">mean [interval]",
        ">P(best)",
        ">exp. loss",
        "allocation",
    )
    for variant in stats.variants:
        primary = variant.stats.metrics.get(stats.primary_metric)
        table.add_row(
            _name(variant),
            f"{variant.stats.assignments:,}",
            *((f"{variant.stats.exposures or 0:,}",) if has_exposures else ()),
            f"{primary.observations if primary else 0:,}",
            interval(variant.stats.mean, variant.stats.lower, variant.stats.upper),
            probability(variant.stats.probability_best),
            loss(variant.stats.expected_loss),
            share(variant.stats.allocation),
        )
    return table


def metrics_table(stats: Stats, names: Iterable[str]) -> Table:
    """Return one line a metric and variant: counts, exact sum, posterior mean."""
    table = table_of("metric", "variant", ">units", ">observations", ">sum", ">mean [interval]")
    for name in names:
        for variant in stats.variants:
            metric = variant.stats.metrics.get(name)
            if metric is not None:
                table.add_row(name, _name(variant), *_metric_cells(metric))
    return table


def lifts_table(stats: Stats, names: Iterable[str]) -> Table:
    """Return one line a metric and variant but the control: how it compares with that."""
    table = table_of(
        "metric", "role", "variant", ">P(better)", ">lift [interval]", ">exp. loss", ">p"
    )
    for name in names:
        model = stats.metrics.get(name)
        role = "" if model is None else f"{model.role}, {model.kind}, {model.direction}"
        for variant in stats.variants:
            against = _against(variant, name)
            if against is not None:
                table.add_row(
                    name,
                    role,
                    _name(variant),
                    probability(against.probability_better),
                    lift(against, is_chosen=stats.winner is not None),
                    loss(against.expected_loss),
                    p_value(against.p_value),
                )
    return table


def lift(against: AgainstControl, *, is_chosen: bool = False) -> str:
    """Return a lift with its interval, as in `+12.3% [+1.0%, +24.1%]`.

    While the control's mean may be 0 or less it is the difference, and without per cent.

    Args:
        against: The comparison.
        is_chosen: Whether there is a winner: what was chosen for its lift has the ends of the
            sequence, if it has one; an end may be infinite.
    """
    relative, lower, upper = against.relative, against.relative_lower, against.relative_upper
    sequence = against.relative_sequence_lower, against.relative_sequence_upper
    if is_chosen and relative is not None and sequence != (None, None):
        low = "-∞" if sequence[0] is None else change(sequence[0])
        high = "∞" if sequence[1] is None else change(sequence[1])
        return f"{change(relative)} [{low}, {high}]"
    if relative is None or lower is None or upper is None:
        ends = (against.difference_lower, against.difference_upper)
        value, low, high = (number(each, is_signed=True) for each in (against.difference, *ends))
        return f"{value} [{low}, {high}]"
    return f"{change(relative)} [{change(lower)}, {change(upper)}]"


def interval(mean: float | None, lower: float | None, upper: float | None) -> str:
    """Return a mean with its interval, as in `0.0512 [0.0431, 0.0603]`; `-` if missing."""
    if mean is None or lower is None:
        return "-"
    end = "∞)" if upper is None else f"{number(upper)}]"
    return f"{number(mean)} [{number(lower)}, {end}"


def bar(filled: float, width: int = BAR_WIDTH) -> str:
    """Return a bar of `width` characters, `filled` in [0, 1] in eighths of a character.

    >>> bar(0.5, 4)
    '██  '
    """
    eighths = round(min(max(filled, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return (_EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def share(allocation: float) -> str:
    """Return a share in [0, 1] as a bar and a percentage."""
    return f"{bar(allocation)} {allocation:6.1%}"


def exact(micro: int) -> str:
    """Return a sum of micro-units as an exact decimal, without trailing zeros.

    >>> exact(49_990_000), exact(-1), exact(3_000_000)
    ('49.99', '-0.000001', '3')
    """
    whole, rest = divmod(abs(micro), MICRO)
    decimals = f"{rest:06d}".rstrip("0")
    return f"{'-' if micro < 0 else ''}{whole:,}{'.' if decimals else ''}{decimals}"


def moment(at_ms: int | None) -> str:
    """Return a time in milliseconds since the epoch as UTC, to the second; empty for None.

    One that a producer chose may be one that no calendar has; its milliseconds are returned.
    """
    if at_ms is None:
        return ""
    at = calendar_time(at_ms)
    return f"{at_ms} ms" if at is None else at.isoformat(" ", "seconds").removesuffix("+00:00")


def table_of(*columns: str) -> Table:
    """Return an empty table; a column whose title begins with `>` is aligned to the right."""
    table = FittingTable(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for title in columns:
        side: JustifyMethod = "right" if title.startswith(">") else "left"
        # As text: what stands in brackets would be taken for a style.
        name = Text(title.removeprefix(">"))
        may_wrap = title in _MAY_WRAP
        table.add_column(
            name, justify=side, no_wrap=not may_wrap, min_width=LEAST_WIDTH if may_wrap else None
        )
    return table


def _names(stats: Stats) -> str:
    return stats.experiment_id if stats.key is None else f"{stats.key}, {stats.experiment_id}"


def _head(stats: Stats) -> Text:
    as_of = f", as of {moment(stats.as_of_ms)} UTC" if stats.as_of_ms else ""
    return Text.assemble(
        (stats.name, "bold"),
        f" ({_names(stats)}) {stats.type} by {stats.unit}, ",
        _status(stats.status),
        f"\n{counted(stats.total_assignments, 'assignment')}, "
        f"{counted(stats.total_observations, 'observation')}, "
        f"{counted(stats.duplicates, 'duplicate')} not counted{as_of}",
    )


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


def _against(variant: VariantResult, name: str) -> AgainstControl | None:
    metric = variant.stats.metrics.get(name)
    return None if metric is None else metric.against_control


def _other_metrics(stats: Stats) -> list[str]:
    names = {name for variant in stats.variants for name in variant.stats.metrics}
    return sorted(names - {stats.primary_metric})


def _metric_cells(metric: MetricReport) -> tuple[str, str, str, str]:
    return (
        f"{metric.units:,}",
        f"{metric.observations:,}",
        exact(metric.sum_micro),
        interval(metric.mean, metric.lower, metric.upper),
    )


def _name(variant: VariantResult) -> Text:
    return Text.assemble(variant.name, (" control", "dim") if variant.is_control else "")


def _status(status: str) -> Text:
    return Text(status, _STATUS_STYLES.get(status, "dim"))
