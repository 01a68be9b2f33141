"""Writer of snapshots, answers and heartbeats. Repetition and reordering are harmless."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, cast

import orjson
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from streams.experiments.snapshot import Snapshot
from streams.model.events import Answer
from streams.model.generations import Generations
from streams.projection.connection import redis_errors
from streams.projection.heartbeat_script import HEARTBEAT, LOOKED_AT
from streams.projection.keys import Keys
from streams.wire.schema_gate import SchemaGate

ANSWER_TTL_S = 86_400
"""Time for which a repeated command gets its stored answer, without a worker."""

# Two workers may write one experiment around a rebalance; the older write must lose (the order is
# that of `Snapshot.order`). Of the same version, statistics replace a failed evaluation: a mended
# worker evaluates the same cells again.
_SET_IF_NEWER = """
local fields = redis.call('HMGET', KEYS[1], 'version', 'failed', 'commands')
local current, failed, commands = unpack(fields)
if current then
  local before, after = tonumber(commands or ARGV[6]), tonumber(ARGV[6])
  local known, new = tonumber(current), tonumber(ARGV[1])
  local is_mended = known == new and failed == '1' and ARGV[5] == '0'
  if before > after then return 0 end
  if before == after and known >= new and not is_mended then return 0 end
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'payload', ARGV[2], 'failed', ARGV[5],
  'commands', ARGV[6])
redis.call('PUBLISH', ARGV[3], ARGV[4] .. ' ' .. ARGV[1])
return 1
"""

# Of two workers around a rebalance, the one that has read less of the log must lose.
_SET_IF_LATER = """
local offset, actions = unpack(redis.call('HMGET', KEYS[1], 'offset', 'actions'))
if offset then
  local known, new = tonumber(offset), tonumber(ARGV[1])
  if known > new or (known == new and tonumber(actions) > tonumber(ARGV[2])) then return 0 end
end
redis.call('HSET', KEYS[1], 'offset', ARGV[1], 'actions', ARGV[2], 'payload', ARGV[3])
return 1
"""

# A worker that has not read the newest change must lose, also in a Redis that was emptied since.
_POINT = """
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and tonumber(epoch) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'generation', ARGV[2])
redis.call('PUBLISH', ARGV[3], 'generation ' .. ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A snapshot to write.

    Attributes:
        experiment_id: The experiment.
        version: Snapshot version, below 2**53.
        payload: Avro Snapshot.
        is_failed: Whether its evaluation failed, so that one of the same version may replace it.
        n_commands: Version of the experiment: one with more is newer, whatever `version` it has.
    """

    experiment_id: str
    version: int
    payload: bytes
    is_failed: bool = False
    n_commands: int = 0

    @classmethod
    def of(cls, snapshot: Snapshot, payload: bytes) -> Self:
        """Return the record of a snapshot that is encoded as `payload`."""
        return cls(
            snapshot.experiment.id,
            snapshot.version,
            payload,
            snapshot.failure is not None,
            snapshot.experiment.version,
        )


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """The history of an experiment to write.

    Attributes:
        experiment_id: The experiment.
        version: Offset of its last command, and number of its recommended actions that are logged.
        payload: JSON of its entries, oldest first.
    """

    experiment_id: str
    version: tuple[int, int]
    payload: bytes


class ProjectionWriter:
    """Writer of the projection, for workers.

    The active generation is in the log. Every writer, of any generation, writes it first, so that
    an emptied Redis never shows another one.

    Args:
        client: A client that does not decode responses.
        keys: Names to use.
        gate: Which versions of schemas this process reads and writes, for its heartbeat.
    """

    def __init__(self, client: Redis, keys: Keys, gate: SchemaGate | None = None) -> None:
        self._client = client
        self._keys = keys
        self._gate = gate
        self._generations = Generations()
        self._heartbeat = client.register_script(HEARTBEAT)
        self._point = client.register_script(_POINT)
        self._set_if_newer = client.register_script(_SET_IF_NEWER)
        self._set_if_later = client.register_script(_SET_IF_LATER)

    def follow(self, generations: Generations) -> None:
        """Set the active generation, from the next write on."""
        self._generations = generations

    async def write_snapshots(self, records: Sequence[SnapshotRecord]) -> int:
        """Write and announce snapshots; return how many Redis did not have as new or newer.

        Raises:
            DependencyError: Redis does not answer; some may have been written.
        """
        with redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            await self._point_to_active(pipeline)
            for record in records:
                pipeline.sadd(self._keys.experiments, record.experiment_id)
                await self._set_if_newer(
                    keys=[self._keys.snapshot(record.experiment_id)],
                    args=[
                        record.version,
                        record.payload,
                        self._keys.announce,
                        record.experiment_id,
                        int(record.is_failed),
                        record.n_commands,
                    ],
                    client=pipeline,
                )
            results = await pipeline.execute()
            return sum(results[2::2])

    async def write_conclusions(self, payloads: Mapping[str, bytes]) -> None:
        """Write the snapshots as of conclusions, by experiment id.

        Raises:
            DependencyError: Redis does not answer; some may have been written.
        """
        with redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            for name, payload in payloads.items():
                pipeline.set(self._keys.conclusion(name), payload)
            await pipeline.execute()

    async def write_histories(self, records: Sequence[HistoryRecord]) -> None:
        """Write histories that Redis does not have as new or newer.

        Raises:
            DependencyError: Redis does not answer; some may have been written.
        """
        with redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            for record in records:
                await self._set_if_later(
                    keys=[self._keys.history(record.experiment_id)],
                    args=[*record.version, record.payload],
                    client=pipeline,
                )
            await pipeline.execute()

    async def write_time_points(self, changes: Mapping[str, Mapping[int, bytes | None]]) -> None:
        """Write points of time series, and remove those that are None.

        Args:
            changes: Encoded points by slot, by experiment id.

        Raises:
            DependencyError: Redis does not answer; some may have been written.
        """
        with redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            for name, points in changes.items():
                key = self._keys.timeseries(name)
                gone = [str(slot) for slot, value in points.items() if value is None]
                for slot, value in points.items():
                    if value is not None:
                        pipeline.hset(key, str(slot), value)
                if gone:
                    pipeline.hdel(key, *gone)
            await pipeline.execute()

    async def time_point_slots(self, experiment_id: str) -> frozenset[int]:
        """Return the slots of which Redis has a point.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            found = await cast(
                Awaitable[list[bytes]], self._client.hkeys(self._keys.timeseries(experiment_id))
            )
        return frozenset(int(each) for each in found if each.isdigit())

    async def remove(self, experiment_ids: Sequence[str]) -> None:
        """Remove all data of ended experiments except their answers.

        Raises:
            DependencyError: Redis does not answer; some may have been removed.
        """
        with redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            for name in experiment_ids:
                pipeline.unlink(
                    self._keys.snapshot(name),
                    self._keys.conclusion(name),
                    self._keys.history(name),
                    self._keys.timeseries(name),
                )
                pipeline.srem(self._keys.experiments, name)
            await pipeline.execute()

    async def write_answers(self, answers: Iterable[Answer]) -> None:
        """Write and announce answers to commands.

        Raises:
            DependencyError: Redis does not answer; some may have been written.
        """
        with redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            for answer in answers:
                pipeline.set(
                    self._keys.answer(answer.command_id), encode_answer(answer), ex=ANSWER_TTL_S
                )
                pipeline.publish(self._keys.answers, answer.command_id)
            await pipeline.execute()

    async def heartbeat(
        self,
        worker_id: str,
        ttl_s: int,
        dead_letters: Mapping[str, int] | None = None,
        *,
        misplaced: int = 0,
        lacking: Sequence[str] = (),
    ) -> str:
        """Send the heartbeat of a worker, and return the identity of the data in Redis.

        The identity changes when Redis was emptied, restarted or replaced: then everything must be
        written again.

        Args:
            worker_id: Name of the worker.
            ttl_s: Seconds until it counts as dead.
            dead_letters: How many it has written since its start, by code.
            misplaced: Observations it has moved to their own partitions since its start.
            lacking: Its missing optional rights.

        Raises:
            DependencyError: Redis does not answer.
        """
        sign = orjson.dumps(
            {
                "deadLetters": dict(dead_letters or {}),
                "misplaced": misplaced,
                "lacking": list(lacking),
                "generation": self._keys.generation,
                "reads": None if self._gate is None else dict(self._gate.reads),
                "writes": None if self._gate is None else self._gate.written,
            }
        )
        with redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            await self._point_to_active(pipeline)
            if self._gate is not None and (levels := self._gate.levels.versions) is not None:
                # They only grow, so the order of two writing workers does not matter.
                pipeline.set(self._keys.schemas, orjson.dumps(levels))
            await self._heartbeat(
                keys=[self._keys.worker(worker_id), self._keys.workers],
                args=[worker_id, sign, ttl_s, self._keys.worker(""), LOOKED_AT],
                client=pipeline,
            )
            pipeline.set(self._keys.projection, secrets.token_hex(8), nx=True)
            pipeline.get(self._keys.projection)
            pipeline.info("server")
            *_, mark, server = await pipeline.execute()
            return f"{mark.decode()}/{server['run_id']}"

    async def sign_off(self, worker_id: str) -> None:
        """Remove a worker's heartbeat.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.delete(self._keys.worker(worker_id))
            pipeline.srem(self._keys.workers, worker_id)
            await pipeline.execute()

    async def remove_snapshots(self) -> int:
        """Remove the snapshots of a generation that is no longer written; return how many.

        Raises:
            DependencyError: Redis does not answer; some may have been removed.
        """
        with redis_errors():
            ids = cast(set[bytes], await self._client.smembers(self._keys.experiments))
            pipeline = self._client.pipeline(transaction=False)
            for name in ids:
                pipeline.unlink(self._keys.snapshot(name.decode()))
            pipeline.unlink(self._keys.experiments, self._keys.projection)
            await pipeline.execute()
            return len(ids)

    async def _point_to_active(self, pipeline: Pipeline) -> None:
        await self._point(
            keys=[self._keys.active_generation],
            args=[self._generations.epoch, self._generations.active, self._keys.announce],
            client=pipeline,
        )


def encode_answer(answer: Answer) -> bytes:
    """Return the JSON of an answer, as kept in Redis."""
    return orjson.dumps(
        {
            "experiment": answer.experiment,
            "accepted": answer.accepted,
            "version": answer.version,
            "code": answer.code,
            "message": answer.message,
            "path": answer.path,
            "status": answer.status,
        }
    )


def decode_answer(command_id: str, payload: bytes) -> Answer:
    """Return the answer in `payload`; the inverse of `encode_answer`."""
    return Answer(command_id=command_id, **orjson.loads(payload))
