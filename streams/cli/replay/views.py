"""Views of a replay: text, tables and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from streams.analysis.reasons import reason
from streams.cli.replay.progress import Bar
from streams.cli.tables import INTERVALS, interval, moment, share, table_of
from streams.experiments.snapshot import Snapshot
from streams.model.errors import counted
from streams.model.quantities import ALLOCATION_TOTAL
from streams.replay.rebuild import GenerationStatus
from streams.replay.report import Report
from streams.replay.what_if import Alternatives


def report_text(report: Report, bar: Bar) -> str:
    """Return what was compared, and the first difference."""
    lines = []
    difference = report.difference
    if difference is None:
        lines.append("Equal: the log gives what is live.")
    else:
        where = f" at {difference.path}" if difference.path else ""
        lines += [
            f"Different: {difference.subject} in {difference.place}{where}",
            f"  live      {_or_missing(difference.live)}",
            f"  replayed  {_or_missing(difference.replayed)}",
        ]
    lines.append(
        f"Compared {report.cells:,} cells, {report.snapshots:,} snapshots of the log, "
        f"{report.conclusions:,} as of a conclusion, {report.projected:,} of Redis, "
        f"{report.points:,} points of time series, {report.commands:,} decisions about commands "
        f"and {report.actions:,} changes of the recommended action, of {report.experiments:,} "
        "experiments."
    )
    if report.actions_not_compared:
        lines.append(
            f"Not compared: {counted(report.actions_not_compared, 'change')} of the recommended "
            "action, whose snapshots the log no longer has."
        )
    if report.behind:
        lines.append(f"Behind the log: {counted(report.behind, 'cell')}.")
    if report.unreadable:
        lines.append(
            f"Not readable: {counted(report.unreadable, 'record')} of the topics compared."
        )
    keys = ", ".join(map(str, report.key_ids))
    lines.append(
        f"Folded {counted(bar.events, 'event')} in {bar.seconds:.1f} s ({bar.speed:,.0f} "
        f"events/s), with a deduplication limit of {report.deduplication_limit:,} and the receipt "
        f"keys {keys}, which the log does not hold."
    )
    return "\n".join(lines)


def generations_view(found: Sequence[GenerationStatus]) -> RenderableType:
    """Return one line a generation."""
    table = table_of("generation", "", ">workers", ">records folded", ">of", ">snapshots")
    for each in found:
        table.add_row(
            str(each.number),
            "active" if each.is_active else "",
            f"{each.workers}",
            f"{each.folded:,}",
            f"{each.to_fold:,}",
            f"{each.snapshots:,}",
        )
    return table


def alternatives_view(found: Alternatives) -> RenderableType:
    """Return both snapshots side by side, one line a variant."""
    actual, supposed = found.actual, found.supposed
    has_exposures = any(report.exposures is not None for report in actual.variants)
    table = table_of(
        "variant",
        ">assigned",
        *((">exposed",) if has_exposures else ()),
        "allocation",
        ">mean [interval]",
        ">P(best)",
        "if: allocation",
        ">if: mean [interval]",
        ">if: P(best)",
    )
    for index, variant in enumerate(actual.experiment.definition.variants):
        report = actual.variants[index]
        table.add_row(
            Text(variant.name),
            f"{report.assignments:,}",
            *((f"{report.exposures or 0:,}",) if has_exposures else ()),
            *_variant(actual, index),
            *_variant(supposed, index),
        )
    config = actual.experiment.definition.config
    as_of = f", as of {moment(actual.as_of_ms)} UTC" if actual.as_of_ms else ""
    return Group(
        Text.assemble((config.name, "bold"), f" ({actual.experiment.id}){as_of}"),
        table,
        _recommendation("as it is", actual),
        _recommendation("what if", supposed),
        Text(INTERVALS, "dim"),
    )


def alternatives_json(found: Alternatives) -> dict[str, Any]:
    """Return both snapshots as a JSON object."""
    return {
        "experimentId": found.actual.experiment.id,
        "asOf": found.actual.as_of_ms,
        "actual": _snapshot_json(found.actual),
        "supposed": _snapshot_json(found.supposed),
    }


def _variant(snapshot: Snapshot, index: int) -> tuple[str, str, str]:
    report = snapshot.variants[index]
    return (
        share(snapshot.allocation.weights[index] / ALLOCATION_TOTAL),
        interval(report.mean, report.lower, report.upper),
        f"{report.probability_best:.1%}",
    )


def _recommendation(title: str, snapshot: Snapshot) -> Text:
    config = snapshot.experiment.definition.config
    return Text.assemble(
        f"{title}: {config.type} by {config.primary_metric}, ",
        (snapshot.recommended_action.value, "bold"),
        f". {reason(snapshot)}",
    )


def _snapshot_json(snapshot: Snapshot) -> dict[str, Any]:
    definition, winner = snapshot.experiment.definition, snapshot.winner
    return {
        "type": definition.config.type,
        "primaryMetric": definition.config.primary_metric,
        "parameters": definition.config.parameters.model_dump(by_alias=True, mode="json"),
        "recommendedAction": snapshot.recommended_action.value,
        "reasonCode": snapshot.reason_code.value,
        "reason": reason(snapshot),
        "winner": None if winner is None else snapshot.experiment.variant_id(winner),
        "confidence": snapshot.confidence,
        "variants": [
            {
                "id": snapshot.experiment.variant_id(index),
                "name": definition.variants[index].name,
                "assignments": report.assignments,
                "exposures": report.exposures,
                "weight": weight,
                "mean": report.mean,
                "lower": report.lower,
                "upper": report.upper,
                "probabilityBest": report.probability_best,
                "expectedLoss": report.expected_loss,
            }
            for index, (report, weight) in enumerate(
                zip(snapshot.variants, snapshot.allocation.weights, strict=True)
            )
        ],
    }


def _or_missing(value: str | None) -> str:
    return "missing" if value is None else value
