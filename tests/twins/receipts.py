"""First receipts in memory: the twin of `ReceiptStore`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from streams.model.errors import DependencyError
from streams.projection.receipts import (
    ROOM,
    SHARD_BITS,
    Certainty,
    ReceiptPlace,
    StoredReceipt,
    StoreQuery,
)

Shard = tuple[str, int, int]


class MemoryReceiptStore:
    """First receipts in dictionaries.

    Attributes:
        error: Raised by every call, as Redis would when it is away.
        receipts: The first receipts.
        new: Those given out while the memory was not complete.
        aliases: Experiments in which units have two ids.
        sets: Experiments in which variants were drawn from eligible sets.
        from_log: Experiments whose receipts before the lowered share are kept.
        holder: Worker that holds the lease; it does not expire.
        server: Identity of the server, which a restart changes.
        calls: Number of questions of every call of `ask`.
        checks: Number of calls of `is_complete`.
    """

    def __init__(
        self, *, complete: bool = True, error: Exception | None = None, room: int = ROOM
    ) -> None:
        self.error = error
        self.receipts: dict[ReceiptPlace, bytes] = {}
        self.new: dict[ReceiptPlace, bytes] = {}
        self.aliases: set[str] = set()
        self.sets: set[str] = set()
        self.from_log: set[str] = set()
        self.holder: str | None = None
        self.server = "first"
        self.calls: list[int] = []
        self.checks = 0
        self._room = room
        self._places: set[tuple[str, int]] = set()
        self._complete_for: str | None = None
        self.complete = complete

    @property
    def complete(self) -> bool:
        """Whether the memory counts as complete."""
        return self._complete_for is not None

    @complete.setter
    def complete(self, value: bool) -> None:
        self._complete_for = self.server if value else None

    async def ask(self, questions: Sequence[StoreQuery]) -> list[StoredReceipt]:
        self.calls.append(len(questions))
        if self.error is not None:
            raise self.error
        return [self._answer(*question) for question in questions]

    async def replace(self, place: ReceiptPlace, before: bytes, receipt: bytes) -> bytes:
        if self.error is not None:
            raise self.error
        for kept in (self.receipts, self.new):
            if kept.get(place) == before:
                kept[place] = receipt
            if place in kept:
                return kept[place]
        return receipt

    async def aliased(self) -> frozenset[str]:
        self._check()
        return frozenset(self.aliases)

    async def alias(self, experiment_ids: Iterable[str]) -> None:
        self._check()
        self.aliases.update(experiment_ids)

    async def chosen_from_sets(self) -> frozenset[str]:
        self._check()
        return frozenset(self.sets)

    async def note_sets(self, experiment_ids: Iterable[str]) -> None:
        self._check()
        self.sets.update(experiment_ids)

    async def rebuilt(self) -> frozenset[str]:
        self._check()
        return frozenset(self.from_log)

    async def note_rebuilt(self, experiment_ids: Iterable[str]) -> None:
        self._check()
        self.from_log.update(experiment_ids)

    async def add(self, receipts: Mapping[ReceiptPlace, bytes]) -> int:
        self._check()
        added = 0
        for place, receipt in receipts.items():
            self._places.add(place[:2])
            if place not in self.receipts and self._has_room(self.receipts, place):
                self.receipts[place] = receipt
                added += 1
        return added

    async def is_complete(self) -> bool:
        self.checks += 1
        self._check()
        if self._complete_for != self.server:
            self._complete_for = None
        return self.complete

    async def lease(self, worker_id: str) -> bool:
        self._check()
        self.holder = self.holder or worker_id
        return await self.keep_lease(worker_id)

    async def keep_lease(self, worker_id: str) -> bool:
        self._check()
        return self.holder == worker_id

    async def declare_complete(self, worker_id: str) -> bool:
        self._check()
        if self.holder != worker_id:
            return False
        self.complete = True
        return True

    async def release(self, worker_id: str) -> None:
        self._check()
        self.holder = None if self.holder == worker_id else self.holder

    async def places(self) -> list[tuple[str, int]]:
        self._check()
        return sorted(self._places)

    async def free(self, experiment_id: str, phase: int) -> None:
        self._check()
        for kept in (self.receipts, self.new):
            for place in [each for each in kept if each[:2] == (experiment_id, phase)]:
                del kept[place]
        self._places.discard((experiment_id, phase))
        self.aliases.discard(experiment_id)
        self.sets.discard(experiment_id)
        self.from_log.discard(experiment_id)

    def flush(self) -> None:
        """Lose everything, as a Redis that was emptied."""
        for kept in (self.receipts, self.new, self._places, self.aliases, self.sets, self.from_log):
            kept.clear()
        self.holder, self.complete = None, False

    def _check(self) -> None:
        if self.error is not None:
            raise DependencyError("redis", "away") from self.error

    def _has_room(self, kept: Mapping[ReceiptPlace, bytes], place: ReceiptPlace) -> bool:
        return Counter(map(_shard, kept))[_shard(place)] < self._room

    def _keep(
        self, place: ReceiptPlace, receipt: bytes, *, is_sure: bool, is_complete: bool = True
    ) -> Certainty:
        is_first = (self.complete and is_complete) or is_sure
        kept = self.receipts if is_first else self.new
        if not self._has_room(kept, place):
            return Certainty.FULL
        kept[place] = receipt
        if not is_first:
            return Certainty.PROVISIONAL
        self._places.add(place[:2])
        return Certainty.FIRST

    def _find(self, place: ReceiptPlace, *, is_complete: bool) -> tuple[bytes, Certainty]:
        if place in self.receipts:
            return self.receipts[place], Certainty.KNOWN
        if place not in self.new:
            return b"", Certainty.UNKNOWN
        receipt = self.new[place]
        if not (self.complete and is_complete):
            return receipt, Certainty.PROVISIONAL
        if self._keep(place, receipt, is_sure=True) is Certainty.FULL:
            return receipt, Certainty.FULL
        del self.new[place]
        return receipt, Certainty.KNOWN

    def _answer(
        self,
        place: ReceiptPlace,
        receipt: bytes,
        is_sure: bool,
        other: int | None,
        may_be_logged: bool,
    ) -> StoredReceipt:
        settled = not may_be_logged
        found, standing = self._find(place, is_complete=settled)
        if is_sure and standing is not Certainty.KNOWN:
            self._keep(place, receipt, is_sure=True)
            found, standing = receipt, Certainty.KNOWN
        if other is None:
            if not found and receipt:
                found, standing = (
                    receipt,
                    self._keep(place, receipt, is_sure=False, is_complete=settled),
                )
            return StoredReceipt(found, standing, is_shared=False)
        second = place._replace(unit=other)
        found2, standing2 = self._find(second, is_complete=settled)
        if not found and found2:
            found, standing = found2, standing2
            is_known = standing is Certainty.KNOWN
            self._keep(place, found, is_sure=is_known, is_complete=settled)
        elif not found and receipt:
            found = receipt
            standing = self._keep(place, receipt, is_sure=False, is_complete=settled)
        if found and not found2:
            is_known = standing is Certainty.KNOWN
            self._keep(second, found, is_sure=is_known, is_complete=settled)
            found2 = found
        is_shared = bool(found) and found == found2
        if is_shared:
            self.aliases.add(place.experiment_id)
        return StoredReceipt(found, standing, is_shared)


def _shard(place: ReceiptPlace) -> Shard:
    return place.experiment_id, place.phase, place.unit >> 64 - SHARD_BITS
