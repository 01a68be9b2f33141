"""What the routes take, besides definitions and updates of experiments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from streams.experiments.ignored_units import MAX_UNIT_ID
from streams.experiments.lifecycle import Status
from streams.experiments.promotion_state import MAX_CONTROL_SHARE
from streams.model.errors import InputError, quoted
from streams.model.events import ALIASES
from streams.model.validation import InputModel, problem

MAX_CONTEXT_BYTES = 16_384
"""What may be logged about one request, as JSON."""

MAX_ASSIGNMENTS = 1_000
"""Experiments times units of one call."""

TIME_LIMIT_MS = 1 << 48

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
"""Experiments of a page."""

CURSOR_PATTERN = "^[A-Za-z0-9_-]{22}$"

_STATUS = "|".join(Status)

UnitId = Annotated[str, StringConstraints(max_length=MAX_UNIT_ID)]
"""An empty one is valid input: it is an ignored unit of most experiments, and gets the control."""
ShortText = Annotated[str, StringConstraints(max_length=256)]


ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""What could be the id of an experiment, or a key that stands for one."""

_looks_like_id = re.compile(ID_PATTERN).fullmatch


def _experiment_id(name: str) -> str:
    if _looks_like_id(name) is None:
        raise problem("INVALID_EXPERIMENT_ID", f"{quoted(name)} is not an experiment id")
    return name


ExperimentId = Annotated[
    str, AfterValidator(_experiment_id), Field(json_schema_extra={"pattern": ID_PATTERN})
]
"""An id by its form: what could not be one is refused before anything is looked up or repeated."""


class AssignmentContext(InputModel):
    """Who asks for a variant, and under which circumstances.

    Attributes:
        user_id: The unit of experiments on users.
        session_id: The unit of experiments on sessions.
        fallback_unit_id: Another id of the same unit, as the one it had before it logged in. The
            first receipt of either id is that of both.
        timestamp: Time of the request, in milliseconds since the epoch; now unless given. At most
            five minutes ahead of the clock, and before the start of the experiment.
        device: Logged with the impression.
        location: Logged with the impression.
        features: Any JSON object; logged with the impression.
    """

    user_id: UnitId | None = None
    session_id: UnitId | None = None
    fallback_unit_id: UnitId | None = None
    timestamp: int | None = Field(default=None, ge=0)
    device: ShortText | None = None
    location: ShortText | None = None
    features: dict[str, Any] | None = None

    def logged(self, aliases: Sequence[int] = ()) -> str:
        """Return what is logged of it: JSON, empty if there is nothing.

        The ids of user and session are not: the log knows a unit by its hash.

        Args:
            aliases: Unit hashes of other ids of the unit; its first receipts are rebuilt from them.

        Raises:
            InputError: it is too long (`OUT_OF_RANGE`) or nested too deeply (`TOO_DEEP`).
        """
        context: dict[str, Any] = {}
        if self.device:
            context["device"] = self.device
        if self.location:
            context["location"] = self.location
        if self.features:
            context["features"] = self.features
        if aliases:
            context[ALIASES] = [f"{alias:016x}" for alias in aliases]
        if not context:
            return ""
        try:
            text = orjson.dumps(context)
        except orjson.JSONEncodeError as error:
            raise InputError("TOO_DEEP", f"cannot be logged: {error}", "features") from error
        if len(text) > MAX_CONTEXT_BYTES:
            raise InputError(
                "OUT_OF_RANGE",
                f"the logged part has {len(text)} bytes, must be <= {MAX_CONTEXT_BYTES}",
                "features",
            )
        return text.decode()


class AssignmentsRequest(InputModel):
    """Several experiments for several units: every experiment is asked for every unit.

    Attributes:
        experiment_ids: Experiments, each once.
        units: A context for each unit.
    """

    experiment_ids: Annotated[
        tuple[ExperimentId, ...], Field(min_length=1, max_length=256, strict=False)
    ]
    units: Annotated[
        tuple[AssignmentContext, ...],
        Field(min_length=1, max_length=MAX_ASSIGNMENTS, strict=False),
    ]


class ConcludeRequest(InputModel):
    """How an experiment ends.

    Attributes:
        winner_variant_id: Id of the variant it is concluded with; none unless given.
        control_share: Share that the control keeps beside a winner until the experiment is
            archived, in [0, 0.5]; 0 for none. That of the experiment unless given.
    """

    winner_variant_id: str | None = None
    control_share: float | None = Field(default=None, ge=0.0, le=MAX_CONTROL_SHARE)


class ObservationRequest(InputModel):
    """A metric value tied to an assignment.

    Attributes:
        assignment_id: `id` of the assignment.
        metric: Name of the metric.
        value: In units of the metric, within +-10**9.
        event_id: The sender's name of the event; the same one for the same assignment and metric
            counts once.
        timestamp: Time of the event, in milliseconds since the epoch; now unless given.
    """

    assignment_id: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    metric: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    value: float = Field(ge=-1e9, le=1e9)
    event_id: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    timestamp: int | None = Field(default=None, ge=0, lt=TIME_LIMIT_MS)


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
