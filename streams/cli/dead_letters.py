"""`experiment dead-letters list | show | resend`."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from streams.cli import terminal
from streams.cli.failures import EXIT_FAILED
from streams.cli.tables import moment, table_of
from streams.cli.terminal import API_DEFAULT, Api, AsJson
from streams.model.errors import MESSAGE_CHARACTERS, InputError, counted, one_line, quoted
from streams.model.events import DeadLetter
from streams.ops.dead_letters.again import letters_of, prepared
from streams.ops.dead_letters.content import readable
from streams.ops.dead_letters.listing import SHOWN_RANGES, letter_json
from streams.ops.dead_letters.originals import Original, originals_of
from streams.ops.dead_letters.place import EventPlace
from streams.ops.dead_letters.reading import FoundLetter, Selection, find_letters
from streams.ops.dead_letters.sending import send_again

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PERIOD = re.compile(r"(\d{1,9})([smhd])").fullmatch

Code = Annotated[str | None, typer.Option(help="Only letters with this code.")]


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = terminal.group(app, "dead-letters", "Events that could not be used.")
    group.command("list")(list_all)
    group.command()(show)
    group.command()(resend)


def list_all(
    code: Code = None,
    topic: Annotated[str | None, typer.Option(help="Only letters of this topic.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only letters of the last 90s, 15m, 2h or 7d.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of letters to show.")] = 50,
    by_code: Annotated[bool, typer.Option("--by-code", help="Show numbers by code.")] = False,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
) -> None:
    """List dead letters, newest first. With --json, one object per line."""
    settings = terminal.settings_of(api)
    since_ms = None if since is None else now_ms() - 1000 * seconds(since)
    found = find_letters(settings, Selection(code, topic, since_ms))
    if by_code:
        counts: Counter[str] = Counter()
        for each in found:
            counts[each.letter.code] += each.letter.count
        _print_counts(counts, as_json)
    elif as_json:
        for each in found[:limit]:
            terminal.print_json(letter_json(each))
    elif not found:
        terminal.err.print("There are no dead letters.")
    else:
        terminal.out.print(letters_table(found[:limit]))
        if len(found) > limit:
            terminal.err.print(f"{len(found) - limit:,} more; --limit shows more of them.")


def show(
    place: Annotated[str, typer.Argument(metavar="PLACE", help="topic:partition:offset[:index]")],
    raw: Annotated[
        Path | None, typer.Option(help="Write the bytes of the record to this file.")
    ] = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
) -> None:
    """Show a dead letter with the record it was read from."""
    settings = terminal.settings_of(api)
    [found] = letters_of(settings, [EventPlace.parse(place)])
    original = originals_of(settings, [found])[found.place]
    if raw is not None:
        _write(raw, original)
    if as_json:
        terminal.print_json(letter_json(found) | _bytes_of(found.letter, original))
        return
    terminal.out.print(letter_view(found))
    if isinstance(original, InputError):
        terminal.out.print(Text(original.message, "dim"))
    else:
        # Nothing of a record is markup, and its lines are copied whole.
        terminal.out.print(Text(readable(original.value)), soft_wrap=True)


def resend(
    places: Annotated[
        list[str] | None, typer.Argument(metavar="PLACE...", help="topic:partition:offset[:index]")
    ] = None,
    code: Annotated[str | None, typer.Option(help="All letters with this code.")] = None,
    topic: Annotated[
        str | None,
        typer.Option(help="With --code: only letters of this topic, which may be one of others."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
) -> None:
    """Send the records of dead letters again, to the topic and partition they were read from.

    Of a batch that was partly counted only the refused observations are sent. The record of a
    letter that holds a part of it is read from its topic. To a topic that is not of the
    installation, as `experiment observe` reads one, records are sent only if a place or --topic
    names it. The exit code is 1 if an event cannot be sent again; the others are sent.
    """
    if bool(places) == (code is not None):
        raise InputError("MISSING_FIELD", "name either places or a --code", "PLACE")
    if topic is not None and code is None:
        message = "--topic goes with --code; a place has its topic"
        raise InputError("CONFLICTING_OPTIONS", message, "--topic")
    settings = terminal.settings_of(api)
    if places:
        asked = [EventPlace.parse(place) for place in places]
        found, named = letters_of(settings, asked), {place.topic for place in asked}
    else:
        found = find_letters(settings, Selection(code=code, topic=topic))
        named = set() if topic is None else {topic}
        if found and not yes:
            events = sum(each.letter.count for each in found)
            typer.confirm(f"Send {counted(events, 'event')} again?", abort=True, err=True)
    resends, refused = asyncio.run(prepared(settings, found, named))
    for error in refused:
        terminal.echo(f"experiment: {error}", err=True)
    send_again(settings, resends)
    if as_json:
        for each in resends:
            terminal.print_json({"place": str(each.place), "bytes": len(each.value)})
    else:
        terminal.err.print(f"{len(resends):,} sent again, {len(refused):,} refused")
    if refused:
        raise typer.Exit(EXIT_FAILED)


def seconds(period: str) -> int:
    """Return the seconds of a period like 90s, 15m, 2h or 7d.

    Raises:
        InputError: it is not a valid period (`INVALID_PERIOD`).

    >>> seconds("2h")
    7200
    """
    found = _PERIOD(period)
    if found is None:
        raise InputError(
            "INVALID_PERIOD", f"{quoted(period)} is no period like 15m, 2h or 7d", "--since"
        )
    return int(found[1]) * _SECONDS[found[2]]


def now_ms() -> int:
    """Return the time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


_LEAST_MESSAGE = 24


def letters_table(found: list[FoundLetter]) -> Table:
    """Return one line a letter."""
    table = table_of("written", "place", "code", ">events")
    # Shortened to the width that is left, if that says something: `show` prints all of it.
    table.add_column(
        "message", no_wrap=True, overflow="ellipsis", ratio=1, min_width=_LEAST_MESSAGE
    )
    table.expand = True
    for each in found:
        table.add_row(
            moment(each.written_at_ms),
            Text(shown(str(each.place))),
            Text(shown(each.letter.code), "yellow"),
            f"{each.letter.count:,}",
            Text(shown(each.letter.message)),
        )
    return table


def letter_view(found: FoundLetter) -> Table:
    """Return everything about a letter but the bytes of its record."""
    letter = found.letter
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in (
        ("place", str(found.place)),
        ("code", letter.code),
        ("events", _events(letter)),
        ("message", letter.message),
        ("path", letter.path),
        ("written", moment(found.written_at_ms)),
        ("record of", moment(letter.timestamp_ms) if letter.timestamp_ms >= 0 else ""),
        ("key", "" if letter.key is None else readable(letter.key)),
    ):
        table.add_row(Text(name, "dim"), Text(shown(value)))
    return table


def shown(text: str) -> str:
    """Return a text of an untrusted record on one line, without control characters."""
    return one_line(text, MESSAGE_CHARACTERS)


def _bytes_of(letter: DeadLetter, original: Original | InputError) -> dict[str, Any]:
    if isinstance(original, InputError):
        return {"key": _hex(letter.key), "value": None, "missing": original.code}
    return {"key": _hex(original.key), "value": _hex(original.value), "missing": None}


def _events(letter: DeadLetter) -> str:
    ranges = [
        f"{first}" if first == last else f"{first}-{last}"
        for first, last in letter.ranges[:SHOWN_RANGES]
    ]
    if len(letter.ranges) > SHOWN_RANGES:
        ranges.append("…")
    return f"{letter.count:,}" + (f" at {', '.join(ranges)}" if ranges else "")


def _print_counts(counts: Counter[str], as_json: bool) -> None:
    if as_json:
        for code, count in counts.most_common():
            terminal.print_json({"code": code, "count": count})
        return
    table = table_of("code", ">events")
    for code, count in counts.most_common():
        table.add_row(Text(code, "yellow"), f"{count:,}")
    terminal.out.print(table)


def _write(file: Path, original: Original | InputError) -> None:
    if isinstance(original, InputError):
        raise InputError("NOTHING_TO_WRITE", original.message, original.path)
    try:
        file.write_bytes(original.value)
    except OSError as error:
        raise InputError("UNWRITABLE_FILE", str(error), str(file)) from error


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()
