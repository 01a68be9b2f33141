"""The points of time series in the topic, written by any worker."""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Iterator, Mapping, Sequence

from schemas.catalogue import TIMESERIES
from streams.kafka.records import LogSource, OffsetRange, StoredRecord
from streams.model.errors import InputError
from streams.model.ids import experiment_number

_KEY = re.compile(rb"(exp_[^/]{1,64})/([0-9]{1,12})")

Change = tuple[int, int, bytes | None]
"""Experiment, slot, and the record of its point; None for a removed one."""


class LoggedPoints:
    """Slots of the points of every experiment in the log, read incrementally.

    Only which slots have a point is kept in memory; the points are in Redis and in the log.

    Args:
        source: The log.
    """

    def __init__(self, source: LogSource) -> None:
        self._source = source
        self._ends: dict[int, int] = {}
        self._slots: dict[int, list[int]] = {}

    def of(self, experiment: int) -> Sequence[int]:
        """Return the slots of an experiment that have a point, in order."""
        return self._slots.get(experiment, ())

    def forget(self) -> None:
        """Read everything again the next time."""
        self._ends.clear()
        self._slots.clear()

    def is_read(self, partition: int) -> bool:
        """Return whether a partition was read since everything was forgotten."""
        return partition in self._ends

    def spans(self) -> Mapping[int, OffsetRange]:
        """Return the available span of each partition, to be passed to `changes`.

        Raises:
            DependencyError: Kafka does not answer.
        """
        return self._source.spans(TIMESERIES.name)

    def changes(self, partition: int, span: OffsetRange) -> Iterator[list[Change]]:
        """Read a partition on to the end of a span, and yield changes in batches.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        begin = max(span.begin, self._ends.get(partition, 0))
        if begin >= span.end:  # no consumer is needed to find nothing
            self._ends[partition] = begin
            return
        for records in self._source.read(TIMESERIES.name, partition, begin, span.end):
            yield [change for record in records if (change := self._taken(record)) is not None]
        self._ends[partition] = max(begin, span.end)

    def note(self, experiment: int, slot: int, *, is_there: bool) -> None:
        """Record that a point exists or was removed."""
        slots = self._slots.setdefault(experiment, [])
        if not is_there:
            if slot in slots:
                slots.remove(slot)
            if not slots:
                del self._slots[experiment]
        elif not slots or slot > slots[-1]:
            slots.append(slot)
        elif slot not in slots:
            insort(slots, slot)

    def _taken(self, record: StoredRecord) -> Change | None:
        """Apply a record, and return its change; None for a record with another key."""
        found = None if record.key is None else _KEY.fullmatch(record.key)
        if found is None:
            return None
        try:
            experiment, slot = experiment_number(found[1].decode()), int(found[2])
        except (InputError, UnicodeDecodeError):
            return None
        self.note(experiment, slot, is_there=record.value is not None)
        return experiment, slot, record.value
