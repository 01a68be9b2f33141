"""Responses of the API, shared by server and client.

The statistics of an experiment are a separate response: `Stats`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ResponseModel(BaseModel):
    """Base of all responses: snake_case in Python, camelCase in JSON.

    Fields that a newer API adds are ignored, so an older client continues working.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    def to_json(self) -> bytes:
        """Return the JSON of the response."""
        return self.model_dump_json(by_alias=True).encode()


class ErrorDetails(ResponseModel):
    """An error: a stable code, a sentence, and the field at fault.

    Attributes:
        code: Stable code.
        message: One sentence for a person.
        path: Field at fault, as in `units[0].userId`; empty without one.
    """

    code: str
    message: str
    path: str


class ErrorResponse(ResponseModel):
    """The body of every error."""

    error: ErrorDetails


class Variant(ResponseModel):
    """A variant of an experiment, as its author wrote it.

    Attributes:
        is_active: Whether units are assigned to it; False of one that is stopped.
    """

    id: str
    name: str
    is_control: bool
    is_active: bool = True
    weight: float | None = None
    config: dict[str, Any]


class Promotion(ResponseModel):
    """Assignment after the conclusion of an experiment, until it is archived.

    Attributes:
        variant_id: Variant it was concluded with.
        control_share: Share that the control keeps beside it, in (0, 0.5].
        is_automatic: Whether it was promoted automatically.
        rolled_back_at: When the winner was rolled back, in milliseconds since the epoch; None while
            it is promoted. Since then all units get the control.
    """

    variant_id: str
    control_share: float
    is_automatic: bool
    rolled_back_at: int | None = None


class Served(ResponseModel):
    """Variant that a concluded experiment serves to all units, until it is archived.

    Attributes:
        variant_id: The variant.
        since: Time of the conclusion or roll-back, in milliseconds since the epoch.
    """

    variant_id: str
    since: int


class ScheduleEvent(ResponseModel):
    """An executed event of a schedule.

    Attributes:
        action: `start`, `ramp`, `hold` or `end`.
        due_at, at: When it was due and when it was done, in milliseconds since the epoch; the
            second is later where no worker ran.
        late_ms: The difference.
        traffic_allocation: Share of the units since a step of the ramp; None of others.
        because: Finding that holds the ramp, `guardrail` or `sampleRatio`; None of others.
    """

    action: str
    due_at: int
    at: int
    late_ms: int
    traffic_allocation: float | None = None
    because: str | None = None


class Schedule(ResponseModel):
    """State of a schedule.

    Attributes:
        events: Executed events, oldest first.
        is_held: Whether its ramp is held: no further step is taken.
        next_at: Time of the next event, in milliseconds since the epoch; None if none is left.
    """

    events: tuple[ScheduleEvent, ...]
    is_held: bool
    next_at: int | None = None


class Experiment(ResponseModel):
    """An experiment and its lifecycle.

    Attributes:
        key: Name for programs, accepted wherever its id is; None without one.
        status: `draft`, `running`, `paused`, `concluded` or `archived`.
        version: Number of commands applied.
        config: The configuration, complete, with its JSON names.
        created_at, started_at, concluded_at: Milliseconds since the epoch; None if not yet.
        winner_variant_id: Variant it was concluded with; the control after a roll-back.
        promotion: Assignment after the conclusion; None without one.
        served: Variant served to all units without assigning; None without one.
        schedule: State of its schedule; None without one.
    """

    id: str
    key: str | None = None
    status: str
    version: int
    config: dict[str, Any]
    variants: tuple[Variant, ...]
    created_at: int
    started_at: int | None = None
    concluded_at: int | None = None
    winner_variant_id: str | None = None
    promotion: Promotion | None = None
    served: Served | None = None
    schedule: Schedule | None = None

    @property
    def name(self) -> str:
        """Display name."""
        return str(self.config["name"])


class Holdout(ResponseModel):
    """A holdout.

    Attributes:
        key: Its key.
        status: `running`, `ended` or `archived`.
        share: Share of the units that are held out.
        unit: Held-out unit: `user` or `session`.
        experiments: Keys and ids of the experiments that it covers, or `*`.
        primary_metric: Metric that decides its recommendation.
        experiment_id: Id of its experiment, in the log and in reports.
        created_at: When it began, in milliseconds since the epoch.
        ended_at: When it ended; null before.
    """

    key: str
    status: str
    share: float
    unit: str
    experiments: tuple[str, ...]
    primary_metric: str
    experiment_id: str
    created_at: int
    ended_at: int | None = None


class Holdouts(ResponseModel):
    """All holdouts.

    Attributes:
        holdouts: The newest first.
    """

    holdouts: tuple[Holdout, ...]


class Assignment(ResponseModel):
    """The variant chosen for one request.

    Attributes:
        id: The receipt that observations name; None for a unit that is not enrolled.
        config: Configuration of the variant.
        enrolled: Whether the unit takes part. One that does not gets the control's configuration,
            and nothing is logged.
        reason: Stable code of the reason for this variant.
        propensity: Probability the variant had, in (0, 1]; None for a unit that is not enrolled.
    """

    id: str | None
    experiment_id: str
    variant_id: str
    variant_name: str
    config: dict[str, Any]
    enrolled: bool
    reason: str
    propensity: float | None


class AssignmentsPage(ResponseModel):
    """A row for each unit, with an assignment or an error for each experiment."""

    assignments: tuple[tuple[Assignment | ErrorResponse, ...], ...]


class Rejected(ErrorDetails):
    """An observation that was refused while others of its list were accepted.

    Attributes:
        index: Its position in the list, from 0; `path` begins with it, as in `[3].value`.
    """

    index: int


class Accepted(ResponseModel):
    """Number of accepted observations.

    Attributes:
        accepted: Accepted observations.
        rejected: The first hundred refused ones; empty if all were accepted.
        rejected_count: Number of refused ones.
    """

    accepted: int
    rejected: tuple[Rejected, ...] = ()
    rejected_count: int = 0


class Snapshots(ResponseModel):
    """Snapshots for an in-process assigner.

    Attributes:
        format: Format of `states`; a reader that does not know it must not use them.
        position: Place in the order of changes, for `after` of the next call.
        keys: A tag of the position by each receipt key, which lets a reader verify that it has the
            same key.
        is_whole: Whether `states` is complete: all other experiments are gone.
        partitions: Partitions of the topic of impressions.
        asked_for: Ids of experiments whose users and sessions must be looked up at the API, since
            some have two ids or a variant from an eligible set.
        gone: Ids of experiments that neither assign nor serve a variant any more.
        states: Experiments that assign or serve a variant.
    """

    format: int
    position: str
    keys: tuple[str, ...] = ()
    is_whole: bool
    partitions: int
    asked_for: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    states: tuple[dict[str, Any], ...] = ()


class Health(ResponseModel):
    """The API is alive."""

    status: str


class Caller(ResponseModel):
    """The caller of a request.

    Attributes:
        name: Name of its API key; empty if the API requires none.
        scopes: Its rights, in alphabetical order.
        needs_key: Whether the API requires keys.
    """

    name: str
    scopes: tuple[str, ...]
    needs_key: bool


class Readiness(ResponseModel):
    """Readiness of the API to assign.

    Attributes:
        missing: Names of missing requirements of assignment; empty when it is ready.
        degraded: Names of unavailable dependencies that it works without for now.
    """

    ready: bool
    missing: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
