"""Batches of impressions from processes that assign by themselves."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Iterable
from typing import Protocol

from api.http.models.requests import ImpressionsRequest
from api.http.models.responses import Accepted, Rejected
from api.outbox import IMPRESSIONS, MAX_RECORD_BYTES
from api.spool.entries import SpoolRecord
from api.strict_json import decode_object
from schemas import catalogue
from streams.model.errors import EventError, InputError
from streams.model.receipts import Keyring
from streams.model.validation import parse
from streams.wire.batch_tags import authenticated
from streams.wire.impressions import decode_impression_batch


class RecordLog(Protocol):
    """The log of records that others have numbered."""

    def add_records(self, records: Iterable[SpoolRecord]) -> None:
        """Take records."""

    def written(self) -> Awaitable[None]:
        """Return a future that is done once all that was added is durable."""


class ImpressionService:
    """Batches of impressions, verified and logged as they are.

    A batch keeps the number that its sender has given it, so one that is sent again counts once,
    whichever API processes it went through.

    Attributes:
        accepted: Batches taken.

    Args:
        keyring: Verifies that a holder of a receipt key made them.
        log: Takes them.
        partitions: Partitions of the topic.
    """

    def __init__(self, keyring: Keyring, log: RecordLog, partitions: int) -> None:
        self.accepted = 0
        self._keyring = keyring
        self._log = log
        self._partitions = partitions

    async def take(self, body: bytes) -> bytes:
        """Take the batches in a JSON body, and return the JSON answer.

        Raises:
            InputError: none of them can be used. Its path says which is the first.
            SpoolFullError: they cannot be kept; none was taken.
        """
        request = parse(ImpressionsRequest, decode_object(body))
        records: list[SpoolRecord] = []
        bad: list[Rejected] = []
        for index, text in enumerate(request.batches):
            try:
                records.append(self._record(text))
            except EventError as error:
                path = f"batches[{index}]"
                bad.append(Rejected(index=index, code=error.code, path=path, message=error.message))
        if not records:
            raise InputError(bad[0].code, bad[0].message, bad[0].path)
        self._log.add_records(records)
        await self._log.written()
        self.accepted += len(records)
        return Accepted(
            accepted=len(records), rejected=tuple(bad), rejected_count=len(bad)
        ).to_json()

    def _record(self, text: str) -> SpoolRecord:
        """Return the record of a batch.

        Raises:
            EventError: it cannot be read, is too large, of no partition, or not authentic.
        """
        try:
            value = b64decode(text, validate=True)
        except ValueError as error:
            raise EventError("UNDECODABLE_RECORD", "the batch is not base64") from error
        if len(value) > 2 * MAX_RECORD_BYTES:
            raise EventError(
                "RECORD_TOO_LARGE",
                f"the batch has {len(value)} bytes, must have at most {2 * MAX_RECORD_BYTES}",
            )
        batch = decode_impression_batch(value)
        if batch.partition >= self._partitions:
            raise EventError(
                "OUT_OF_RANGE",
                f"partition == {batch.partition}, must be below {self._partitions}",
            )
        authenticated(self._keyring, catalogue.IMPRESSIONS.name, batch.partition, value, batch)
        return SpoolRecord(IMPRESSIONS, batch.partition, value)
