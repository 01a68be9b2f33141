"""A stack that continues from its journal: the log first, and what is derived from it again.

Tables, tallies and snapshots are not kept. The workers derive them as a new generation, and take
over from the one that was active once they are where that one was; see ADR 0007. So whatever
follows from a record is published once, also if it was published before the stack ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic

from streams.kafka.generations import append_change, generations_of
from streams.local.journal.restoring import restore
from streams.local.journal.store import Journal
from streams.model.generations import ChangeKind
from streams.replay.rebuild import catch_up, serve, start
from streams.settings import Settings

SERVE_TIMEOUT_S = 30.0
"""Longest wait for a worker to write to Redis which generation is active."""

FORMER_PARTITIONS = 4
"""Partitions of a log whose journal began without their number, unless a setting had another."""


class ResumeStoppedError(Exception):
    """The stack is to stop, so there is nothing left to do."""


def kept_partitions(path: Path) -> int | None:
    """Return the number of partitions of the log in a journal; None for a new one.

    Raises:
        ConfigurationError: a newer release has written the journal.
        JournalError: it cannot be opened or read.
    """
    with Journal(path) as journal:
        return journal.partitions or (FORMER_PARTITIONS if journal.n_records else None)


@dataclass(frozen=True, slots=True)
class Resumption:
    """The start of a stack from what is kept of its log; its methods wait, and run in a thread.

    Attributes:
        settings: The stack, with its broker and its Redis.
        report: Receives lines for the operator, one per call.
        stopping: Set to have the methods end early.
    """

    settings: Settings
    report: Callable[[str], None]
    stopping: Event

    def restore(self, journal: Journal) -> int | None:
        """Write the log to the broker, and return the generation of the workers that continue.

        Returns:
            None if there is nothing to continue from.

        Raises:
            ConfigurationError: topics have another number of partitions than they had.
            JournalError: the journal cannot be read or written.
            DependencyError: the broker fails.
            ResumeStoppedError: `stopping` was set.
        """
        count = journal.n_records
        if not count:
            journal.keep_partitions(self.settings.partitions)
            return None
        self.report(f"{journal.path} has {count:,} records: writing them to the broker")
        began_s = monotonic()
        restore(journal, self.settings, lambda _: None, self.stopping.is_set)
        journal.keep_partitions(self.settings.partitions)
        self._go_on()
        generation = start(self.settings).generation
        self.report(f"the log is back after {monotonic() - began_s:.1f} s; workers fold it")
        return generation

    def serve(self, generation: int) -> None:
        """Return once the workers have what the stack had when it ended, and others read theirs.

        Raises:
            GenerationError, LogError, DependencyError: a server of the stack fails.
            ResumeStoppedError: `stopping` was set.
        """
        catch_up(self.settings, generation, None, lambda *_: self._go_on())
        serve(self.settings, generation, SERVE_TIMEOUT_S)
        # Their tables ended with the broker that had them.
        for number in generations_of(self.settings)[0].kept:
            if number != generation:
                append_change(self.settings, number, ChangeKind.DROPPED)

    def _go_on(self) -> None:
        if self.stopping.is_set():
            raise ResumeStoppedError
