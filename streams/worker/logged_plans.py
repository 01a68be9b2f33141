"""The measurement plans of the experiments, read from `commands`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from schemas.catalogue import COMMANDS
from schemas.codec import Codec
from streams.fold.measurement_plans import StartedPlans
from streams.kafka.records import LogError, LogSource, StoredRecord
from streams.kafka.tail import LogTail
from streams.model.errors import DependencyError
from streams.model.partitioning import Partition
from streams.tallies.plan import PLAIN, Plan
from streams.wire.framing import Framing

RETRY_S = 1.0
"""Wait before reading an unavailable log again."""

logger = logging.getLogger(__name__)


class LoggedPlans:
    """The plans read so far.

    Receipts exist only after the `create` and `start` of their experiment are durable, and a draft
    may change until then, so a plan is known once its experiment has started. So if an
    experiment appears in a receipt, and `commands` is *then* read to its end without its `create`,
    it was not created before its receipts, and its plan is plain. One reading is enough, so
    experiments of another platform cost one reading each.

    Args:
        source: The log.
        framing: Learns the schemas of records before they are decoded.
    """

    def __init__(self, source: LogSource, framing: Framing) -> None:
        self._tail = LogTail(source, COMMANDS.name, framing)
        self._plans = StartedPlans()
        self._reading = asyncio.Lock()

    def get(self, experiment: int) -> Plan | None:
        """Return the plan of an experiment; None while it is unknown."""
        return self._plans.get(experiment)

    async def learn(self, experiment: int) -> None:
        """Wait until the plan of an experiment is known, however long the log is unavailable."""
        async with self._reading:
            while self._plans.get(experiment) is None:
                try:
                    await self._tail.take(self._take)
                except (DependencyError, LogError) as error:
                    # Without its plan the units of an experiment would be measured wrongly.
                    logger.warning("the plans of the experiments cannot be read: %s", error)
                    await asyncio.sleep(RETRY_S)
                else:
                    self._plans.settle(experiment, PLAIN)

    def _take(self, partition: Partition, records: Sequence[StoredRecord], codec: Codec) -> None:
        self._plans.take(partition, records, codec)
