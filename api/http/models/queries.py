"""Query parameters of the API."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from streams.experiments.lifecycle import Status

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
"""Experiments of a page."""

MAX_WAIT_S = 30.0
"""Longest wait for a change of the snapshots, in seconds."""

CURSOR_PATTERN = "^[A-Za-z0-9_-]{22}$"

_STATUS = "|".join(Status)


class ExperimentsQuery(BaseModel):
    """Query parameters of the list of experiments.

    Attributes:
        limit: Experiments of a page at most.
        cursor: `nextCursor` of the page before; None for the first page. Refused with a code of its
            own, so its pattern is documented only.
        status: Statuses, separated by commas; None for all.
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
        json_schema_extra={"pattern": f"^({_STATUS})(,({_STATUS}))*$"},
    )


class StatsQuery(BaseModel):
    """Query parameters of the statistics of an experiment.

    Attributes:
        at: `conclusion` for those as of the conclusion; None for those of now.
        dimension: Name of a dimension of the experiment, to have its values; None for none.
    """

    at: Literal["conclusion"] | None = Field(
        default=None,
        description="`conclusion`: as of the conclusion; what came later is not in them.",
    )
    dimension: str | None = Field(
        default=None,
        description="Name of a dimension of the experiment: its values are in the answer.",
    )


class SnapshotsQuery(BaseModel):
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
        description="Seconds to wait for a change where there is none.",
    )
