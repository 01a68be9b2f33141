"""Hops of an observation on its way, by the timestamps of the records that it caused.

All processes share a machine and its clock. Records carry the time at which their sender gave them
to its client, in whole milliseconds; the ends of the last two hops are measured here.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from schemas import catalogue
from streams.kafka.records import StoredRecord
from streams.kafka.source import KafkaSource
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.reader import ProjectionReader
from streams.settings import Settings
from streams.tallies.cell import Source
from streams.wire.snapshots import decode_snapshot
from streams.worker.tables import unpack

HOPS = (
    "posted to given to Kafka",
    "to folded",
    "to evaluated and announced",
    "to read by the API",
)
"""Each begins where the one before ends."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One observation.

    Attributes:
        receipt: Its assignment id.
        posted: When it was sent, in seconds since the epoch.
        counted: When the statistics had it.
    """

    receipt: str
    posted: float
    counted: float

    @property
    def seconds(self) -> float:
        """Seconds from the request to the changed snapshot."""
        return self.counted - self.posted


class Announcements:
    """The announcements of one experiment's snapshots while the block runs.

    Attributes:
        heard: Version and time of each, in order.
    """

    def __init__(self, settings: Settings, experiment: str) -> None:
        self.heard: list[tuple[int, float]] = []
        self._client = connect(settings.redis_url)
        self._reader = ProjectionReader(self._client, Keys(settings.namespace))
        self._experiment = experiment

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._client.aclose()

    async def _listen(self) -> None:
        async for announced in self._reader.announcements():
            if announced is not None and announced[0] == self._experiment:
                self.heard.append((announced[1], time.time()))


def hops_of(
    probes: Sequence[Probe],
    experiment: str,
    settings: Settings,
    announced: Sequence[tuple[int, float]],
) -> list[list[float]]:
    """Return the seconds of each hop of each probe, in the order of `HOPS`."""
    log = _Log(settings)
    observations = log.read(catalogue.OBSERVATIONS.name)
    folded = log.read(f"{settings.faust_app_id}-observations-state-changelog")
    snapshots = [
        decode_snapshot(record.value)
        for records in log.read(settings.topic_name(catalogue.POSTERIORS)).values()
        for record in records
        if record.key == experiment.encode() and record.value is not None
    ]
    found = []
    for probe in probes:
        receipt = probe.receipt.encode()
        partition, event = next(
            (partition, record)
            for partition, records in observations.items()
            for record in records
            if record.value is not None and receipt in record.value
        )
        folded_ms = min(
            record.timestamp
            for record in folded[partition]
            if record.key == f"c/{experiment}".encode()
            and record.value is not None
            and unpack(record.value)[0] >= event.offset
        )
        version = min(
            snapshot.version
            for snapshot in snapshots
            for cell in snapshot.cells
            if (cell.source, cell.partition) == (Source.OBSERVATIONS, partition)
            and cell.last_offset >= event.offset
        )
        heard = next((at for heard, at in announced if heard >= version), probe.counted)
        times = [probe.posted, event.timestamp / 1e3, folded_ms / 1e3, heard, probe.counted]
        found.append([end - begin for begin, end in itertools.pairwise(times)])
    return found


class _Log:
    """Whole topics."""

    def __init__(self, settings: Settings) -> None:
        self._source = KafkaSource(settings)

    def read(self, topic: str) -> dict[int, list[StoredRecord]]:
        return {
            partition: [
                record
                for records in self._source.read(topic, partition, span.begin, span.end)
                for record in records
            ]
            for partition, span in self._source.spans(topic).items()
        }
