"""Reads snapshots, answers and heartbeats: the API's side of Redis."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from streams.experiments.history import HistoryEntry, entries_of
from streams.experiments.snapshot import Snapshot
from streams.experiments.time_points import TimePoint
from streams.model.errors import MESSAGE_CHARACTERS, DependencyError, EventError, one_line
from streams.model.events import Answer
from streams.model.generations import FIRST
from streams.model.number_texts import whole_number
from streams.projection.connection import redis_errors
from streams.projection.keys import Keys
from streams.projection.writer import decode_answer
from streams.wire.snapshots import decode_snapshot
from streams.wire.time_points import decode_time_point

_CHUNK = 200
"""Snapshots of one round trip: 2 MB at 10 kB each."""

_POLL_S = 0.25
"""Interval of polling for an answer besides its announcement, which Redis may drop."""

_SILENCE_S = 1.0

_TURN = 10
"""Snapshots that are decoded in one turn of the event loop: some milliseconds."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProjectedSnapshots:
    """Snapshots that were read together, all of one generation.

    Attributes:
        epoch: Epoch of the change of generations that made this one served; 0 for the first.
            Of two readings the one with the larger epoch is current.
        snapshots: The snapshots.
        unreadable: Experiments whose snapshot cannot be decoded, with the reason.
        names: All existing experiments; None if only some were requested.
    """

    epoch: int
    snapshots: list[Snapshot]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] | None = None

    def all(self) -> list[Snapshot]:
        """Return the snapshots, for readers that need every one.

        Raises:
            EventError: one cannot be decoded (`UNDECODABLE_RECORD`).
        """
        for name, reason in self.unreadable.items():
            raise EventError("UNDECODABLE_RECORD", f"the snapshot of {name} in Redis: {reason}")
        return self.snapshots


class ProjectionReader:
    """Reader of the projection of the active generation.

    The active generation is looked up before each reading. If it is missing in Redis, for example
    after a flush, the last known one is used.

    Args:
        client: A client that does not decode responses.
        keys: Names to use.
        is_pinned: Whether to read the generation of `keys`, regardless of the active one.
    """

    def __init__(self, client: Redis, keys: Keys, *, is_pinned: bool = False) -> None:
        self._client = client
        self._keys = keys
        self._is_pinned = is_pinned
        self._last = (keys, 0)

    async def snapshots(self, experiment_ids: Sequence[str]) -> ProjectedSnapshots:
        """Return the newest snapshots of those experiments that have one.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            keys, epoch = await self._active()
            payloads = await self._fields(keys, experiment_ids, "payload")
        return await _decoded(epoch, experiment_ids, payloads)

    async def conclusion(self, experiment_id: str) -> Snapshot | None:
        """Return the snapshot of an experiment as of its conclusion; None before it is published.

        Raises:
            DependencyError: Redis does not answer, or holds none that can be read.
        """
        with redis_errors():
            payload = await self._client.get(self._keys.conclusion(experiment_id))
        if payload is None:
            return None
        try:
            return decode_snapshot(cast(bytes, payload))
        except EventError as error:
            raise DependencyError("redis", f"{error.code}: {error.message}") from error

    async def history(self, experiment_id: str) -> tuple[HistoryEntry, ...]:
        """Return the history of an experiment, oldest first; empty before the first entry.

        Raises:
            DependencyError: Redis does not answer, or holds none that can be read.
        """
        with redis_errors():
            name = self._keys.history(experiment_id)
            payload = await cast(Awaitable[bytes | None], self._client.hget(name, "payload"))
        if payload is None:
            return ()
        try:
            return entries_of(payload)
        except (ValueError, TypeError) as error:
            raise DependencyError("redis", f"{name} holds no history: {error}") from error

    async def time_point_slots(self, experiment_id: str) -> list[int]:
        """Return the slots of the points of the time series of an experiment, in order.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            found = await cast(
                Awaitable[list[bytes]], self._client.hkeys(self._keys.timeseries(experiment_id))
            )
        return sorted(int(each) for each in found if each.isdigit())

    async def time_points(self, experiment_id: str, slots: Sequence[int]) -> list[TimePoint]:
        """Return points of the time series of an experiment, in order of their time.

        Points that were removed in the meantime or are unreadable, such as those of a newer
        release, are left out.

        Args:
            experiment_id: The experiment.
            slots: Their slots.

        Raises:
            DependencyError: Redis does not answer.
        """
        if not slots:
            return []
        with redis_errors():
            payloads = await cast(
                Awaitable[list[bytes | None]],
                self._client.hmget(self._keys.timeseries(experiment_id), [*map(str, slots)]),
            )
        return await in_order([each for each in payloads if each is not None])

    async def newer(self, known: Mapping[str, int]) -> ProjectedSnapshots:
        """Return the snapshots of all experiments whose version is not the `known` one.

        Args:
            known: Version by experiment id; empty for all snapshots.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            keys, epoch = await self._active()
            ids = sorted(
                name.decode(errors="replace") for name in await self._members(keys.experiments)
            )
            versions = await self._fields(keys, ids, "version")
            changed = [
                name
                for name, version in zip(ids, versions, strict=True)
                if version is not None and b"%d" % known.get(name, -1) != version
            ]
            payloads = await self._fields(keys, changed, "payload")
        return replace(await _decoded(epoch, changed, payloads), names=frozenset(ids))

    async def active_generation(self) -> int:
        """Return which generation is active.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            return (await self._active())[0].generation

    async def announcements(self) -> AsyncIterator[tuple[str, int] | None]:
        """Yield (experiment id, version) of every snapshot as it is written.

        A switch to another generation comes as (`generation`, its number).

        Yields None about every second without any, so that the caller sees that it is connected.

        Raises:
            DependencyError: the connection broke; some announcements may be lost.
        """
        with redis_errors():
            async with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                await channel.subscribe(self._keys.announce)
                while True:
                    message = await channel.get_message(timeout=_SILENCE_S)
                    if message is None:
                        yield None
                    else:
                        name, _, text = message["data"].decode(errors="replace").partition(" ")
                        version = whole_number(text)
                        if version is not None:  # anything else is for other programs
                            yield name, version

    async def answer(self, command_id: str) -> Answer | None:
        """Return the answer to a command, if it exists yet.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            payload = await self._client.get(self._keys.answer(command_id))
        if payload is None:
            return None
        try:
            return decode_answer(command_id, cast(bytes, payload))
        except (ValueError, TypeError) as error:
            # Treated as missing: the worker answers a repeated command again.
            _log.warning("the answer to command %s cannot be read: %s", command_id, error)
            return None

    async def wait_for_answer(self, command_id: str, timeout_s: float) -> Answer | None:
        """Return the answer to a command, or None if it has not arrived after `timeout_s` seconds.

        Raises:
            DependencyError: Redis does not answer.
        """
        clock = asyncio.get_running_loop().time
        until_s = clock() + timeout_s
        with redis_errors():
            async with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                await channel.subscribe(self._keys.answers)
                try:
                    async with asyncio.timeout_at(until_s):
                        # By the clock too: before Python 3.12 asyncio.wait_for, by which the client
                        # sends, may swallow the one cancellation of a timeout.
                        while (answer := await self.answer(command_id)) is None:
                            if clock() >= until_s:
                                return None
                            await _announced(channel, command_id, min(until_s, clock() + _POLL_S))
                except TimeoutError:
                    return None
                return answer

    async def live_workers(self) -> list[dict[str, int]]:
        """Return the dead letters of each live worker of the active generation.

        They are counted by code, since the start of the worker. A worker that recovers its tables
        has no heartbeat yet.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            keys, _ = await self._active()
            signs = await self._signs()
        return [
            {str(code): int(count) for code, count in sign.get("deadLetters", {}).items()}
            for sign in signs
            if _generation(sign) == keys.generation
        ]

    async def misplaced(self) -> int:
        """Return how many observations the live workers have moved to their own partitions.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            return sum(int(sign.get("misplaced", 0)) for sign in await self._signs())

    async def lacking(self) -> tuple[str, ...]:
        """Return the missing optional rights of live workers, as `WRITE on topic NAME`.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            signs = await self._signs()
        return tuple(sorted({str(each) for sign in signs for each in sign.get("lacking", ())}))

    async def workers_by_generation(self) -> Counter[int]:
        """Return the number of live workers of each generation.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            return Counter(map(_generation, await self._signs()))

    async def _signs(self) -> list[dict[str, Any]]:
        ids = await self._members(self._keys.workers)
        if not ids:
            return []
        names = sorted(name.decode(errors="replace") for name in ids)
        signs = await self._client.mget(map(self._keys.worker, names))
        found = []
        for name, sign in zip(names, signs, strict=True):
            if sign is None:
                continue
            try:
                found.append(dict(orjson.loads(sign)))
            except (ValueError, TypeError) as error:
                _log.warning("the heartbeat of worker %s cannot be read: %s", name, error)
        return found

    async def _active(self) -> tuple[Keys, int]:
        if self._is_pinned:
            return self._keys, 0
        generation, epoch = await cast(
            Awaitable[list[bytes | None]],
            self._client.hmget(self._keys.active_generation, ["generation", "epoch"]),
        )
        if generation is not None and epoch is not None:
            if not (generation.isdigit() and epoch.isdigit()):
                name = self._keys.active_generation
                raise DependencyError("redis", f"{name} holds no generation")
            self._last = replace(self._keys, generation=int(generation)), int(epoch)
        return self._last

    async def _members(self, key: str) -> set[bytes]:
        return cast(set[bytes], await self._client.smembers(key))

    async def _fields(self, keys: Keys, ids: Sequence[str], field: str) -> list[bytes | None]:
        found: list[bytes | None] = []
        for start in range(0, len(ids), _CHUNK):
            pipeline = self._client.pipeline(transaction=False)
            for name in ids[start : start + _CHUNK]:
                pipeline.hget(keys.snapshot(name), field)
            found += await pipeline.execute()
        return found


async def _decoded(
    epoch: int, ids: Sequence[str], payloads: Sequence[bytes | None]
) -> ProjectedSnapshots:
    """Return the readable snapshots; an undecodable one does not affect others."""
    snapshots, unreadable = [], {}
    for number, (name, payload) in enumerate(zip(ids, payloads, strict=True)):
        if payload is None:
            continue
        if number % _TURN == _TURN - 1:
            await asyncio.sleep(0)  # requests continue meanwhile
        try:
            snapshots.append(decode_snapshot(payload))
        except Exception as error:  # noqa: BLE001 - whatever a foreign payload does to a decoder
            unreadable[name] = one_line(f"{type(error).__name__}: {error}", MESSAGE_CHARACTERS)
    return ProjectedSnapshots(epoch, snapshots, unreadable)


def _generation(sign: Mapping[str, Any]) -> int:
    return int(sign.get("generation", FIRST))


async def _announced(channel: PubSub, command_id: str, until_s: float) -> None:
    """Return when the command's answer is announced, or at `until_s` in case that was lost."""
    wanted = command_id.encode()
    clock = asyncio.get_running_loop().time
    while (left_s := until_s - clock()) > 0:
        message = await channel.get_message(timeout=left_s)
        if message is not None and message["data"] == wanted:
            return


async def in_order(payloads: Sequence[bytes]) -> list[TimePoint]:
    """Return the readable points, in order of their time."""
    points = []
    for number, payload in enumerate(payloads):
        if number % _TURN == _TURN - 1:
            await asyncio.sleep(0)
        try:
            points.append(decode_time_point(payload))
        except EventError as error:
            _log.warning("a point of a time series cannot be read: %s", error)
    return sorted(points, key=lambda point: (point.at_ms, point.version))
