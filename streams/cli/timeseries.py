"""`experiment timeseries`: what was known of an experiment over time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from streams.cli import terminal
from streams.cli.log_options import until_of
from streams.cli.numbers import number, probability
from streams.cli.tables import interval, moment, share, table_of
from streams.cli.terminal import API_DEFAULT, Api, ApiKey, AsJson, ExperimentId
from streams.experiments.timeseries_response import SeriesVariant, Timeseries
from streams.model.errors import InputError

_COLUMNS = (
    "at",
    "version",
    "variantId",
    "assignments",
    "exposures",
    "observations",
    "allocation",
    "probabilityBest",
    "mean",
    "lower",
    "upper",
    "probabilityBetter",
    "difference",
    "differenceLower",
    "differenceUpper",
    "sequenceLower",
    "sequenceUpper",
)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(timeseries)


def timeseries(
    experiment_id: ExperimentId,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A declared metric; the primary one unless given."),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="From this time on, ISO 8601 or milliseconds."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Before this time, likewise.")
    ] = None,
    points: Annotated[
        int, typer.Option(min=2, max=400, help="Points at most; the newest one comes on top.")
    ] = 20,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: a line for each point and variant.")
    ] = False,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Show means, intervals, differences from the control and shares over time, in UTC."""
    if as_csv and as_json:
        raise InputError("CONFLICTING_OPTIONS", "either CSV or JSON", "--csv")
    with terminal.connected(api, api_key) as client:
        found = client.get_experiment_timeseries(
            experiment_id,
            metric=metric,
            begin_ms=until_of(begin, "--from"),
            end_ms=until_of(end, "--to"),
            points=points,
        )
    terminal.show(found, Timeseries.to_json, _csv if as_csv else _table, as_json=as_json)


def _table(series: Timeseries) -> RenderableType:
    """Return a line for each point and variant."""
    metric = series.metric
    table = table_of(
        "time (UTC)", "variant", ">units", ">share", ">P(best)", metric, "difference", "at any time"
    )
    for point in series.points:
        for index, variant in enumerate(point.variants):
            against = variant.against_control
            table.add_row(
                "" if index else moment(point.at),
                variant.id + (" (control)" if variant.id == series.control_id else ""),
                f"{variant.assignments if variant.exposures is None else variant.exposures:,}",
                share(variant.allocation),
                probability(variant.probability_best),
                interval(variant.mean, variant.lower, variant.upper),
                ""
                if against is None
                else interval(
                    against.difference, against.difference_lower, against.difference_upper
                ),
                "" if against is None else _range(against.sequence_lower, against.sequence_upper),
            )
    return table


def _range(lower: float | None, upper: float | None) -> str:
    if lower is None and upper is None:
        return ""
    ends = ["..." if end is None else number(end, 4) for end in (lower, upper)]
    return f"[{ends[0]}, {ends[1]}]"


def _csv(series: Timeseries) -> str:
    """Return the series as CSV, with the columns of `_COLUMNS`; what does not exist is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for point in series.points:
        for variant in point.variants:
            writer.writerow([point.at, point.version, *_cells(variant)])
    return text.getvalue().removesuffix("\n")


def _cells(variant: SeriesVariant) -> Iterator[Any]:
    yield variant.id
    yield variant.assignments
    yield variant.exposures
    yield variant.observations
    yield variant.allocation
    yield variant.probability_best
    yield variant.mean
    yield variant.lower
    yield variant.upper
    against = variant.against_control
    if against is None:
        yield from [None] * 6
        return
    yield against.probability_better
    yield against.difference
    yield against.difference_lower
    yield against.difference_upper
    yield against.sequence_lower
    yield against.sequence_upper
