"""Events of the log, as frozen values.

Numbers are integers already (`quantities`): values in micro-units, propensities as numerators
over 2**32, times in milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from streams.model.authors import UNKNOWN_ORIGIN, Origin
from streams.model.errors import EventError
from streams.model.quantities import MICRO

EXPOSURE = "$exposure"
"""Reserved metric of `observations`: the variant of an assignment was shown."""

EXPOSED = MICRO
"""Value of every exposure, in micro-units."""

ALIASES = "aliases"
"""Member of an impression's context: unit hashes of other ids of its unit, 16 hex digits each."""


@dataclass(frozen=True, slots=True)
class ImpressionGroup:
    """Impressions of one experiment in a batch, as columns of equal length.

    Attributes:
        experiment: The experiment as a 64-bit number.
        repeatable: Whether an assignment may be logged again, since its unit may come again (unit
            `user` or `session`); then it counts once. False: every impression is a unit.
        variants: Index of the assigned variant.
        propensities: Probability the variant had, numerator over 2**32, in 1..2**32.
        allocation_versions: Version of the allocation that decided.
        assigned_at_ms: Time of the assignment.
        units: 64-bit unit hash, unsigned.
        contexts: JSON of the request's attributes from the caller, and other ids of the unit
            (`ALIASES`); as long as the other columns, or empty when no impression has one.
        features: Features of the request that a contextual policy used, packed as in the receipt
            (see `streams.model.vectors`), empty where nothing was known; as long as the other
            columns, or empty when no impression of the group has any.
        weights: Weights of all variants at the assignment, packed as in the receipt (see
            `streams.model.variant_weights`), empty where the receipt has none; as long as the other
            columns, or empty when no impression of the group has any.
        dimensions: Values of the unit in the dimensions of the experiment, as in the receipt (see
            `streams.model.dimensions`); as long as the other columns, or empty when no impression
            of the group has any.
    """

    experiment: int
    repeatable: bool
    variants: tuple[int, ...] | list[int]
    propensities: tuple[int, ...] | list[int]
    allocation_versions: tuple[int, ...] | list[int]
    assigned_at_ms: tuple[int, ...] | list[int]
    units: tuple[int, ...] | list[int]
    contexts: tuple[str, ...] | list[str] = ()
    features: tuple[bytes, ...] | list[bytes] = ()
    weights: tuple[bytes, ...] | list[bytes] = ()
    dimensions: tuple[bytes, ...] | list[bytes] = ()


class OutsideRequests(NamedTuple):
    """Requests of which no impression is logged, as they did not take part in an experiment.

    Attributes:
        experiment: The experiment as a 64-bit number.
        reason: Why, a stable code such as `INVALID_UNIT`: 1 to 40 capital letters and `_`.
        requests: How many, > 0.
    """

    experiment: int
    reason: str
    requests: int


@dataclass(frozen=True, slots=True)
class ImpressionBatch:
    """Impressions that one process logged in one record.

    Attributes:
        incarnation: 64-bit number drawn by the sending process at its start, unsigned.
        partition: Partition the sender chose; sequences count per (incarnation, partition).
        sequence: Number of the batch, from 0, without gaps. A sequence seen before is a duplicate.
        outside: Requests of which there are no impressions.
    """

    incarnation: int
    partition: int
    sequence: int
    groups: tuple[ImpressionGroup, ...] | list[ImpressionGroup]
    outside: tuple[OutsideRequests, ...] | list[OutsideRequests] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """A metric value tied to an assignment.

    Attributes:
        assignment_id: The receipt, as text; not verified yet.
        metric: Name of the metric, 1 to 64 characters.
        value: Micro-units.
        event_id: The sender's name of the event; the same one for the same assignment and metric
            counts once. None when the sender gave none.
        observed_at_ms: Time of the event; None when the sender gave none, and then the time of the
            Kafka record holds.
    """

    assignment_id: str
    metric: str
    value: int
    event_id: str | None = None
    observed_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class UnitObservation:
    """A metric value of a unit whose assignment is not named.

    Attributes:
        experiment: Id or key of the experiment; None for all that have the metric.
        unit_id: Id of the unit.
        is_session: Whether that is of a session, and not of a user.
        observation: The rest; its assignment is not known yet.
    """

    experiment: str | None
    unit_id: str
    is_session: bool
    observation: Observation


@dataclass(frozen=True, slots=True)
class ObservationBatch:
    """Observations of one record.

    Attributes:
        observations: In the order of the record: an observation, or the error for which it is not
            used.
        incarnation: As in `ImpressionBatch`; None when the sender keeps no sequence.
        sequence: As in `ImpressionBatch`; None when the sender keeps no sequence.
    """

    observations: tuple[Observation | EventError, ...] | list[Observation | EventError]
    incarnation: int | None = None
    sequence: int | None = None


class CommandKind(StrEnum):
    """Kind of a command."""

    CREATE = "create"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    UPDATE = "update"
    CONCLUDE = "conclude"
    ROLLBACK = "rollback"
    ARCHIVE = "archive"
    TICK = "tick"
    """Nothing but its time: an experiment without events matures by it. Of the worker alone."""
    SCHEDULE = "schedule"
    """The time has come for what is scheduled. Of the worker alone."""
    EDIT = "edit"
    """Another definition of a draft."""
    ADD_VARIANT = "add_variant"
    CHANGE_VARIANT = "change_variant"
    """Another name or configuration of a variant, or its stop or reactivation."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request to change an experiment, in the log.

    Attributes:
        command_id: 32 hex digits; a repeated id gets the first answer and changes nothing.
        experiment: The experiment as a 64-bit number.
        kind: The kind of the command.
        issued_at_ms: Time at which the API took it; the core knows no other clock.
        payload: JSON-like arguments: of `create` {"config", "variants"}, of `update` the changed
            fields, of `conclude` {"winnerVariantId"?, "controlShare"?, "serve"?,
            "isPromotion"?, "because"?}, of `rollback` {"because"?}, of `schedule`
            {"receiptKey"?, "hold"?}, of `edit` {"config", "variants", "version"?}, of `add_variant`
            {"name", "weight"?, "config"?}, of `change_variant` {"variant", "name"?, "config"?,
            "isActive"?}; else empty.
        origin: Who gave it, and why.
        expected_version: Version of the experiment that its author saw; it is refused if the
            experiment has changed since. None for whichever it has.
    """

    command_id: str
    experiment: int
    kind: CommandKind
    issued_at_ms: int
    payload: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin = UNKNOWN_ORIGIN
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The worker's answer to a command.

    Attributes:
        command_id: The command answered.
        experiment: The experiment as a 64-bit number.
        accepted: Whether it took effect.
        version: Version of the experiment after it (number of commands applied); 0 if there is
            no such experiment.
        code: Stable error code of a refusal.
        message: One sentence of a refusal.
        path: Field at fault of a refusal.
        status: Status of the experiment after it; None if there is no such experiment.
    """

    command_id: str
    experiment: int
    accepted: bool
    version: int
    code: str | None = None
    message: str | None = None
    path: str | None = None
    status: str | None = None


CONCLUSION = "conclusion"
"""Kind of the decision that has the statistics of an experiment as of its conclusion."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that was decided about an experiment, with its evidence.

    Attributes:
        experiment: The experiment as a 64-bit number.
        kind: `command` (an answered command), `conclusion`, or the recommended action that changed.
        at_ms: Time of what caused it, from the log.
        version: Snapshot version it was decided on.
        evidence: Facts that the decision is based on, as JSON values.
        snapshot: Of a `conclusion`, the encoded snapshot that stays its report; else empty.
    """

    experiment: int
    kind: str
    at_ms: int
    version: int
    evidence: Mapping[str, Any] = field(default_factory=dict)
    snapshot: bytes = b""


LETTER_VALUE_BYTES = 65_536
"""Bytes of a record's value that a dead letter holds at most: all of a usual batch. A larger record
is read from its topic by its place."""

LETTER_KEY_BYTES = 1_024
"""Bytes of a record's key that a dead letter holds at most; an assignment id has 512."""

MAX_RANGES = 5_000
"""Ranges of one dead letter at most: enough for any 10,000 observations. Of the groups of a batch
of impressions, what is beyond is in the last range."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Events of one record that could not be used for one reason, with their place and bytes.

    Attributes:
        topic, partition, offset: Place of the record.
        index: Place of the first event within its batch; 0 for a single record.
        timestamp_ms: Kafka timestamp of the record.
        code: Why, as in `EngineError`.
        message, path: Of the first event, as in `EngineError`.
        key, value: The first bytes of the record's, at most `LETTER_KEY_BYTES` and
            `LETTER_VALUE_BYTES`. Of the letters of one record only the first has the value.
        count: Number of events.
        ranges: First and last index of each run of such events, ascending; empty for one event.
        key_bytes, value_bytes: Size of the record's key and value; None if absent.
        value_sha256: SHA-256 of the whole value; None if absent.
    """

    topic: str
    partition: int
    offset: int
    index: int
    timestamp_ms: int
    code: str
    message: str
    path: str
    key: bytes | None
    value: bytes | None
    count: int = 1
    ranges: tuple[tuple[int, int], ...] = ()
    key_bytes: int | None = None
    value_bytes: int | None = None
    value_sha256: bytes | None = None

    @property
    def indexes(self) -> Iterator[int]:
        """Places of its events within their record, ascending."""
        for first, last in self.ranges or ((self.index, self.index),):
            yield from range(first, last + 1)

    @property
    def is_whole(self) -> bool:
        """Whether `key` and `value` hold all bytes of the record's key and value."""
        has_key = self.key_bytes is None or self.key_bytes == len(self.key or b"")
        if self.value is None:
            return False
        return has_key and (self.value_bytes is None or self.value_bytes == len(self.value))
