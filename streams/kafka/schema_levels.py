"""Levels of schemas in the log of generations."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from schemas import catalogue
from streams.kafka.generations import PARTITION, append, has_log
from streams.kafka.records import LogSource, all_records
from streams.kafka.settings import KafkaSettings
from streams.kafka.source import KafkaSource
from streams.model.errors import DependencyError, EventError
from streams.model.schema_levels import LevelsChange, SchemaLevels, Versions
from streams.wire.schema_levels import decode_levels_change, encode_levels_change

logger = logging.getLogger(__name__)


def read_levels(source: LogSource) -> SchemaLevels:
    """Return the levels of the log.

    Raises:
        LogError, DependencyError: as `LogSource` does.
    """
    levels = SchemaLevels()
    for partition, record in all_records(source, catalogue.GENERATIONS.name):
        if partition == PARTITION:
            levels = levels_after(levels, record.value)
    return levels


def levels_of(settings: KafkaSettings) -> SchemaLevels:
    """Return the levels of an installation; its topics may not exist yet.

    Raises:
        ClusterError, LogError, DependencyError: the log of generations cannot be read.
    """
    return read_levels(KafkaSource(settings)) if has_log(settings) else SchemaLevels()


def levels_after(levels: SchemaLevels, value: bytes | None) -> SchemaLevels:
    """Return the levels after a record; a record of another schema changes nothing."""
    with suppress(EventError):
        return levels.after(decode_levels_change(value))
    return levels


def append_levels(settings: KafkaSettings, versions: Versions, *, is_initial: bool = False) -> None:
    """Append a change of levels, and wait until all in-sync replicas have it.

    Raises:
        DependencyError: Kafka has not confirmed it; it may be in the log nevertheless.
    """
    change = LevelsChange(versions, is_initial, time.time_ns() // 1_000_000)
    append(settings, encode_levels_change(change))


def settled_levels(settings: KafkaSettings, reads: Versions) -> SchemaLevels:
    """Return the levels of an installation whose topics exist; append `reads` if none exist.

    Of two processes that append at once, the first one in the log counts. A process without the
    right to write the log continues without levels, which `experiment doctor` reports.

    Raises:
        LogError, DependencyError: the log of generations cannot be read.
    """
    levels = levels_of(settings)
    if levels.versions is not None:
        return levels
    try:
        append_levels(settings, reads, is_initial=True)
    except DependencyError as error:
        logger.warning("the versions of schemas that are written are not logged: %s", error)
        return levels
    return levels_of(settings)
