"""Errors of an archive."""

from __future__ import annotations

from streams.model.errors import EngineError


class ArchiveError(EngineError):
    """The archive cannot continue, or is not what it should be; `path` is the partition or file.

    `ARCHIVE_GAP`: Kafka has deleted records that were not archived.
    `ARCHIVE_MISMATCH`: Kafka does not have the record that was archived last.
    `ARCHIVE_UNREADABLE`: a file is not a container of archived records.
    `ARCHIVE_BROKEN`: what is in the files is not continuous.

    Operator action: see the table in `docs/how-to/archive-topics.md`.
    """


def mismatch(topic: str, partition: int, offset: int) -> ArchiveError:
    """Return the error of a log that is not the one that was archived up to `offset`."""
    return ArchiveError(
        "ARCHIVE_MISMATCH",
        f"Kafka does not have the record of {topic}/{partition} that was archived last, at offset "
        f"{offset}: its log was begun anew, or belongs to another installation; archive it to "
        "another directory",
        f"{topic}/{partition}",
    )
