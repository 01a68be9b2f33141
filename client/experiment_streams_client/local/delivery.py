"""Delivery of the impressions of a journal: in batches, repeated until they are taken."""

from __future__ import annotations

import logging
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from http import HTTPStatus
from threading import Event, Thread
from typing import NamedTuple, Protocol

from api.http.models.responses import Accepted
from api.spool.spool import Segment, SpoolFullError
from experiment_streams_client.calls.base import Call
from experiment_streams_client.clients import ExperimentClient
from experiment_streams_client.errors import ApiError
from experiment_streams_client.local.journal import DamagedFileError, File, Journal
from schemas.catalogue import IMPRESSIONS
from streams.model.events import OutsideRequests
from streams.model.receipts import Keyring
from streams.wire.batch_tags import sealer
from streams.wire.impressions import encode_impression_batch

PAUSE_S = 1.0
"""Pause after a failure, in seconds."""

_log = logging.getLogger(__name__)


class SealedBatch(NamedTuple):
    """A record of the topic of impressions.

    Attributes:
        partition: Its partition.
        value: Its value.
    """

    partition: int
    value: bytes


class RefusedError(Exception):
    """Batches that will not be taken, however often they are sent."""


class Sink(Protocol):
    """Receiver of batches of impressions."""

    def send(self, batches: Sequence[SealedBatch]) -> None:
        """Return once they are durable.

        Raises:
            RefusedError: some are not taken, and never will be.
            EngineError: they are not taken now, or that is not known; they are sent again.
        """

    def close(self) -> None:
        """Close the connections."""


class ApiSink:
    """Sends impressions to the API, which logs them as they are.

    Args:
        client: A client whose key has the scope `assigner`.
    """

    def __init__(self, client: ExperimentClient) -> None:
        self._client = client

    def send(self, batches: Sequence[SealedBatch]) -> None:
        """Return once they are durable; see `Sink`."""
        body = {"batches": [b64encode(each.value).decode() for each in batches]}
        call = Call("POST", "/impressions", Accepted.model_validate, body, is_repeatable=True)
        try:
            accepted = self._client.send(call)
        except ApiError as error:
            if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                raise RefusedError(f"{error.code}: {error.message}") from error
            raise
        if accepted.rejected_count:
            first = accepted.rejected[0]
            raise RefusedError(f"{first.code}: {first.message}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class Delivery:
    """A thread that delivers what is in a journal, file by file, the oldest first.

    Attributes:
        delivered: Impressions that were taken.
        refused: Files that were not, and are kept as `.damaged`.
        error: Why the last try failed; empty if it did not.

    Args:
        journal: The journal.
        keyring: Seals the batches.
        sink: Takes them.
        every_s: Interval, in seconds.
        outside: Returns how many requests did not take part since the last call.
    """

    def __init__(
        self,
        journal: Journal,
        keyring: Keyring,
        sink: Sink,
        every_s: float,
        outside: Callable[[], list[OutsideRequests]] = list,
    ) -> None:
        self.delivered = 0
        self.refused = 0
        self.error = ""
        self._journal = journal
        self._keyring = keyring
        self._sink = sink
        self._every_s = every_s
        self._outside = outside
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="impressions", daemon=True)

    def start(self) -> None:
        """Start the thread that delivers."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Deliver what there is for `timeout_s` seconds at most; return whether all was taken.

        What was not stays in the journal, for the next process.
        """
        self._stopping.set()
        until_s = time.monotonic() + timeout_s
        self._thread.join(timeout_s)
        while not (is_done := self._is_done()) and time.monotonic() < until_s:
            time.sleep(min(PAUSE_S, max(0.0, until_s - time.monotonic())))
        self._sink.close()
        return is_done

    def deliver(self) -> None:
        """Deliver all that was appended until now.

        Raises:
            EngineError: it is not taken now; what was not stays.
        """
        try:
            self._journal.append_outside(self._outside())
        except SpoolFullError as error:  # what is there goes first
            _log.warning("how many requests took no part is not logged: %s", error)
        for segment in self._journal.sealed():
            self._deliver(segment)

    def _is_done(self) -> bool:
        if self._thread.is_alive():
            return False
        try:
            self.deliver()
        except Exception as error:  # noqa: BLE001 - what is left stays in the journal
            self.error = str(error)
            return False
        return True

    def _run(self) -> None:
        pause_s = self._every_s
        while not self._stopping.wait(pause_s):
            try:
                self.deliver()
            except Exception as error:  # noqa: BLE001 - it is tried again
                if not self.error:
                    _log.warning("impressions are not taken and wait: %s", error)
                self.error = str(error)
                pause_s = PAUSE_S
            else:
                self.error = ""
                pause_s = self._every_s

    def _deliver(self, segment: Segment) -> None:
        try:
            file = self._journal.read(segment)
            batches = self._sealed(file)
            if batches:
                self._sink.send(batches)
        except (RefusedError, DamagedFileError) as error:
            self.refused += 1
            _log.error("impressions are refused: %s", error)
            self._journal.put_aside(segment, str(error))
            return
        self.delivered += file.n_rows
        self._journal.forget(segment)

    def _sealed(self, file: File) -> list[SealedBatch]:
        if file.key_id not in self._keyring.ids and file.batches:
            # Under another key they would have other numbers, and might count twice.
            raise RefusedError(f"sealed by key {file.key_id}, which is not here any more")
        seal = sealer(self._keyring, file.key_id)
        return [
            SealedBatch(
                batch.partition,
                seal(IMPRESSIONS.name, batch.partition, encode_impression_batch(batch)),
            )
            for batch in file.batches
        ]
