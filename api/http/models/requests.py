"""Requests of the API, shared by server and client.

Definitions and updates of experiments are in `streams.experiments.definition` and `update`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from streams.experiments.holdouts import ALL, Covered, HoldoutKey, HoldoutShare
from streams.experiments.ignored_units import MAX_UNIT_ID
from streams.experiments.promotion_state import MAX_CONTROL_SHARE
from streams.experiments.served import Serve
from streams.model.errors import EventError, quoted
from streams.model.quantities import METRIC_NAME_PATTERN
from streams.model.validation import InputModel, JsonList, problem
from streams.model.voids import REASON_PATTERN, void_metric

MAX_ASSIGNMENTS = 1_000
"""Experiments times units of one call."""

MAX_ELIGIBLE = 1_024
"""Variants that a request can name: those of four experiments of the largest size."""

MAX_BATCHES = 256
"""Batches of impressions of one call."""

MAX_BATCH_CHARACTERS = 3 * 2**19
"""Characters of a batch in base64; the largest batch has fewer."""

TIME_LIMIT_MS = 1 << 48


UnitId = Annotated[str, StringConstraints(max_length=MAX_UNIT_ID)]
"""Id of a unit. An empty one is valid: it is ignored by most experiments and gets the control."""
ShortText = Annotated[str, StringConstraints(max_length=256)]


ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""Pattern of the id of an experiment, or of a key that stands for one."""

_looks_like_id = re.compile(ID_PATTERN).fullmatch


def _experiment_id(name: str) -> str:
    if _looks_like_id(name) is None:
        raise problem("INVALID_EXPERIMENT_ID", f"{quoted(name)} is not an experiment id")
    return name


ExperimentId = Annotated[
    str, AfterValidator(_experiment_id), Field(json_schema_extra={"pattern": ID_PATTERN})
]
"""An id, validated by its form before it is looked up or repeated in a message."""


def _reason(text: str) -> str:
    try:
        void_metric(text)
    except EventError as error:
        raise problem(error.code, error.message) from error
    return text


class AssignmentContext(InputModel):
    """The unit that asks for a variant, and its context.

    Attributes:
        user_id: The unit of experiments on users.
        session_id: The unit of experiments on sessions.
        fallback_unit_id: Another id of the same unit, such as the one before login. Both ids share
            the first receipt of either.
        timestamp: Time of the request, in milliseconds since the epoch; now unless given. At most
            five minutes ahead of the clock, and before the start of the experiment.
        device: Logged with the impression.
        location: Logged with the impression.
        features: Any JSON object; logged with the impression.
        eligible: Ids or names of the variants that this request can show, each once; all of them
            unless given. The variant is one of them.
    """

    user_id: UnitId | None = None
    session_id: UnitId | None = None
    fallback_unit_id: UnitId | None = None
    timestamp: int | None = Field(default=None, ge=0)
    device: ShortText | None = None
    location: ShortText | None = None
    features: dict[str, Any] | None = None
    eligible: Annotated[tuple[ShortText, ...] | None, JsonList(max_length=MAX_ELIGIBLE)] = None


class AssignmentsRequest(InputModel):
    """Several experiments for several units: every unit is assigned in every experiment.

    Attributes:
        experiment_ids: Experiments, each once.
        units: A context for each unit.
    """

    experiment_ids: Annotated[tuple[ExperimentId, ...], JsonList(min_length=1, max_length=256)]
    units: Annotated[
        tuple[AssignmentContext, ...],
        JsonList(min_length=1, max_length=MAX_ASSIGNMENTS),
    ]


class ConcludeRequest(InputModel):
    """The end of an experiment.

    Attributes:
        winner_variant_id: Id of the variant it is concluded with; none unless given.
        control_share: Share that the control keeps beside a winner until the experiment is
            archived, in [0, 0.5]; 0 for none. That of the experiment unless given.
        serve: What is served until the experiment is archived: `winner`, `control` or `none`. The
            winner unless given, or without one the control.
    """

    winner_variant_id: str | None = None
    control_share: float | None = Field(default=None, ge=0.0, le=MAX_CONTROL_SHARE)
    serve: Serve | None = Field(default=None, strict=False)


class HoldoutRequest(InputModel):
    """Holdout to start.

    Attributes:
        key: Its key, unique among holdouts and never reusable.
        share: Share of the units that are held out, 0.0001 to 0.5.
        unit: `user` or `session`: it covers experiments that randomise by it.
        experiments: Keys and ids of the experiments that it covers, or `*` alone for all, including
            future ones.
        primary_metric: Metric that decides its recommendation; all are compared. By default the
            most common one of the experiments that it covers now.
    """

    key: HoldoutKey
    share: HoldoutShare
    unit: Literal["user", "session"] = "user"
    experiments: Covered = (ALL,)
    primary_metric: Annotated[str, StringConstraints(pattern=METRIC_NAME_PATTERN)] | None = None


class ExposureRequest(InputModel):
    """The display of an assigned variant, for experiments whose `exposure` is `event`.

    Attributes:
        assignment_id: `id` of the assignment. Repeated exposures count once, from the earliest on.
        event_id: The sender's id of the event, for its own use.
        timestamp: Time of the exposure, in milliseconds since the epoch; now unless given.
    """

    assignment_id: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    event_id: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    timestamp: int | None = Field(default=None, ge=0, lt=TIME_LIMIT_MS)


class ObservationRequest(InputModel):
    """A metric value tied to an assignment, or to a unit by its user or session id.

    Attributes:
        assignment_id: `id` of the assignment; instead of a user or session.
        user_id: The user, whose assignment is looked up.
        session_id: The session, whose assignment is looked up.
        experiment: Id or key of the experiment that the user or session is observed in; all that
            run and declare the metric unless given.
        metric: Name of the metric.
        value: In units of the metric, within +-10**9.
        event_id: The sender's id of the event; repeated for the same assignment and metric, it
            counts once.
        timestamp: Time of the event, in milliseconds since the epoch; now unless given.
    """

    assignment_id: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    user_id: Annotated[str, StringConstraints(min_length=1, max_length=MAX_UNIT_ID)] | None = None
    session_id: Annotated[str, StringConstraints(min_length=1, max_length=MAX_UNIT_ID)] | None = (
        None
    )
    experiment: ExperimentId | None = None
    metric: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    value: float = Field(ge=-1e9, le=1e9)
    event_id: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    timestamp: int | None = Field(default=None, ge=0, lt=TIME_LIMIT_MS)

    @model_validator(mode="after")
    def _check_unit(self) -> Self:
        given = [self.assignment_id, self.user_id, self.session_id]
        if sum(each is not None for each in given) != 1:
            raise problem("AMBIGUOUS_UNIT", "must have one of assignmentId, userId and sessionId")
        if self.experiment is not None and self.assignment_id is not None:
            raise problem("UNKNOWN_FIELD", "an assignment id says the experiment")
        return self


class VoidRequest(InputModel):
    """An assignment to void.

    Attributes:
        assignment_id: `id` of the assignment.
        reason: Reason, such as `ivt`, `bot` or `deletion`: a lower-case letter and up to 31
            lower-case letters, digits, `_` or `-`.
    """

    assignment_id: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    reason: Annotated[
        str, AfterValidator(_reason), Field(json_schema_extra={"pattern": f"^{REASON_PATTERN}$"})
    ]


class ImpressionsRequest(InputModel):
    """Impressions of an in-process assigner.

    Attributes:
        batches: Records of the schema `impression_batch` in Avro's single-object encoding, sealed
            with a receipt key, in base64.
    """

    batches: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=MAX_BATCH_CHARACTERS)], ...],
        JsonList(min_length=1, max_length=MAX_BATCHES),
    ]
