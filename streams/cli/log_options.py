"""Options of the commands that read the log, and how their values are written."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from streams.kafka.records import LogSource
from streams.kafka.source import KafkaSource
from streams.model.errors import InputError, quoted
from streams.model.number_texts import decimal_number
from streams.model.stated_times import check_bound
from streams.ops.archive.joined import JoinedSource
from streams.ops.archive.source import ArchiveSource
from streams.settings import Settings

CORES = os.cpu_count() or 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS = re.compile(r"-?[0-9]{1,19}").fullmatch

Archive = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Directory of `experiment archive`, for records that Kafka no longer has.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Leave out later records: ISO 8601 or milliseconds since 1970."
    ),
]
Periods = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Weights of units by time, beside the declared ones, or none: half_life=86400. "
        "Repeatable.",
    ),
]
PolicyParameters = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Parameter of the policy, as name=value. Repeatable."),
]
Processes = Annotated[
    int,
    typer.Option(
        min=1, max=1024, show_default="one for each core", help="Partitions folded at a time."
    ),
]


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
    match [decimal_number(each) for each in text.split(",")]:
        case [float(alpha), float(beta)]:
            return alpha, beta
        case _:
            raise InputError("WRONG_TYPE", f"{quoted(text)} is not two numbers A,B", "--prior")


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
        bound = None if value == "none" else decimal_number(value)
        if bound is None and value != "none":
            message = f"{quoted(text)} is not METRIC=VALUE or METRIC=none"
            raise InputError("WRONG_TYPE", message, option)
        found[name] = bound
    return found


def until_of(text: str | None, option: str = "--until") -> int | None:
    """Return a time as milliseconds since the epoch; one without a zone is UTC.

    Args:
        text: ISO 8601, or milliseconds; None without one.
        option: Option that it is the value of.

    Raises:
        InputError: it is not a time (`WRONG_TYPE`), or one in another unit (`OUT_OF_RANGE`).

    Examples:
        >>> until_of("2025-11-24T16:00:00"), until_of("1764000000000")
        (1764000000000, 1764000000000)
    """
    if text is None:
        return None
    if _MILLISECONDS(text):
        return check_bound(int(text), option)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{quoted(text)} is neither ISO 8601 nor milliseconds"
        raise InputError("WRONG_TYPE", message, option) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return check_bound((moment - _EPOCH) // timedelta(milliseconds=1), option)
