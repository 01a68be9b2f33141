"""Lists that a command posts to the API: from arguments, a file or standard input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from experiment_streams_client import Accepted, ApiError, ExperimentClient
from experiment_streams_client.calls.base import Call
from streams.cli import terminal
from streams.cli.input_files import lines_of
from streams.cli.progress import counting
from streams.model.errors import EventError, InputError
from streams.ops.unit_observations import POSTED_TOGETHER, RefusedObservation, decoded

ASSIGNMENT_ID = "assignmentId"

_JSON_BEGINS = (b"{", b"[", b'"')
"""Beginnings of a line of JSON; an assignment id has none of them."""

_REFUSALS = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""Answers that are about what was sent. 404 is one if the API itself says so: else its address is
wrong."""

AssignmentIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="ASSIGNMENT_ID", help="Ids of assignments.", show_default=False),
]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a list that is posted.

    Attributes:
        place: Name of it for people and programs: `{"line": 3}`, `{"assignmentId": …}`.
        fields: Its JSON.
    """

    place: Mapping[str, Any]
    fields: Any


def members_of_file(file: Path, fields: Mapping[str, Any] | None = None) -> Iterator[Member]:
    """Yield the members that the lines of a file are, as they come; `-` is standard input.

    Args:
        file: Each line is JSON; with `fields`, also the bare id of an assignment.
        fields: Fields of a member that has none of these names.

    Raises:
        InputError: as `lines_of`.
    """
    for number, line in enumerate(lines_of(file), start=1):
        if text := line.strip():
            yield Member({"line": number}, _fields_of(text, fields))


def members_of_assignments(
    ids: Sequence[str] | None, file: Path | None, fields: Mapping[str, Any]
) -> Iterable[Member]:
    """Return the members that assignment ids, as arguments or as lines of a file, stand for.

    Args:
        ids: The arguments.
        file: The file; `-` for standard input.
        fields: Further fields of each.

    Raises:
        InputError: neither ids nor a file are given; while they are read, as `lines_of`.
    """
    if not ids and file is None:
        raise InputError("MISSING_FIELD", "give assignment ids, or a file with --file", "--file")
    members = [Member({ASSIGNMENT_ID: each}, {ASSIGNMENT_ID: each, **fields}) for each in ids or ()]
    return members if file is None else chain(members, members_of_file(file, fields))


def post_members(
    client: ExperimentClient,
    path: str,
    members: Iterable[Member],
    *,
    as_json: bool,
) -> None:
    """Post members with a progress bar, print those that are refused, and then the numbers of both.

    Args:
        client: The API.
        path: Call that takes a list.
        members: What is posted, in this order.
        as_json: Print a JSON object for each that is refused, and one at the end.

    Raises:
        ApiError: some may not have been taken, for a reason that has nothing to do with them. How
            many were taken before is printed first.
        InputError: the members after some cannot be read; likewise.
        Exit: with the code 1, some were refused.
    """
    n_refused = 0
    done = 0
    place: Mapping[str, Any] = {}
    try:
        with counting(path.rpartition("/")[2]) as advance:
            for some in _posted_together(members):
                place = some[0].place
                for each in post_with(client, path, [member.fields for member in some]):
                    n_refused += 1
                    _print_refused(some[each.index].place, each, as_json=as_json)
                done += len(some)
                place = {}
                advance(len(some))
    except (ApiError, InputError):
        if done:
            before = f" before {_named(place)}" if place else ""
            terminal.echo(f"{done - n_refused} taken, {n_refused} refused{before}", err=True)
        raise
    if as_json:
        terminal.print_json({"accepted": done - n_refused, "rejectedCount": n_refused})
    else:
        terminal.echo(f"{done - n_refused:,} taken, {n_refused:,} refused")
    if n_refused:
        raise typer.Exit(1)


def _posted_together(members: Iterable[Member]) -> Iterator[list[Member]]:
    """Yield the members of each call; those before one that cannot be read, too."""
    some: list[Member] = []
    try:
        for each in members:
            some.append(each)
            if len(some) == POSTED_TOGETHER:
                yield some
                some = []
    except InputError:
        if some:
            yield some
        raise
    if some:
        yield some


def post_with(
    client: ExperimentClient, path: str, fields: Sequence[Mapping[str, Any]]
) -> list[RefusedObservation]:
    """Post members of a list, and return which were refused.

    Raises:
        ApiError: some may not have been taken, for a reason that has nothing to do with them.
    """
    try:
        taken = client.send(Call("POST", path, Accepted.model_validate, [*fields]))
    except ApiError as error:
        if error.status not in _REFUSALS and error.code != "EXPERIMENT_NOT_FOUND":
            raise
        if len(fields) == 1:
            return [
                RefusedObservation(0, error.code, error.path.removeprefix("[0]."), error.message)
            ]
        half = len(fields) // 2  # the answer names the first alone, or none
        first, second = (post_with(client, path, part) for part in (fields[:half], fields[half:]))
        return first + [
            RefusedObservation(half + each.index, each.code, each.path, each.message)
            for each in second
        ]
    return [
        RefusedObservation(
            each.index, each.code, each.path.removeprefix(f"[{each.index}]."), each.message
        )
        for each in taken.rejected
    ]


def _fields_of(line: bytes, fields: Mapping[str, Any] | None) -> Any:
    if fields is None or line.startswith(_JSON_BEGINS):
        try:
            found = decoded(line)
        except EventError:
            return None  # which the API refuses
    else:
        found = line.decode(errors="replace")
    if fields is None:
        return found
    if isinstance(found, str):
        return {ASSIGNMENT_ID: found, **fields}
    return {**fields, **found} if isinstance(found, dict) else found


def _print_refused(place: Mapping[str, Any], refused: RefusedObservation, *, as_json: bool) -> None:
    if as_json:
        described = {"code": refused.code, "path": refused.path, "message": refused.message}
        terminal.print_json({**place, **described})
        return
    named = _named(place)
    at = f" at {refused.path}" if refused.path else ""
    terminal.echo(f"{named}: {refused.code}{at}: {refused.message}")


def _named(place: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {value}" for name, value in place.items())
