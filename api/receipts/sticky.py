"""The first receipt of a unit: the first write wins, and every request of the unit gets that one.

Redis keeps them (`streams.projection.receipts`). Look-ups of one turn of the event loop
travel together. While Redis does not answer, a unit gets what this process has given it before, and
else a receipt that every process would give it (`Assigner.standby_time_ms`); when Redis is back it
is offered those receipts, and the first write wins as ever. No assignment waits for long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from api.receipts.cache import ReceiptCache
from api.receipts.recent import RecentUnits
from streams.model.errors import DependencyError
from streams.model.receipt_layout import raw_of, text_of
from streams.process.outages import outage
from streams.projection.receipts import Certainty, ReceiptPlace, StoredReceipt, StoreQuery

TIMEOUT_S = 0.25
"""Longest wait of an assignment for Redis, in seconds."""

COOLDOWN_S = 1.0
"""Seconds for which the circuit stays open after a failure: Redis is not asked."""

LOOK_S = 1.0
"""Interval of checks for experiments whose units have two ids, and for receipts to be saved."""

TOGETHER = 500
"""Units of one call of Redis, at most: it does nothing else for a millisecond or two."""

_log = logging.getLogger(__name__)


class ReceiptQuery(NamedTuple):
    """A unit whose receipt is wanted.

    Attributes:
        place: The unit.
        receipt: What it gets if it has none; None if it then gets none.
        other: Unit hash of its other id; None without one.
        may_be_logged: Whether its first receipt may be in the log alone.
    """

    place: ReceiptPlace
    receipt: str | None
    other: int | None = None
    may_be_logged: bool = False


class FirstReceipt(NamedTuple):
    """The receipt of a unit.

    Attributes:
        receipt: Its text; None if it has none.
        standing: What is certain of it; PROVISIONAL also where Redis did not answer.
        is_shared: Whether both ids of the unit have it.
        is_awaited: Whether Redis has answered, and the log may have another one.
    """

    receipt: str | None
    standing: Certainty
    is_shared: bool = False
    is_awaited: bool = False


class Store(Protocol):
    """First receipts in Redis: `ReceiptStore`, or its twin in memory."""

    async def ask(self, questions: Sequence[StoreQuery]) -> list[StoredReceipt]:
        """Return the first receipts of units."""

    async def replace(self, place: ReceiptPlace, before: bytes, receipt: bytes) -> bytes:
        """Keep another receipt instead of `before`, and return what is kept."""

    async def aliased(self) -> frozenset[str]:
        """Return the experiments in which units have two ids."""

    async def rebuilt(self) -> frozenset[str]:
        """Return the experiments whose receipts before the lowered share are kept."""

    async def is_complete(self) -> bool:
        """Return whether no receipt is missing."""

    async def alias(self, experiment_ids: Iterable[str]) -> None:
        """Note that units of experiments have two ids."""

    async def chosen_from_sets(self) -> frozenset[str]:
        """Return the experiments in which variants were drawn from eligible sets."""

    async def note_sets(self, experiment_ids: Iterable[str]) -> None:
        """Note that variants of experiments were drawn from eligible sets."""


_Outcome = StoredReceipt | Exception


class _Waiting(NamedTuple):
    question: StoreQuery
    answer: asyncio.Future[_Outcome]


class StickyReceipts:
    """First receipts by experiment, phase and unit.

    Attributes:
        unavailable: Assignments that were decided without what Redis holds.
        aliased: Experiments in which units have two ids: all their units must be asked for.
        chosen_from_sets: Experiments in which variants were drawn from eligible sets: the receipts
            of all their units are kept.
        rebuilt: Experiments all receipts of which were read from the log: those from before the
            lowered share, or before units had two ids.
        recent: Units that this process has assigned.
        has_read: Whether these were read from Redis once. Until then they may lack what other
            processes have noted, and this one before it was started again.
    """

    def __init__(
        self,
        store: Store,
        memory: ReceiptCache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the parts.

        Args:
            store: First receipts in Redis.
            memory: Receipts that this process has given out.
            clock: Seconds that only grow.
        """
        self.unavailable = 0
        self.aliased: set[str] = set()
        self.chosen_from_sets: set[str] = set()
        self.rebuilt: frozenset[str] = frozenset()
        self.has_read = False
        self.recent = RecentUnits()
        self._store = store
        self._memory = memory or ReceiptCache()
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._offered: dict[ReceiptPlace, str] = {}
        self._checking: asyncio.Task[bool] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._circuit_open_until_s = 0.0

    async def first(self, ask: ReceiptQuery, standby: Callable[[], str | None]) -> FirstReceipt:
        """Return the receipt of a unit.

        Args:
            ask: The unit, and what it gets if it has none.
            standby: Gives what it gets if Redis does not answer, and this process does not know it.
        """
        place, other = ask.place, ask.other
        if other is not None:
            self.aliased.add(place.experiment_id)
        if self._clock() < self._circuit_open_until_s:
            return self._without_redis(ask, standby)
        held = self._memory.find(place, other)
        offered = ask.receipt if held is None else held.receipt
        is_mine = False
        if offered is not None and held is None:
            # Requests that are under way at the same time offer the same.
            is_mine = place not in self._offered
            offered = self._offered.setdefault(place, offered)
        is_sure = held is not None and held.is_sure
        raw = b"" if offered is None else raw_of(offered)
        outcome = await self._answered(StoreQuery(place, raw, is_sure, other, ask.may_be_logged))
        if is_mine:
            self._offered.pop(place, None)
        if isinstance(outcome, TimeoutError | RedisTimeoutError):
            # Redis may have kept what was offered, or may still do so.
            return self._without_redis(ask, lambda: offered)
        if isinstance(outcome, Exception):
            return self._without_redis(ask, standby)
        if outcome.standing is Certainty.UNKNOWN:
            return FirstReceipt(None, Certainty.UNKNOWN)
        text = offered if outcome.receipt == raw and offered else text_of(outcome.receipt)
        is_sure = outcome.standing <= Certainty.KNOWN
        self._memory.keep(place, text, is_sure=is_sure)
        if outcome.is_shared and other is not None:
            self._memory.keep(place._replace(unit=other), text, is_sure=is_sure)
        is_awaited = ask.may_be_logged and outcome.standing is Certainty.PROVISIONAL
        if not (is_sure or is_awaited):
            self.unavailable += 1
        return FirstReceipt(text, outcome.standing, outcome.is_shared, is_awaited)

    async def replace(self, place: ReceiptPlace, before: str, receipt: str) -> str:
        """Keep another receipt for a unit, whose first one no key verifies any more.

        Returns:
            What the unit has now: that of the first request that replaced it.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                kept = await self._store.replace(place, raw_of(before), raw_of(receipt))
            receipt = text_of(kept)
        except (RedisError, OSError) as error:
            self._open_circuit(error)
        self._memory.keep(place, receipt, is_sure=True)
        return receipt

    async def is_complete(self) -> bool:
        """Return whether Redis answers, and no first receipt is missing there.

        Calls of one turn of the event loop travel together; none gets what was asked before it.
        """
        if self._checking is None:
            self._checking = asyncio.create_task(self._check_complete())
        return await asyncio.shield(self._checking)

    async def _check_complete(self) -> bool:
        self._checking = None  # later callers ask again
        if self._clock() < self._circuit_open_until_s:
            return False
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._store.is_complete()
        except (DependencyError, RedisError, OSError) as error:
            self._open_circuit(error)
            return False

    async def follow(self) -> None:
        """Learn which experiments have units with two ids, and save what waits, until cancelled."""
        while True:
            # What fails is tried again, and each request says what it was decided without.
            with suppress(DependencyError, RedisError, OSError):
                await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Learn it once, and save what waits.

        Raises:
            DependencyError, RedisError, OSError: Redis does not answer.
        """
        self.aliased |= await self._store.aliased()
        await self._follow_sets()
        self.rebuilt = await self._store.rebuilt()
        self.has_read = True
        if self._memory.has_unsaved:
            await self._save()

    def note_set(self, experiment_id: str) -> None:
        """Note that variants of an experiment are drawn from eligible sets; Redis hears it soon."""
        self.chosen_from_sets.add(experiment_id)

    async def _follow_sets(self) -> None:
        known = await self._store.chosen_from_sets()
        if self.chosen_from_sets - known:
            await self._store.note_sets(self.chosen_from_sets - known)
        self.chosen_from_sets |= known

    def _without_redis(self, ask: ReceiptQuery, standby: Callable[[], str | None]) -> FirstReceipt:
        """Return what a unit gets while Redis does not answer: the same each time."""
        self.unavailable += 1
        place, other = ask.place, ask.other
        held = self._memory.find(place, other)
        receipt = standby() if held is None else held.receipt
        if receipt is None:
            return FirstReceipt(None, Certainty.UNKNOWN)
        is_sure = held is not None and held.is_sure
        is_shared = False
        for unit in (place.unit, other):
            if unit is None:
                continue
            known = self._memory.find(place._replace(unit=unit))
            if known is None:
                self._memory.keep_unsaved(place._replace(unit=unit), receipt)
            if unit == other:
                is_shared = known is None or known.receipt == receipt
        return FirstReceipt(
            receipt, Certainty.KNOWN if is_sure else Certainty.PROVISIONAL, is_shared
        )

    async def _answered(self, question: StoreQuery) -> _Outcome:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Outcome] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._ask_soon)
        self._waiting.append(_Waiting(question, answer))
        return await answer

    def _ask_soon(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), TOGETHER):
            task = asyncio.create_task(self._ask(waiting[start : start + TOGETHER]))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _ask(self, waiting: list[_Waiting]) -> None:
        outcomes: list[_Outcome] = [TimeoutError()] * len(waiting)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found = list(await self._store.ask([question for question, _ in waiting]))
            outcomes = [answer for answer, _ in zip(found, waiting, strict=True)]
        except (RedisError, OSError) as error:  # a TimeoutError is an OSError
            self._open_circuit(error)
            outcomes = [error] * len(waiting)
        except Exception as error:  # noqa: BLE001 - what Redis holds cannot be read: as if it were not there
            _log.exception("first receipts cannot be read")
            self._open_circuit(error)
            outcomes = [error] * len(waiting)
        finally:
            for (_, answer), outcome in zip(waiting, outcomes, strict=True):
                if not answer.done():
                    answer.set_result(outcome)

    async def _save(self) -> None:
        """Offer Redis what it was not there to keep; the first write wins."""
        await self._store.alias(self.aliased)
        while self._memory.has_unsaved:
            waiting = list(self._memory.unsaved(TOGETHER))
            questions = [StoreQuery(place, raw_of(text)) for place, text in waiting]
            async with asyncio.timeout(TIMEOUT_S):
                answers = await self._store.ask(questions)
            for (place, _), (receipt, standing, _) in zip(waiting, answers, strict=True):
                is_sure = standing <= Certainty.KNOWN
                self._memory.keep(place, text_of(receipt), is_sure=is_sure)

    def _open_circuit(self, error: Exception) -> None:
        if self._clock() >= self._circuit_open_until_s:
            _log.warning(
                "units are decided without what Redis holds: %s",
                str(error) or "no answer",
                extra=outage("redis"),
            )
        self._circuit_open_until_s = self._clock() + COOLDOWN_S
