"""`experiment replay`: the log read again."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli import terminal
from streams.cli.failures import EXIT_FAILED
from streams.cli.log_options import (
    CORES,
    Archive,
    Periods,
    PolicyParameters,
    Processes,
    Until,
    bounds_of,
    log_of,
    parameters_of,
    periods_of,
    prior_of,
    until_of,
)
from streams.cli.replay import rebuild
from streams.cli.replay.progress import watched
from streams.cli.replay.views import alternatives_json, alternatives_view, report_text
from streams.cli.terminal import API_DEFAULT, Api, AsJson
from streams.kafka.generations import generations_of
from streams.model.experiment_keys import named_experiment
from streams.replay.live import projection_of
from streams.replay.partitions import FoldInputs
from streams.replay.verify import verify as verify_log
from streams.replay.what_if import Assumptions
from streams.replay.what_if import what_if as alternatives_of


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = terminal.group(app, "replay", "Read the log again.")
    group.command()(verify)
    group.command("what-if")(what_if)
    rebuild.register(group)


def verify(
    experiment: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Compare only the experiment with this id or key. Repeatable."
        ),
    ] = None,
    archive: Archive = None,
    generation: Annotated[
        int | None,
        typer.Option(min=1, metavar="NUMBER", help="Compare this generation, not the active one."),
    ] = None,
    processes: Processes = CORES,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
) -> None:
    """Fold the log and compare every cell, snapshot and decision with the live ones.

    Ends with 0 when all are equal, and with 1 and the first difference when not. Workers
    and API continue undisturbed. Kafka, Redis and the receipt keys come from the
    EXPERIMENT_ variables where these name a Kafka or a Redis, or else are those of the embedded
    stack with the port of --api.
    """
    settings = terminal.settings_of(api)
    generations, _ = generations_of(settings)
    generation = generation or generations.active
    settings = settings.model_copy(update={"generation": generation})
    numbers = [named_experiment(name) for name in experiment or ()]
    with watched() as watcher:
        report = verify_log(
            log_of(settings, archive),
            projection_of(settings),
            FoldInputs.of(settings),
            generation=generation,
            is_active=generation == generations.active,
            experiments=numbers,
            processes=processes,
            watcher=watcher,
        )
    if as_json:
        speed = {"events": watcher.events, "seconds": round(watcher.seconds, 3)}
        terminal.print_json(report.to_json() | speed)
    else:
        terminal.echo(report_text(report, watcher))
    if not report.is_equal:
        raise typer.Exit(EXIT_FAILED)


def what_if(
    experiment: Annotated[
        str, typer.Option(metavar="ID", help="Id or key from `experiment list`.")
    ],
    policy: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Another policy: ucb, bayesian_ab, …")
    ] = None,
    parameter: PolicyParameters = None,
    prior: Annotated[
        str | None, typer.Option(metavar="A,B", help="Beta prior of a binary metric.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Another primary metric.")] = None,
    cap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Another cap of a metric, or none: revenue=500. Repeatable.",
        ),
    ] = None,
    floor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Another floor of a metric, or none: margin=-20. Repeatable.",
        ),
    ] = None,
    periods: Periods = None,
    until: Until = None,
    archive: Archive = None,
    processes: Processes = CORES,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
) -> None:
    """Fold the log under other assumptions, and show both results side by side.

    The assignments stay those that were made; the weights are those the next unit would meet.
    """
    settings = terminal.settings_of(api)
    assumptions = Assumptions(
        policy,
        parameters_of(parameter or []),
        prior_of(prior),
        metric,
        bounds_of(cap or []),
        periods_of(periods),
        bounds_of(floor or [], "--floor"),
    )
    with watched() as watcher:
        found = alternatives_of(
            log_of(settings, archive),
            FoldInputs.of(settings, until_ms=until_of(until)),
            named_experiment(experiment),
            assumptions,
            processes=processes,
            watcher=watcher,
        )
    terminal.show(found, alternatives_json, alternatives_view, as_json=as_json)
