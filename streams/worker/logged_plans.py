"""The measurement plans of the experiments, as `commands` has them, for whoever folds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from schemas.catalogue import COMMANDS
from schemas.codec import Codec
from streams.fold.measurement_plans import take_plans
from streams.kafka.records import LogError, LogSource, StoredRecord
from streams.kafka.tail import LogTail
from streams.model.errors import DependencyError
from streams.tallies.plan import PLAIN, Plan
from streams.wire.framing import Framing

RETRY_S = 1.0
"""Wait before a log that does not answer is asked again."""

logger = logging.getLogger(__name__)


class LoggedPlans:
    """The plans read so far, and how to learn another one.

    Nobody has a receipt before the `create` and the `start` of its experiment are durable. So an
    experiment that is met in a receipt and is not in `commands` when it is read to its end *after
    that* never will be there before its receipts: its plan is plain. One reading settles it, so
    experiments that were never created, as those of another platform, cost one each and no more.

    Args:
        source: The log.
        framing: Learns the schemas of records before they are decoded.
    """

    def __init__(self, source: LogSource, framing: Framing) -> None:
        self._tail = LogTail(source, COMMANDS.name, framing)
        self._plans: dict[int, Plan] = {}
        self._reading = asyncio.Lock()

    def get(self, experiment: int) -> Plan | None:
        """Return the plan of an experiment; None while it is not known."""
        return self._plans.get(experiment)

    async def learn(self, experiment: int) -> None:
        """Return once the plan of an experiment is known, however long the log does not answer."""
        async with self._reading:
            while experiment not in self._plans:
                try:
                    await self._tail.take(self._take)
                except (DependencyError, LogError) as error:
                    # Without its plan the units of an experiment would be measured wrongly.
                    logger.warning("the plans of the experiments cannot be read: %s", error)
                    await asyncio.sleep(RETRY_S)
                else:
                    self._plans.setdefault(experiment, PLAIN)

    def _take(self, records: Sequence[StoredRecord], codec: Codec) -> None:
        take_plans(self._plans, records, codec)
