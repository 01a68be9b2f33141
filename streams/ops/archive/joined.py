"""An archive and the Kafka it was made from, as one log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from streams.kafka.records import LogSource, OffsetRange, StoredRecord


@dataclass(frozen=True, slots=True)
class JoinedSource:
    """Source that reads archived records from the archive and the rest from Kafka.

    Attributes:
        archive: Begins before Kafka does, once retention has ended.
        kafka: Goes on behind the archive, and has the topics that are not archived.
    """

    archive: LogSource
    kafka: LogSource

    def spans(self, topic: str) -> Mapping[int, OffsetRange]:
        """Return what is there of every partition, in the one or the other."""
        archived = self.archive.spans(topic)
        return {
            partition: OffsetRange(
                archived[partition].begin, max(archived[partition].end, span.end)
            )
            if _has_records(archived.get(partition))
            else span
            for partition, span in self.kafka.spans(topic).items()
        }

    def read(
        self, topic: str, partition: int, begin: int, end: int
    ) -> Iterator[Sequence[StoredRecord]]:
        """Yield the records in [begin, end)."""
        archived = self.archive.spans(topic).get(partition)
        seam = begin
        if archived is not None and archived.begin <= begin < archived.end:
            seam = min(end, archived.end)
            yield from self.archive.read(topic, partition, begin, seam)
        yield from self.kafka.read(topic, partition, seam, end)


def _has_records(span: OffsetRange | None) -> bool:
    return span is not None and span.begin < span.end
