"""Statistics of an experiment for the terminal: tables, notes and the recommendation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.cli.numbers import change, loss, number, p_value, probability
from streams.cli.statistics_notes import notes
from streams.cli.tables import INTERVALS, exact, interval, moment, share, status_text, table_of
from streams.experiments.statistics.variant_report import AgainstControl, MetricReport
from streams.experiments.stats_response import Stats, VariantResult
from streams.model.errors import counted
from streams.stats.weighting import Weighting

COMPARABLE = (
    "Weights that move give each variant units of other times: its mean is of units made "
    "comparable, and not of the counts beside it."
)
LIFTS = (
    "Lifts are against the control, with 95 % credible intervals; those of a primary metric with a "
    "winner have the ends of the confidence sequence. It and p hold however often one looks."
)


def stats_view(stats: Stats) -> RenderableType:
    """Return all that is known of an experiment: head, variants, other metrics, recommendation."""
    parts: list[RenderableType] = [_head(stats), variants_table(stats)]
    if others := _other_metrics(stats):
        parts.append(metrics_table(stats, others))
    is_compared = any(_against(variant, stats.primary_metric) for variant in stats.variants)
    if is_compared:
        parts.append(lifts_table(stats, [stats.primary_metric, *others]))
    parts += notes(stats)
    winner = f"; winner: {stats.winner.name}" if stats.winner else ""
    parts.append(
        Text.assemble(
            (stats.recommended_action, "bold"),
            f"{winner}; confidence {probability(stats.confidence)}. {stats.reason}",
            (f"\n{' '.join(_how_to_read(stats, is_compared=is_compared))}", "dim"),
        )
    )
    return Group(*parts)


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


def _how_to_read(stats: Stats, *, is_compared: bool) -> Iterator[str]:
    yield INTERVALS
    if stats.evidence is not None and stats.evidence.weighting != Weighting.PLAIN:
        yield COMPARABLE
    if is_compared:
        yield LIFTS


def _head(stats: Stats) -> Text:
    as_of = f", as of {moment(stats.as_of_ms)} UTC" if stats.as_of_ms else ""
    return Text.assemble(
        (stats.name, "bold"),
        f" ({_names(stats)}) {stats.type} by {stats.unit}, ",
        status_text(stats.status),
        f"\n{counted(stats.total_assignments, 'assignment')}, "
        f"{counted(stats.total_observations, 'observation')}, "
        f"{counted(stats.duplicates, 'duplicate')} not counted{as_of}",
    )


def _names(stats: Stats) -> str:
    return stats.experiment_id if stats.key is None else f"{stats.key}, {stats.experiment_id}"


def _name(variant: VariantResult) -> Text:
    return Text.assemble(variant.name, (" control", "dim") if variant.is_control else "")


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
