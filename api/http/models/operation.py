"""Requests and responses about the operation of the installation."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from api.http.models.responses import ErrorDetails, ResponseModel
from api.http.models.text_query import TextQuery
from streams.model.stated_times import BoundTime
from streams.model.validation import InputModel, JsonList

MAX_PLACES = 100
"""Places of dead letters in one request."""

MAX_PLACE = 300
"""Characters of a place: a topic of Kafka has at most 249."""


class DoctorQuery(TextQuery):
    """Query parameters of the diagnosis.

    Attributes:
        hours: Age of the oldest dead letter that is counted, in hours.
    """

    hours: int = Field(
        default=24, ge=1, le=2_160, description="Age of the oldest dead letter that is counted."
    )


class DeadLettersQuery(TextQuery):
    """Query parameters of the list of dead letters.

    Attributes:
        limit: Letters of a page at most.
        cursor: `nextCursor` of the page before; None for the first page.
        code, topic, experiment: Only letters with this code, of this topic, of this experiment;
            None for all.
        since: Oldest time of writing, in milliseconds since the epoch; None for any.
    """

    limit: int = Field(default=50, ge=1, le=200, description="Letters of a page at most.")
    cursor: str | None = Field(default=None, max_length=400, description="`nextCursor` of before.")
    code: str | None = Field(default=None, max_length=64, description="Only with this code.")
    topic: str | None = Field(
        default=None, max_length=249, description="Only of this topic, with or without its prefix."
    )
    experiment: str | None = Field(
        default=None, max_length=100, description="Only of this experiment, by its id or key."
    )
    since: BoundTime | None = Field(
        default=None, description="Only written since, in milliseconds since the epoch."
    )


class ResendRequest(InputModel):
    """Places of dead letters whose records are sent again."""

    places: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=MAX_PLACE)], ...],
        JsonList(min_length=1, max_length=MAX_PLACES),
    ]


class DoctorFinding(ResponseModel):
    """A problem: code, severity, observation and advice."""

    code: str
    severity: str
    what: str
    advice: str


class TopicLag(ResponseModel):
    """Records of a topic that the workers have not processed yet."""

    topic: str
    records: int


class PartitionLag(ResponseModel):
    """Position of the workers in a partition: the log has the offsets [begin, end)."""

    topic: str
    partition: int
    begin: int
    end: int
    committed: int | None
    lag: int


class SpoolState(ResponseModel):
    """Spool of the API process that answered, and all spool files on its disk, in bytes."""

    bytes: int
    max_bytes: int
    file_bytes: int
    damaged_files: int


class Doctor(ResponseModel):
    """Diagnosis.

    Attributes:
        at: When it was made, in milliseconds since the epoch.
        findings: All problems, errors first; empty without any.
        workers: Workers that are alive; None if Redis does not answer.
        lag, partitions: Records that the workers have not processed yet, by topic and by partition.
        spool: State of the spool.
        dead_letters: Dead letters of the last hours, by code.
    """

    at: int
    findings: tuple[DoctorFinding, ...]
    workers: int | None
    lag: tuple[TopicLag, ...]
    partitions: tuple[PartitionLag, ...]
    spool: SpoolState
    dead_letters: dict[str, int]


class DeadLetterItem(ResponseModel):
    """A dead letter without the bytes of its record.

    Attributes:
        place: `topic:partition:offset:index` of its first event.
        code, message, path: Why its events could not be used.
        written_at, record_at: When it was written, and the time of its record, in milliseconds
            since the epoch; -1 of a record without a time.
        count: Number of its events.
        ranges: First and last index of runs of them, at most 16.
        bytes, sha256: Size and digest of the record's value; None without one.
        experiment_id: Its experiment, where letters of one experiment were asked for.
    """

    place: str
    code: str
    message: str
    path: str
    written_at: int
    record_at: int
    topic: str
    partition: int
    offset: int
    index: int
    count: int
    ranges: tuple[tuple[int, int], ...]
    bytes: int | None
    sha256: str | None
    experiment_id: str | None = None


class DeadLettersPage(ResponseModel):
    """A page of dead letters, newest first.

    Attributes:
        letters: The letters.
        next_cursor: Leads to the next page; None on the last one.
        counts: Events of all letters that match, by code.
    """

    letters: tuple[DeadLetterItem, ...]
    next_cursor: str | None = None
    counts: dict[str, int] = Field(default_factory=dict)


class SentRecord(ResponseModel):
    """A record that was sent again, for the letter of a place."""

    place: str
    bytes: int


class Resent(ResponseModel):
    """Records that were sent again, and errors of others."""

    sent: tuple[SentRecord, ...]
    refused: tuple[ErrorDetails, ...]


class PlanAnswer(ResponseModel):
    """Units and days that an experiment needs.

    Attributes:
        assumed: Assumptions about the metric.
        design: Design of the test.
        daily_units: Units a day; None if unknown.
        fixed: Test of fixed size: `unitsPerVariant`, `units`, `days`.
        group_sequential: Test with planned looks.
        detectable: Minimum detectable lifts of 1, 2, 4 and 8 weeks; None without `daily_units`.
    """

    assumed: dict[str, Any]
    design: dict[str, Any]
    daily_units: int | None
    fixed: dict[str, Any]
    group_sequential: dict[str, Any]
    detectable: tuple[dict[str, Any], ...] | None
