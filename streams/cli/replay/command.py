"""`experiment replay`: the log read again."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from streams.cli import terminal
from streams.cli.failures import EXIT_FAILED
from streams.cli.replay import rebuild
from streams.cli.replay.progress import watched
from streams.cli.replay.views import alternatives_json, alternatives_view, report_text
from streams.cli.terminal import API_DEFAULT, Api, AsJson
from streams.kafka.generations import generations_of
from streams.kafka.records import LogSource
from streams.kafka.source import KafkaSource
from streams.model.errors import InputError, quoted
from streams.model.ids import experiment_number
from streams.ops.archive.joined import JoinedSource
from streams.ops.archive.source import ArchiveSource
from streams.replay.live import projection_of
from streams.replay.partitions import Inputs
from streams.replay.verify import verify as verify_log
from streams.replay.what_if import Assumptions
from streams.replay.what_if import what_if as alternatives_of
from streams.settings import Settings

CORES = os.cpu_count() or 1

Archive = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="What `experiment archive` has kept, for records that Kafka no longer has.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Leave out what came later: ISO 8601 or milliseconds since 1970."
    ),
]
Periods = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="How units of different times count, over what is declared, or none: half_life=86400. "
        "Repeat for more.",
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        min=1, max=1024, show_default="one for each core", help="Partitions folded at a time."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Read the log again.")
    group.command()(verify)
    group.command("what-if")(what_if)
    rebuild.register(group)
    app.add_typer(group, name="replay")


def verify(
    experiment: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Compare this experiment alone. Repeat for more."),
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

    Ends with 0 when all are equal, and with 1 and the first difference when not. It disturbs
    nobody: workers and API go on meanwhile. Kafka, Redis and the receipt keys come from the
    EXPERIMENT_ variables where these name a Kafka or a Redis, or else are those of the embedded
    stack with the port of --api.
    """
    settings = terminal.settings_of(api)
    generations, _ = generations_of(settings)
    generation = generation or generations.active
    settings = settings.model_copy(update={"generation": generation})
    numbers = [experiment_number(name) for name in experiment or ()]
    with watched() as watcher:
        report = verify_log(
            log_of(settings, archive),
            projection_of(settings),
            Inputs.of(settings),
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
    experiment: Annotated[str, typer.Option(metavar="ID", help="As `experiment list` shows it.")],
    policy: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Another policy: ucb, bayesian_ab, …")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A parameter of the policy. Repeat for more."),
    ] = None,
    prior: Annotated[
        str | None, typer.Option(metavar="A,B", help="Beta prior of a binary metric.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Another metric that decides.")] = None,
    cap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Another cap of a metric's units, or none: revenue=500. Repeat for more.",
        ),
    ] = None,
    floor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Another floor of a metric's units, or none: margin=-20. Repeat for more.",
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
            Inputs.of(settings, until_ms=until_of(until)),
            experiment_number(experiment),
            assumptions,
            processes=processes,
            watcher=watcher,
        )
    if as_json:
        terminal.print_json(alternatives_json(found))
    else:
        terminal.out.print(alternatives_view(found))


def log_of(settings: Settings, archive: Path | None) -> LogSource:
    """Return the log of an installation, behind what an archive has of it."""
    kafka = KafkaSource(settings)
    return kafka if archive is None else JoinedSource(ArchiveSource(archive), kafka)


def periods_of(texts: list[str] | None) -> dict[str, Any] | None:
    """Return how periods count, written as `name=value`; nothing for `none`, None if not stated.

    Raises:
        InputError: one is not written so.

    Examples:
        >>> periods_of(["half_life=86400", "delayed=true"]), periods_of(["none"])
        ({'half_life': 86400, 'delayed': True}, {})
    """
    if texts is None:
        return None
    return {} if texts == ["none"] else parameters_of(texts, "--periods")


def parameters_of(texts: list[str], path: str = "--parameter") -> dict[str, Any]:
    """Return parameters written as `name=value`; a value that is not JSON is text.

    Args:
        texts: The parameters.
        path: The option they were given by.

    Raises:
        InputError: one is not written so.

    Examples:
        >>> parameters_of(["c=1.5", "variant=tuned"])
        {'c': 1.5, 'variant': 'tuned'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise InputError("WRONG_TYPE", f"{quoted(text)} is not NAME=VALUE", path)
        try:
            found[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            found[name] = value
    return found


def prior_of(text: str | None) -> tuple[float, float] | None:
    """Return a prior written as `a,b`.

    Raises:
        InputError: it is not.

    Examples:
        >>> prior_of("2,98.5")
        (2.0, 98.5)
    """
    if text is None:
        return None
    try:
        alpha, beta = map(float, text.split(","))
    except ValueError as error:
        raise InputError(
            "WRONG_TYPE", f"{quoted(text)} is not two numbers A,B", "--prior"
        ) from error
    return alpha, beta


def bounds_of(texts: list[str], option: str = "--cap") -> dict[str, float | None]:
    """Return bounds written as `metric=value`; None for `none`.

    Raises:
        InputError: one is not written so.

    Examples:
        >>> bounds_of(["revenue=500", "visits=none"])
        {'revenue': 500.0, 'visits': None}
    """
    found: dict[str, float | None] = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            found[name] = None if value == "none" else float(value)
        except ValueError as error:
            message = f"{quoted(text)} is not METRIC=VALUE or METRIC=none"
            raise InputError("WRONG_TYPE", message, option) from error
    return found


def until_of(text: str | None) -> int | None:
    """Return a time as milliseconds since the epoch; one without a zone is UTC.

    Raises:
        InputError: it is not a time.

    Examples:
        >>> until_of("1970-01-01T00:00:01"), until_of("1500")
        (1000, 1500)
    """
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{quoted(text)} is neither ISO 8601 nor milliseconds"
        raise InputError("WRONG_TYPE", message, "--until") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
