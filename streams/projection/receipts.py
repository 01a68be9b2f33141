"""First receipts in Redis: they keep the variant of a unit for the lifetime of its experiment.

The receipts of an experiment are kept in 65,536 hashes for each of its phases, by the first 16 bits
of the unit hash: their names are derived from the experiment, so that they can be removed without a
search, and a hash of a hundred receipts takes half the memory of as many keys. A shard expires
after `idle_s` seconds without requests, so that unused receipts do not stay forever. `ROOM` bounds
the size of one experiment.

Receipts can be rebuilt from the log. Until then, units without an entry may have a receipt in the
log; receipts issued in the meantime are kept separately (`PROVISIONAL`), and become their first
only when the store is complete and has no other for them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from redis.asyncio import Redis

from streams.projection import receipt_scripts
from streams.projection.connection import redis_errors
from streams.projection.keys import Keys

SHARD_BITS = 16
N_SHARDS = 1 << SHARD_BITS

ROOM = 1_024
"""Receipts of one shard, at most: 67 million units of one experiment and phase, about 6 GB. Further
units are assigned by their hash under the allocation in force, as without Redis."""

NEW_IDLE_S = 7 * 86_400
"""Time for which a provisional receipt is kept without being used."""

LEASE_S = 30
"""Time for which a dead worker prevents others from rebuilding."""

_UNIT = struct.Struct(">Q")
_SHIFT = 64 - SHARD_BITS
_UNLINKED_TOGETHER = 1_024


class ReceiptPlace(NamedTuple):
    """Key of a stored receipt.

    Attributes:
        experiment_id: The experiment.
        phase: Its phase: units are assigned afresh in each.
        unit: Unit hash.
    """

    experiment_id: str
    phase: int
    unit: int


class Certainty(IntEnum):
    """Certainty of a receipt."""

    FIRST = 0
    """Stored now: the unit had none."""
    KNOWN = 1
    """The unit had it before."""
    PROVISIONAL = 2
    """The store is not complete, and the unit may have an earlier one."""
    FULL = 3
    """No room is left: it is not stored."""
    UNKNOWN = 4
    """The unit has none, and none was offered."""


class StoreQuery(NamedTuple):
    """A look-up of the first receipt of a unit.

    Attributes:
        place: The unit.
        receipt: Receipt to store if it has none, as bytes; empty to store nothing.
        is_sure: Whether `receipt` is known to be its first.
        other: Unit hash of a second id of the same unit; None without one.
        may_be_logged: Whether its first receipt may exist only in the log, although the store
            counts as complete; then `receipt` is `PROVISIONAL`.
    """

    place: ReceiptPlace
    receipt: bytes
    is_sure: bool = False
    other: int | None = None
    may_be_logged: bool = False


class StoredReceipt(NamedTuple):
    """The first receipt of a unit.

    Attributes:
        receipt: Its bytes; empty if the unit has none.
        standing: Its certainty.
        is_shared: Whether both ids of the unit have this receipt.
    """

    receipt: bytes
    standing: Certainty
    is_shared: bool


class ReceiptStore:
    """First receipts by experiment, phase and unit.

    Args:
        client: A client that does not decode responses.
        keys: Names to use.
        idle_s: Seconds after which an unused shard expires.
        room: Receipts of one shard, at most.
    """

    def __init__(self, client: Redis, keys: Keys, idle_s: int, *, room: int = ROOM) -> None:
        self._client = client
        self._keys = keys
        self._idle_s = idle_s
        self._room = room
        self._ask = client.register_script(receipt_scripts.ASK)
        self._replace = client.register_script(receipt_scripts.REPLACE)
        self._add = client.register_script(receipt_scripts.ADD)
        self._declare = client.register_script(receipt_scripts.DECLARE)
        self._keep_lease = client.register_script(receipt_scripts.KEEP_LEASE)

    async def ask(self, questions: Sequence[StoreQuery]) -> list[StoredReceipt]:
        """Return the first receipts of units; the unit id takes precedence over the other id.

        Raises:
            RedisError, OSError: Redis does not answer. It may have stored the offered receipts.
        """
        keys = self._keys
        names = [keys.receipts_complete, keys.receipt_places, keys.receipt_aliases]
        args: list[str | int | bytes] = [self._idle_s, NEW_IDLE_S, self._room]
        for place, receipt, is_sure, other, may_be_logged in questions:
            name = self._shard(*place)
            names += (name, name + ":new")
            second = b""
            if other is not None:
                second = _UNIT.pack(other)
                name = self._shard(place.experiment_id, place.phase, other)
                names += (name, name + ":new")
            args += (
                f"{place.experiment_id}/{place.phase}",
                place.experiment_id,
                _UNIT.pack(place.unit),
                receipt,
                b"1" if is_sure else b"0",
                b"1" if may_be_logged else b"0",
                second,
            )
        found = await self._ask(keys=names, args=args)
        return [
            StoredReceipt(receipt, Certainty(standing), bool(s)) for receipt, standing, s in found
        ]

    async def replace(self, place: ReceiptPlace, before: bytes, receipt: bytes) -> bytes:
        """Replace the receipt of a unit whose first one no key verifies any more.

        Returns:
            The receipt of the unit: another one if a different process was faster.

        Raises:
            RedisError, OSError: Redis does not answer.
        """
        name = self._shard(*place)
        args = [_UNIT.pack(place.unit), before, receipt]
        return bytes(await self._replace(keys=[name, name + ":new"], args=args))

    async def aliased(self) -> frozenset[str]:
        """Return the ids of the experiments in which units have two ids.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            found = await self._command("SMEMBERS", self._keys.receipt_aliases)
        return frozenset(name.decode() for name in found)

    async def alias(self, experiment_ids: Iterable[str]) -> None:
        """Note that units of experiments have two ids.

        Raises:
            DependencyError: Redis does not answer.
        """
        names = sorted(experiment_ids)
        if names:
            with redis_errors():
                await self._command("SADD", self._keys.receipt_aliases, *names)

    async def chosen_from_sets(self) -> frozenset[str]:
        """Return the ids of the experiments in which variants were drawn from eligible sets.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            found = await self._command("SMEMBERS", self._keys.receipt_sets)
        return frozenset(name.decode() for name in found)

    async def note_sets(self, experiment_ids: Iterable[str]) -> None:
        """Note that variants of experiments were drawn from eligible sets.

        Raises:
            DependencyError: Redis does not answer.
        """
        names = sorted(experiment_ids)
        if names:
            with redis_errors():
                await self._command("SADD", self._keys.receipt_sets, *names)

    async def rebuilt(self) -> frozenset[str]:
        """Return the ids of the experiments noted by `note_rebuilt`.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            found = await self._command("SMEMBERS", self._keys.receipts_rebuilt)
        return frozenset(name.decode() for name in found)

    async def note_rebuilt(self, experiment_ids: Iterable[str]) -> None:
        """Record that the receipts of experiments from before their share was lowered are stored.

        Raises:
            DependencyError: Redis does not answer.
        """
        names = sorted(experiment_ids)
        if names:
            with redis_errors():
                await self._command("SADD", self._keys.receipts_rebuilt, *names)

    async def add(self, receipts: Mapping[ReceiptPlace, bytes]) -> int:
        """Keep receipts from the log for units that have none; return how many had none.

        Raises:
            DependencyError: Redis does not answer; some may have been kept.
        """
        if not receipts:
            return 0
        names = [self._shard(*place) for place in receipts]
        args: list[int | bytes] = [self._idle_s, self._room]
        for place, receipt in receipts.items():
            args += (_UNIT.pack(place.unit), receipt)
        places = sorted({f"{place.experiment_id}/{place.phase}" for place in receipts})
        with redis_errors():
            await self._command("SADD", self._keys.receipt_places, *places)
            return int(await self._add(keys=names, args=args))

    async def is_complete(self) -> bool:
        """Return whether the store is complete; completeness is bound to one server process.

        A restarted server may have lost its newest data.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            mark = await self._client.get(self._keys.receipts_complete)
            if mark is None:
                return False
            if mark == (await self._server()).encode():
                return True
            await self._client.delete(self._keys.receipts_complete)
        return False

    async def lease(self, worker_id: str) -> bool:
        """Acquire the rebuild lease; return whether this worker holds it.

        Raises:
            DependencyError: Redis does not answer.
        """
        name = self._keys.receipts_lease
        with redis_errors():
            if await self._client.set(name, worker_id, nx=True, ex=LEASE_S):
                return True
        return await self.keep_lease(worker_id)

    async def keep_lease(self, worker_id: str) -> bool:
        """Renew the rebuild lease; return False if it was lost, for example after a flush.

        Raises:
            DependencyError: Redis does not answer.
        """
        args: list[str | int] = [worker_id, LEASE_S]
        with redis_errors():
            return bool(await self._keep_lease(keys=[self._keys.receipts_lease], args=args))

    async def declare_complete(self, worker_id: str) -> bool:
        """Declare that no receipt is missing; return False if the lease is another worker's.

        Raises:
            DependencyError: Redis does not answer.
        """
        keys = [self._keys.receipts_complete, self._keys.receipts_lease]
        with redis_errors():
            return bool(await self._declare(keys=keys, args=[worker_id, await self._server()]))

    async def release(self, worker_id: str) -> None:
        """Release the lease, if it is held.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            if await self._client.get(self._keys.receipts_lease) == worker_id.encode():
                await self._client.delete(self._keys.receipts_lease)

    async def places(self) -> list[tuple[str, int]]:
        """Return (experiment id, phase) of all that have receipts.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            found = await self._command("SMEMBERS", self._keys.receipt_places)
        pairs = (name.decode().rpartition("/") for name in found)
        return sorted((experiment_id, int(phase)) for experiment_id, _, phase in pairs)

    async def free(self, experiment_id: str, phase: int) -> None:
        """Remove the receipts of a phase of an experiment.

        Raises:
            DependencyError: Redis does not answer; it can be called again.
        """
        with redis_errors():
            for start in range(0, N_SHARDS, _UNLINKED_TOGETHER):
                names = [
                    self._keys.receipts(experiment_id, phase, shard)
                    for shard in range(start, start + _UNLINKED_TOGETHER)
                ]
                await self._client.unlink(*names, *(f"{name}:new" for name in names))
            await self._command("SREM", self._keys.receipt_places, f"{experiment_id}/{phase}")
            await self._command("SREM", self._keys.receipt_aliases, experiment_id)
            await self._command("SREM", self._keys.receipt_sets, experiment_id)
            await self._command("SREM", self._keys.receipts_rebuilt, experiment_id)

    async def _server(self) -> str:
        return str((await self._client.info("server"))["run_id"])

    async def _command(self, *words: str | bytes) -> Any:
        return await self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    def _shard(self, experiment_id: str, phase: int, unit: int) -> str:
        return self._keys.receipts(experiment_id, phase, unit >> _SHIFT)
