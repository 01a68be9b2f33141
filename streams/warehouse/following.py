"""An export once, or until it is stopped: through outages of Kafka and of the target."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from streams.kafka.records import LogSource
from streams.model.errors import DependencyError
from streams.replay.partitions import FoldInputs
from streams.warehouse.exporter import Exporter, exporting
from streams.warehouse.observer import ExportObserver
from streams.warehouse.opening import opened
from streams.warehouse.target import BUSY, WarehouseError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Wait after an outage; each one that follows it at once waits twice as long."""

logger = logging.getLogger(__name__)


class Export:
    """An export to one target.

    Args:
        source: The log.
        inputs: What is folded with.
        to: Address of the target.
        generation: Gives the active generation.
        accept_gap: Whether to continue behind records that the log has no more.
        watcher: Receives the progress.

    Attributes:
        rows: Rows exported so far.
    """

    def __init__(
        self,
        source: LogSource,
        inputs: FoldInputs,
        to: str,
        generation: Callable[[], int],
        *,
        accept_gap: bool = False,
        watcher: ExportObserver | None = None,
    ) -> None:
        self._source = source
        self._inputs = inputs
        self._to = to
        self._generation = generation
        self._accept_gap = accept_gap
        self._watcher = watcher
        self.rows = 0

    def once(self, stop: Event) -> None:
        """Export what is in the log now; end early once `stop` is set.

        Raises:
            LogError, WarehouseError, ConfigurationError, DependencyError: as in `Exporter.catch_up`
            and `opened`.
        """
        with self._exporting() as exporter:
            self._catch_up(exporter, stop)

    def follow(self, stop: Event, interval_s: float) -> None:
        """Export what comes, until `stop` is set.

        An outage after the first success is waited out: the target says how far it was taken. So is
        another export that holds it: it may be the session of this one that the outage has cut off.

        Args:
            stop: Ends it.
            interval_s: Seconds between the end of one look at the log and the next.

        Raises:
            LogError, WarehouseError, ConfigurationError: as in `once`.
            DependencyError: Kafka or the target does not answer at the start.
        """
        pause_s, has_begun = FIRST_PAUSE_S, False
        while not stop.is_set():
            try:
                with self._exporting() as exporter:
                    while not stop.is_set():
                        self._catch_up(exporter, stop)
                        pause_s, has_begun = FIRST_PAUSE_S, True
                        stop.wait(interval_s)
            except (DependencyError, WarehouseError) as error:
                passes = isinstance(error, DependencyError) or error.code == BUSY
                if not (has_begun and passes):
                    raise
                logger.warning(
                    "the export tries again in %.0f s, from its last commit on: %s", pause_s, error
                )
                stop.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _catch_up(self, exporter: Exporter, stop: Event) -> None:
        before = exporter.exported
        try:
            exporter.catch_up(stop.is_set)
        finally:
            self.rows += exporter.exported - before

    @contextmanager
    def _exporting(self) -> Iterator[Exporter]:
        with (
            opened(self._to) as target,
            exporting(
                self._source,
                self._inputs,
                target,
                self._generation,
                accept_gap=self._accept_gap,
                watcher=self._watcher,
            ) as exporter,
        ):
            yield exporter
