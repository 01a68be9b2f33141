"""Query parameters of the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import ConfigDict, Field

from api.http.models.text_query import TextQuery
from streams.experiments.labels import MAX_OWNER
from streams.experiments.lifecycle import Status
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.experiments.summary import Health
from streams.experiments.thinning import MOST_POINTS
from streams.model.authors import MAX_DECLARED, MAX_REASON
from streams.model.stated_times import BoundTime

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
"""Experiments of a page."""

MAX_WAIT_S = 30.0
"""Longest wait for a change of the snapshots, in seconds."""

CURSOR_PATTERN = "^[A-Za-z0-9_-]{22,23}$"

MAX_SEARCH = 200
"""Characters of a text that is searched for."""

MAX_VERSION = (1 << 53) - 1
"""Largest version of an experiment: the largest integer that every reader of JSON reads exactly."""

MAX_LISTED = 1_000
"""Characters of a list of values."""


def _any_of(values: Iterable[str]) -> str:
    """Return the pattern of a list of values, separated by commas."""
    one = "|".join(values)
    return f"^({one})(,({one}))*$"


class ExperimentsQuery(TextQuery):
    """Query parameters of the list of experiments.

    Attributes:
        limit: Experiments of a page at most.
        cursor: `nextCursor` of the page before; None for the first page. Refused with a separate
            code, so its pattern is documented only.
        status, type, tag, action, health: Values, separated by commas, of which an experiment must
            have one; None for all.
        owner: Its owner; None for all.
        search: Text that its name, key, id, description, owner or a tag contains, ignoring case;
            None for all.
        sort: `newest` first, or those that need a decision first: `attention`.
    """

    limit: int = Field(
        default=DEFAULT_LIMIT,
        ge=1,
        le=MAX_LIMIT,
        description="Experiments of a page; it may have fewer.",
    )
    cursor: str | None = Field(
        default=None,
        description="`nextCursor` of the page before.",
        json_schema_extra={"pattern": CURSOR_PATTERN},
    )
    status: str | None = Field(
        default=None,
        description="Only experiments with this status; several are separated by commas.",
        json_schema_extra={"pattern": _any_of(Status)},
    )
    type: str | None = Field(
        default=None, description="Only experiments with this policy; several by commas."
    )
    owner: str | None = Field(
        default=None, max_length=MAX_OWNER, description="Only experiments of this owner."
    )
    tag: str | None = Field(
        default=None,
        max_length=MAX_LISTED,
        description="Only experiments with this tag; with one of several, separated by commas.",
    )
    search: str | None = Field(
        default=None,
        max_length=MAX_SEARCH,
        description="Only experiments whose name, key, id, description, owner or tag contains it.",
    )
    action: str | None = Field(
        default=None,
        description="Only experiments with this recommended action; several by commas.",
        json_schema_extra={"pattern": _any_of(RecommendedAction)},
    )
    health: str | None = Field(
        default=None,
        description="Only experiments whose statistics are `ok`, `warning` or `error`; several by "
        "commas.",
        json_schema_extra={"pattern": _any_of(Health)},
    )
    sort: Literal["newest", "attention"] = Field(
        default="newest",
        description="`newest` first, or what needs a decision first: `attention`.",
    )


class StatsQuery(TextQuery):
    """Query parameters of the statistics of an experiment.

    Attributes:
        at: `conclusion` for those as of the conclusion; None for the current ones.
        dimension: Name of a dimension of the experiment, to have its values; None without one.
    """

    at: Literal["conclusion"] | None = Field(
        default=None,
        description="`conclusion`: as of the conclusion; what came later is not in them.",
    )
    dimension: str | None = Field(
        default=None,
        description="Name of a dimension of the experiment: its values are in the answer.",
    )


class TimeseriesQuery(TextQuery):
    """Query parameters of the time series of an experiment.

    Attributes:
        metric: Name of a declared metric; None for the primary one.
        begin_ms: `from`, the time of the first point at the earliest.
        end_ms: `to`, the time before which the last point is; None for no end.
        points: Points at most.
    """

    metric: str | None = Field(
        default=None, description="Name of a declared metric; the primary one unless given."
    )
    begin_ms: BoundTime = Field(
        default=0,
        alias="from",
        description="Points from this time on, in milliseconds since the epoch.",
    )
    end_ms: BoundTime | None = Field(
        default=None,
        alias="to",
        description="Points before this time, which is after `from`.",
    )
    points: int = Field(
        default=MOST_POINTS,
        ge=2,
        le=MOST_POINTS,
        description="Points at most; the newest one comes on top.",
    )


class SnapshotsQuery(TextQuery):
    """Query parameters of the snapshots.

    Attributes:
        after: `position` of the answer before; empty for everything.
        wait: Longest wait for a change, in seconds.
    """

    after: str = Field(
        default="",
        max_length=64,
        description="`position` of the answer before; everything unless given.",
    )
    wait: float = Field(
        default=0.0,
        ge=0.0,
        le=MAX_WAIT_S,
        description="Seconds to wait for a change if nothing has changed yet.",
    )


HISTORY_CURSOR_PATTERN = "^[0-9a-f]{32}$"


class AuthorQuery(TextQuery):
    """Query parameters of calls that record who made them.

    Attributes:
        author: Name that the caller declares; its API key is also recorded. Empty without one.
    """

    author: str = Field(
        default="",
        description="Who makes the call, where several people share an API key: at most "
        f"{MAX_DECLARED} characters. Recorded behind the name of the key.",
    )


class CommandQuery(AuthorQuery):
    """Query parameters of every command.

    Attributes:
        reason: Reason, for the history; empty without one.
        dry_run: Whether it is a dry run.
    """

    model_config = ConfigDict(populate_by_name=True)

    reason: str = Field(
        default="", description=f"Why, for the history: at most {MAX_REASON} characters."
    )
    dry_run: Literal["true", "false"] = Field(
        default="false",
        alias="dryRun",
        description="`true`: everything is checked as for the command itself, the answer (200, "
        "`DryRun`) says what it would change, and nothing changes.",
    )


class ChangeQuery(CommandQuery):
    """Query parameters of every command to an experiment that exists.

    Attributes:
        expected_version: Version that the caller saw; None for whichever it has.
    """

    expected_version: int | None = Field(
        default=None,
        ge=1,
        le=MAX_VERSION,
        alias="expectedVersion",
        description="`version` of the experiment that the caller saw: if it has changed since, the "
        "command is refused (409 `VERSION_CONFLICT`).",
    )


class HistoryQuery(TextQuery):
    """Query parameters of the history of an experiment.

    Attributes:
        limit: Entries of a page at most.
        cursor: `nextCursor` of the page before; None for the first page.
        kind: Kinds of entries, separated by commas; None for all.
    """

    limit: int = Field(
        default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Entries of a page at most."
    )
    cursor: str | None = Field(
        default=None,
        pattern=HISTORY_CURSOR_PATTERN,
        description="`nextCursor` of the page before.",
    )
    kind: str | None = Field(
        default=None,
        description="Only entries of this kind, such as `conclude` or `recommendation`; several "
        "are separated by commas.",
    )
