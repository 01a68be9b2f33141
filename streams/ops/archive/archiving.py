"""From Kafka to the files of an archive: everything that is there and not archived yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from streams.kafka.records import LogSource, OffsetRange
from streams.model.errors import DependencyError
from streams.ops.archive.errors import ArchiveError
from streams.ops.archive.lock import owned
from streams.ops.archive.partition import AppendedRecords, PartitionArchive


class ArchiveObserver:
    """Observer of a run's progress; the base class ignores it."""

    def begins(self, topic: str, records: int) -> None:
        """Take that about so many records of a topic are to be archived."""

    def appended(self, records: int) -> None:
        """Take that so many more are."""


def archive(
    log: LogSource,
    directory: Path,
    topics: Sequence[str],
    *,
    accept_gap: bool = False,
    watcher: ArchiveObserver | None = None,
) -> list[AppendedRecords]:
    """Archive what Kafka has of topics and the archive has not; return what was added.

    A topic is added whole or, when the run fails in it, up to the files that were finished.

    Args:
        log: Where they come from.
        directory: The archive; made if need be.
        topics: Names in the catalogue.
        accept_gap: Whether to continue behind records that Kafka has deleted.
        watcher: Receives the progress.

    Raises:
        ArchiveError: `ARCHIVE_GAP`, `ARCHIVE_MISMATCH` or `ARCHIVE_UNREADABLE`.
        ConfigurationError: the directory cannot be used, or another run writes it.
        LogError: `LOG_TRUNCATED`: records were deleted meanwhile; what was finished is kept.
        DependencyError: Kafka does not answer, or the disk takes no more.
    """
    with owned(directory), _writable(directory):
        spans = {topic: log.spans(topic) for topic in topics}
        parts = {
            topic: {p: PartitionArchive(directory, topic, p) for p in spans[topic]}
            for topic in topics
        }
        if not accept_gap:
            _check_gaps(parts, spans)
        return [
            appended
            for topic in topics
            for appended in _archive_topic(log, topic, parts[topic], spans[topic], watcher)
        ]


def _archive_topic(
    log: LogSource,
    topic: str,
    parts: Mapping[int, PartitionArchive],
    spans: Mapping[int, OffsetRange],
    watcher: ArchiveObserver | None,
) -> list[AppendedRecords]:
    watcher = watcher or ArchiveObserver()
    for part in parts.values():
        part.make_directory()
    starts = {p: part.start(spans[p].begin) for p, part in parts.items()}
    watcher.begins(topic, sum(max(spans[p].end - start, 0) for p, start in starts.items()))
    try:
        for partition, part in parts.items():
            for records in log.read(topic, partition, starts[partition], spans[partition].end):
                watcher.appended(sum(map(part.append, records)))
        return [part.finish() for part in parts.values()]
    finally:
        for part in parts.values():
            part.discard()


def _check_gaps(
    parts: Mapping[str, Mapping[int, PartitionArchive]],
    spans: Mapping[str, Mapping[int, OffsetRange]],
) -> None:
    gaps = {
        part.place: gap
        for topic, partitions in parts.items()
        for number, part in partitions.items()
        if (gap := part.gap_to(spans[topic][number].begin))
    }
    if gaps:
        lost = ", ".join(f"{gap:,} of {place}" for place, gap in gaps.items())
        raise ArchiveError(
            "ARCHIVE_GAP",
            f"Kafka has deleted records that were not archived: {lost}; nothing was written. "
            "--accept-gap goes on behind them",
            next(iter(gaps)),
        )


@contextmanager
def _writable(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DependencyError(
            "disk", f"{error.filename or directory} cannot be written: {error.strerror or error}"
        ) from error
