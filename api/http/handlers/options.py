"""Options of every command: author, reason and idempotency key."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import orjson
from fastapi import Depends, Header, Query

from api.http.dependencies import CallerDep
from api.http.models.idempotency import KEY_HEADER, checked_key
from api.http.models.queries import AuthorQuery, ChangeQuery, CommandQuery
from api.services.control import IdempotencyKey
from streams.model.authors import MAX_DECLARED, MAX_REASON, Origin, author_of, checked
from streams.model.text import LAYOUT

KeyHeader = Annotated[
    str | None,
    Header(
        alias=KEY_HEADER,
        description="The same key of the same caller, for the same command and body, gives the "
        "first answer again; with another body it is refused (`IDEMPOTENCY_KEY_REUSED`).",
    ),
]


class CommandOptions(NamedTuple):
    """Options of a command.

    Attributes:
        caller: Name of the API key; empty without keys.
        origin: Author and reason.
        key: Text of its idempotency key; None without one.
        is_dry_run: Whether it is a dry run.
        expected_version: Version of the experiment that the caller saw; None for whichever it has.
    """

    caller: str
    origin: Origin
    key: str | None
    is_dry_run: bool = False
    expected_version: int | None = None

    def idempotency(self, body: dict[str, Any]) -> IdempotencyKey | None:
        """Return the idempotency key of a command with this body, if it has one."""
        if self.key is None:
            return None
        if self.expected_version is not None:
            body = {**body, "expectedVersion": self.expected_version}
        return IdempotencyKey(
            self.key, self.caller, orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        )


def _options(
    caller: CallerDep, query: Annotated[CommandQuery, Query()], key: KeyHeader = None
) -> CommandOptions:
    """Return the options of a command.

    Raises:
        InputError: author or reason are as `checked` refuses them; the key is as `checked_key`
            refuses it.
    """
    reason = checked(query.reason, MAX_REASON, "query.reason", LAYOUT)
    origin = Origin(_author(caller, query), reason)
    return CommandOptions(caller, origin, checked_key(key), query.dry_run == "true")


def _change_options(
    caller: CallerDep, query: Annotated[ChangeQuery, Query()], key: KeyHeader = None
) -> CommandOptions:
    """Return the options of a command to an experiment that exists.

    Raises:
        InputError: as `_options`.
    """
    return _options(caller, query, key)._replace(expected_version=query.expected_version)


def _creation_options(
    caller: CallerDep, query: Annotated[AuthorQuery, Query()], key: KeyHeader = None
) -> CommandOptions:
    """Return the options of a creation without history and dry run.

    Raises:
        InputError: as `_options`.
    """
    return CommandOptions(caller, Origin(_author(caller, query), ""), checked_key(key))


def _author(caller: str, query: AuthorQuery) -> str:
    return author_of(caller, checked(query.author, MAX_DECLARED, "query.author"))


OptionsDep = Annotated[CommandOptions, Depends(_options)]
ChangeOptionsDep = Annotated[CommandOptions, Depends(_change_options)]
CreationOptionsDep = Annotated[CommandOptions, Depends(_creation_options)]
