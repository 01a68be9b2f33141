"""`experiment schemas`: which versions are written and read, and writing newer ones."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from streams.cli import terminal
from streams.cli.failures import EXIT_FAILED
from streams.cli.terminal import API_DEFAULT, Api, AsJson
from streams.kafka.schema_levels import append_levels, levels_of
from streams.model.schema_levels import above, higher, listed
from streams.ops.doctor.schemas import SchemaFacts, blockers
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.presence import ProcessSchemas, live_processes
from streams.settings import Settings
from streams.wire.schema_gate import readable


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = terminal.group(
        app,
        "schemas",
        "Versions of the schemas that processes write, for upgrades without an interruption.",
    )
    group.command()(status)
    group.command()(enable)


def status(as_json: AsJson = False, api: Api = API_DEFAULT) -> None:
    """Show which versions may be written, and what every live process reads and writes."""
    facts = _facts(terminal.settings_of(api))
    levels = facts.levels.versions or {}
    if as_json:
        terminal.print_json(
            {
                "enabled": facts.levels.versions,
                "thisRelease": readable(),
                "raisable": facts.raisable,
                "processes": [
                    {
                        "kind": each.kind,
                        "name": each.name,
                        "reads": dict(each.reads),
                        "writes": dict(each.writes),
                    }
                    for each in facts.processes
                ],
            }
        )
        return
    if facts.levels.versions is None:
        terminal.echo("No version is logged: every process writes its newest.")
    names = sorted(levels.keys() | readable().keys())
    width = max(map(len, names))
    terminal.echo(f"{'schema':{width}}  enabled  this release")
    for name in names:
        terminal.echo(
            f"{name:{width}}  {levels.get(name, '-'):>7}  {readable().get(name, '-'):>12}"
        )
    for process in facts.processes:
        terminal.echo(_described(process, facts))
    if facts.raisable:
        terminal.echo("Every process reads newer versions: run `experiment schemas enable`.")


def enable(
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also if a live process cannot read them; that process ends, and can be replaced.",
        ),
    ] = False,
    api: Api = API_DEFAULT,
) -> None:
    """Have every process write the newest versions of this release, once all of them read those."""
    settings = terminal.settings_of(api)
    facts = _facts(settings)
    wanted = higher(facts.levels.versions or {}, readable())
    if wanted == facts.levels.versions:
        terminal.echo("The newest versions are written already.")
        return
    found = blockers(facts, wanted)
    if found and not force:
        for sentence in found:
            terminal.echo(f"Not enabled: {sentence}.", err=True)
        terminal.echo("Upgrade every process first, or say --force.", err=True)
        raise typer.Exit(EXIT_FAILED)
    append_levels(settings, wanted)
    terminal.echo("Enabled. Processes write the newest versions within seconds.")


def _facts(settings: Settings) -> SchemaFacts:
    async def processes() -> list[ProcessSchemas]:
        async with connect(settings.redis_url) as redis:
            return await live_processes(redis, Keys(settings.namespace))

    return SchemaFacts(levels_of(settings), asyncio.run(processes()))


def _described(process: ProcessSchemas, facts: SchemaFacts) -> str:
    missing = above(facts.levels.versions or {}, process.reads)
    said = f"cannot read {listed(missing)}" if missing else "reads all that may be written"
    return f"{process.kind} {process.name}: {said}"
