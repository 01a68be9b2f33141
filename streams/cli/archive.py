"""`experiment archive`: topics to files that outlive Kafka's retention, and a look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.filesize import decimal
from rich.progress import (
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
)
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from schemas import catalogue
from streams.cli import experiments, terminal
from streams.cli.progress import bars
from streams.cli.tables import moment, table_of
from streams.cli.terminal import API_DEFAULT, Api, AsJson
from streams.kafka.source import KafkaSource
from streams.model.errors import ConfigurationError
from streams.ops.archive.archiving import ArchiveObserver, archive
from streams.ops.archive.errors import ArchiveError
from streams.ops.archive.partition import AppendedRecords
from streams.ops.archive.verification import TopicReport, bytes_of, verify


class ArchivedTopic(StrEnum):
    """Topics that can be archived: the log, and what was published because of it."""

    COMMANDS = catalogue.COMMANDS.name
    IMPRESSIONS = catalogue.IMPRESSIONS.name
    OBSERVATIONS = catalogue.OBSERVATIONS.name
    DECISIONS = catalogue.DECISIONS.name
    TIMESERIES = catalogue.TIMESERIES.name
    DEAD_LETTERS = catalogue.DEAD_LETTERS.name


# What a replay needs; the others can be derived from them.
DEFAULT_TOPICS = [ArchivedTopic.COMMANDS, ArchivedTopic.IMPRESSIONS, ArchivedTopic.OBSERVATIONS]

_ID = "ID"
"""Name of the verb among the commands of the group, as its help shows it."""


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = terminal.group(
        app,
        "archive",
        "Keep topics as Avro files beyond retention, or archive the experiment ID.",
        _OrExperiment,
    )
    group.command("run")(run)
    group.command("verify")(verify_archive)
    group.command(_ID)(experiments.archive)


def run(
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="The archive; created if missing.")
    ],
    topic: Annotated[
        list[ArchivedTopic], typer.Option(help="Topic to archive. Repeatable.")
    ] = DEFAULT_TOPICS,
    accept_gap: Annotated[
        bool, typer.Option("--accept-gap", help="Continue after records that Kafka has deleted.")
    ] = False,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
) -> None:
    """Add to an archive the records that it does not have yet.

    Schedule it more often than the retention: records that Kafka deletes before are lost, and the
    next run refuses to continue after them without --accept-gap.

    The Kafka is that of the EXPERIMENT_ variables where these name a Kafka or a Redis, or else that
    of the embedded stack on this machine with the port of --api.
    """
    settings = terminal.settings_of(api)
    with bars(MofNCompleteColumn(), _Rate(), transient=False) as progress:
        appended = archive(
            KafkaSource(settings),
            to,
            list(dict.fromkeys(each.value for each in topic)),
            accept_gap=accept_gap,
            watcher=_Bar(progress),
        )
    for part in appended:
        if part.missing:
            terminal.err.print(
                f"{part.missing:,} offsets of {part.topic}/{part.partition} are not in the archive "
                "and not in Kafka"
            )
    terminal.show(appended, _as_objects, _appended_table, as_json=as_json)


def verify_archive(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The archive.")],
    as_json: AsJson = False,
) -> None:
    """Read every file of an archive, and check that no offset is missing or there twice."""
    if not directory.is_dir():
        raise ConfigurationError(f"{directory} is not a directory", "DIR")
    with bars(DownloadColumn(), transient=False) as progress:
        task = progress.add_task("verify", total=bytes_of(directory))
        reports = verify(directory, lambda size: progress.advance(task, size))
    if not reports:
        raise ConfigurationError(f"{directory} holds no archive", "DIR")
    terminal.show(reports, _as_objects, _report_table, as_json=as_json)
    problems = [problem for report in reports for problem in report.problems]
    for problem in problems:
        terminal.err.print(f"{problem.path}: {problem.message}", soft_wrap=True, highlight=False)
    if problems:
        raise ArchiveError(
            "ARCHIVE_BROKEN",
            f"{len(problems)} of {sum(report.files for report in reports)} files are not what they "
            "should be",
            problems[0].path,
        )


class _OrExperiment(TyperGroup):
    """A group in which anything but the name of a command is about an experiment to archive.

    `experiment archive ID` was there before the group; ids begin with `exp_`, so they are no names.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the verb's command before what has none."""
        if args and args[0] not in {*self.commands, "--help"}:
            args = [_ID, *args]
        return super().parse_args(ctx, args)


class _Rate(ProgressColumn):
    """Records per second."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text(f"{rate:,.0f} records/s" if rate else "")


class _Bar(ArchiveObserver):
    """A line of the progress for each topic."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begins(self, topic: str, records: int) -> None:
        self._task = self._progress.add_task(topic, total=records)

    def appended(self, records: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, records)


def _as_objects(found: Sequence[AppendedRecords | TopicReport]) -> list[dict[str, Any]]:
    return [asdict(each) for each in found]


def _appended_table(appended: list[AppendedRecords]) -> Table:
    table = table_of("topic", ">partition", ">new records", ">new files", ">missing", ">end")
    for part in appended:
        table.add_row(
            part.topic,
            str(part.partition),
            f"{part.records:,}",
            f"{part.files:,}",
            f"{part.missing:,}",
            f"{part.end:,}",
        )
    return table


def _report_table(reports: list[TopicReport]) -> Table:
    table = table_of(
        "topic", ">files", ">records", ">size", ">missing", ">problems", "first (UTC)", "last (UTC)"
    )
    for report in reports:
        table.add_row(
            report.topic,
            f"{report.files:,}",
            f"{report.records:,}",
            decimal(report.bytes),
            f"{report.missing:,}",
            f"{len(report.problems):,}",
            moment(report.first_at_ms),
            moment(report.last_at_ms),
        )
    return table
