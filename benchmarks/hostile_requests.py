"""Memory of an API process under hostile requests, for as long as you like.

    python -m benchmarks.hostile_requests [--minutes 60] [--rate 15]

starts the embedded stack and one API with keys, sends it hostile requests at a bounded rate, and a
good assignment among them every second. The resident memory of the API is written every few seconds
to benchmarks/results/hostile_requests.json, and drawn into docs/reference/hostile-requests.svg at
the end. The kinds of requests take turns, so every one of them is sent every few seconds. Beside
them, users that were never seen are assigned in experiments that adapt and keep the receipt of
every user. The API holds the newest receipts, which is bounded, and is filled up before memory is
measured; Redis holds all of them for as long as their experiment lives, so it grows by design.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil
from redis.asyncio import Redis

from api.receipts.cache import CAPACITY
from benchmarks.hostile_plot import draw
from benchmarks.stack import names, publish, running_stack, snapshot
from streams.api_keys import new_key
from streams.model.ids import experiment_id
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.receipts import ReceiptStore
from streams.settings import Settings

RESULT = Path(__file__).with_name("results") / "hostile_requests.json"
PLOT = Path(__file__).parents[1] / "docs" / "reference" / "hostile-requests.svg"
SAMPLE_S = 5.0
WARM_UP_SHARE = 0.1
"""Share of the run after which memory counts as settled."""
SILENT = 200
"""Connections that say nothing, open at any time."""
PATIENCE_S = 20.0
MIB = 2**20
EXPERIMENTS = 20
STICKY = 10
"""Experiments in which users keep their first receipt."""
USERS = 20
"""Users that were never seen, a second; each gets a receipt of every such experiment."""
TOGETHER = 100
"""Users of one request while the memory of receipts is filled."""


@dataclass
class Target:
    """An API, and what a good request to it is.

    Attributes:
        answers: Number of answers by kind of request and status; 0 for a closed connection.
        latencies_s: Seconds of the good assignments.
        receipts: First receipts given out to users that were never seen.
    """

    port: int
    key: str
    experiment: str
    sticky: list[str]
    answers: dict[str, Counter[int]] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)
    receipts: int = 0

    def head(self, method: str, path: str, *headers: str, length: int | None = None) -> bytes:
        """Return the head of a request with a good key."""
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: api",
            f"Authorization: Bearer {self.key}",
            *headers,
        ]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode()

    def post(self, path: str, body: bytes, *headers: str) -> bytes:
        """Return a request with a body."""
        return self.head("POST", path, *headers, length=len(body)) + body


def requests_of(target: Target) -> dict[str, bytes]:
    """Return hostile requests by name, each made once and sent again and again."""
    assign = f"/experiments/{target.experiment}/assign"
    long = b'"' + b"x" * 10_000 + b'"'
    units = b",".join([b'{"userId":"u"}'] * 100)
    observations = json.dumps([{"assignmentId": "AQ", "metric": "click", "value": 1}] * 5_000)
    return {
        "headers of 1 MB": target.head("GET", "/health")[:-2] + b"X: %b\r\n\r\n" % (b"x" * MIB),
        "10,000 headers": target.head("GET", "/health")[:-2] + b"X: y\r\n" * 10_000 + b"\r\n",
        "URL of 1 MB": target.head("GET", "/" + "x" * MIB),
        "NaN behind a long key": target.post(
            assign, b'{"%b": [%b NaN]}' % (b"k" * 30_000, b"0," * 15_000)
        ),
        "one long id, 100 units": target.post(
            "/assign", b'{"experimentIds":[%b],"units":[%b]}' % (long, units)
        ),
        "nested lists": target.post(assign, b"[" * 500_000),
        "gzip bomb": target.post(
            "/observations", gzip.compress(b" " * 100 * MIB), "Content-Encoding: gzip"
        ),
        "cut gzip": target.post(
            "/observations", gzip.compress(b"[]" * 9_999)[:-9], "Content-Encoding: gzip"
        ),
        "body over the limit": target.head("POST", "/observations", length=10**9) + b"x" * MIB,
        "definition of 1 MB": target.post("/experiments", b'{"config":{"name":%b}}' % (long * 100)),
        "5,000 forged observations": target.post("/observations", observations.encode()),
        "half a character": target.post(assign, b'{"features":{"\\ud800":"\\ud800"}}'),
        "unknown parameters": target.head("GET", "/experiments?" + "a=1&" * 1_000),
        "bad cursor": target.head("GET", "/experiments?cursor=" + "A" * 4_000),
        "key of 50 kB": b"GET /experiments HTTP/1.1\r\nHost: a\r\nX-API-Key: %b\r\n\r\n"
        % (b"k" * 50_000),
        "no key, large body": b"POST /experiments HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n"
        b"\r\n" + b"x" * 900_000,
        "two lengths": b"POST /assign HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
        b"Content-Length: 3\r\n\r\n{}",
        "no HTTP": b"\x16\x03\x01" + bytes(range(256)) * 40,
        "1,000 pipelined": target.head("GET", "/health") * 1_000,
        "paths of unknown experiments": target.head("GET", "/experiments/" + "y" * 4_000),
    }


async def send(target: Target, name: str, sent: bytes) -> None:
    """Send a request on a new connection, and count the status of the first answer."""
    status = 0
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
            try:
                with contextlib.suppress(ConnectionError):
                    writer.write(sent)
                    await writer.drain()
                status = int((await reader.readuntil(b"\r\n")).split()[1])
            finally:
                writer.transport.abort()
    target.answers.setdefault(name, Counter())[status] += 1


async def new_paths(target: Target) -> None:
    """Ask with an id, fields and a key that were never seen: caches must not grow forever."""
    number = time.monotonic_ns()
    path = f"/experiments/exp_{number:013d}"[:30]
    await send(target, "ever new paths", target.head("GET", path))
    body = json.dumps({"userId": f"u{number}", "features": {f"f{number}": number}}).encode()
    await send(target, "bodies of ever new fields", target.post("/assign", body))
    head = f"GET /experiments HTTP/1.1\r\nHost: a\r\nX-API-Key: {number}\r\n\r\n"
    await send(target, "ever new keys", head.encode())


async def new_users(target: Target, first: int, count: int) -> int:
    """Assign users that were never seen, in all experiments that remember them.

    Returns:
        How many receipts were given out.
    """
    units = [{"userId": f"user-{first + number}"} for number in range(count)]
    body = json.dumps({"experimentIds": target.sticky, "units": units}).encode()
    status, receipts = 0, 0
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
            try:
                writer.write(target.post("/assign", body))
                head, answer = await _answer(reader)
                status = int(head.split()[1])
                rows = json.loads(answer).get("assignments", [])
                receipts = sum(1 for row in rows for each in row if "id" in each)
            finally:
                writer.transport.abort()
    target.answers.setdefault("ever new users", Counter())[status] += 1
    return receipts


async def keep_coming(target: Target) -> None:
    """Assign `USERS` new users every second."""
    first = 1_000_000_000  # behind those who filled the memory
    while True:
        target.receipts += await new_users(target, first, USERS)
        first += USERS
        await asyncio.sleep(1.0)


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the head and the body of an answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


async def slowly(target: Target) -> None:
    """Send a head byte by byte, until the API has enough of it."""
    status = 0
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        answer = asyncio.ensure_future(reader.readuntil(b"\r\n"))
        for byte in target.head("GET", "/health?" + "x" * 200):
            writer.write(bytes([byte]))
            done, _ = await asyncio.wait([answer], timeout=0.5)
            if done:
                break
        if answer.done():
            status = int(answer.result().split()[1])
        answer.cancel()
        writer.transport.abort()
    target.answers.setdefault("a byte every half second", Counter())[status] += 1


async def unread(target: Target) -> None:
    """Ask for large answers and read none."""
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=1)
        writer.write(target.head("GET", "/static-offline-docs/swagger-ui-bundle.js") * 10)
        await asyncio.sleep(PATIENCE_S)
        writer.transport.abort()
    target.answers.setdefault("unread answers", Counter())[0] += 1


async def silent(target: Target) -> None:
    """Keep a connection open for a while and say nothing."""
    with contextlib.suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        async with asyncio.timeout(3 * PATIENCE_S):
            await reader.read()
        writer.transport.abort()


async def hostile(target: Target, rate: float, until_s: float) -> None:
    """Send everything in turns, `rate` requests a second."""
    prepared = requests_of(target)
    steps: list[Callable[[], Awaitable[None]]] = [
        *(partial(send, target, name, sent) for name, sent in prepared.items()),
        partial(new_paths, target),
    ]
    slow: list[Callable[[], Awaitable[None]]] = [partial(slowly, target), partial(unread, target)]
    running: set[asyncio.Future[None]] = set()
    for number, step in enumerate(cycle(steps)):
        if time.monotonic() > until_s:
            break
        is_turn_of_slow = number % (20 * len(steps)) == 0
        for started in (step, *(slow if is_turn_of_slow else [])):
            begun = asyncio.ensure_future(started())
            running.add(begun)
            begun.add_done_callback(running.discard)
        await asyncio.sleep(1 / rate)
    for task in running:
        task.cancel()


async def keep_silent(target: Target) -> None:
    """Keep `SILENT` connections open that say nothing."""
    async with asyncio.TaskGroup() as group:
        for _ in range(SILENT):
            group.create_task(_silent_for_ever(target))


async def _silent_for_ever(target: Target) -> None:
    while True:
        await silent(target)
        await asyncio.sleep(1.0)


async def assign(target: Target) -> None:
    """Ask for a variant every second, on one connection, and note how long it takes."""
    sent = target.post(f"/experiments/{target.experiment}/assign", b"{}")
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
            while True:
                began_s = time.perf_counter()
                writer.write(sent)
                head, _ = await _answer(reader)
                target.latencies_s.append(time.perf_counter() - began_s)
                status = int(head.split()[1])
                target.answers.setdefault("good assignments", Counter())[status] += 1
                await asyncio.sleep(1.0)
        await asyncio.sleep(0.1)


async def main() -> int:
    """Run, write what was seen, and return 1 if memory grew or a good request was refused."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=15.0, help="hostile requests a second")
    arguments = parser.parse_args()
    key, entry = new_key("hostile", ["assign", "observe", "manage", "read"])
    async with running_stack(EXPERIMENTS, keys=[entry]) as stack:
        assert stack.api.pid is not None  # noqa: S101 - it runs
        process = psutil.Process(stack.api.pid)
        target = Target(stack.settings.api_port, key, names(1)[0], await _sticky(stack.settings))
        await _filled(target)
        redis = connect(stack.settings.redis_url)
        redis_before = await _used_mib(redis)
        began_s = time.monotonic()
        until_s = began_s + 60 * arguments.minutes
        beside = [
            asyncio.ensure_future(each(target)) for each in (keep_silent, assign, keep_coming)
        ]
        attack = asyncio.ensure_future(hostile(target, arguments.rate, until_s))
        samples: list[dict[str, Any]] = []
        while not attack.done():
            memory = process.memory_info().rss / MIB
            used = process.cpu_times()
            samples.append(
                {
                    "s": round(time.monotonic() - began_s, 1),
                    "rssMib": round(memory, 1),
                    "cpuS": round(used.user + used.system, 1),
                    "descriptors": process.num_fds(),
                }
            )
            _write(arguments, samples, target)
            await asyncio.wait([attack], timeout=SAMPLE_S)
        for task in beside:
            task.cancel()
        await asyncio.gather(attack, *beside, return_exceptions=True)
        redis_mib = [redis_before, await _used_mib(redis)]
        await redis.aclose()
    result = _write(arguments, samples, target) | {"redisMib": redis_mib}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    draw(result, PLOT)
    print(json.dumps({name: result[name] for name in result if name != "samples"}, indent=1))
    good = [*target.answers["good assignments"], *target.answers["ever new users"]]
    refused = {status for status in good if status != 200}  # noqa: PLR2004
    return 1 if refused or result["growthMib"] > result["allowedGrowthMib"] else 0


async def _sticky(settings: Settings) -> list[str]:
    """Start the experiments that remember their users, in a Redis that holds all receipts."""
    numbers = range(EXPERIMENTS, EXPERIMENTS + STICKY)
    await publish(settings, [snapshot(number, "user") for number in numbers])
    async with connect(settings.redis_url) as redis:
        store = ReceiptStore(redis, Keys(settings.namespace), settings.sticky_ttl_s)
        await store.lease("benchmark")
        await store.declare_complete("benchmark")
    return [experiment_id(number) for number in numbers]


async def _filled(target: Target) -> None:
    """Assign until the API holds as many receipts as it ever does."""
    first = 0
    while target.receipts < CAPACITY:
        target.receipts += await new_users(target, first, TOGETHER)
        first += TOGETHER


async def _used_mib(redis: Redis) -> float:
    return round(float((await redis.info("memory"))["used_memory"]) / MIB, 1)


def _write(
    arguments: argparse.Namespace, samples: list[dict[str, Any]], target: Target
) -> dict[str, Any]:
    settled = samples[int(len(samples) * WARM_UP_SHARE) :]
    third = max(1, len(settled) // 3)
    early = sorted(each["rssMib"] for each in settled[:third])[third // 2]
    late = sorted(each["rssMib"] for each in settled[-third:])[third // 2]
    cuts = quantiles(target.latencies_s, n=100) if len(target.latencies_s) > 1 else [0.0] * 99
    result = {
        "minutes": arguments.minutes,
        "rate": arguments.rate,
        "receipts": target.receipts,
        "requests": sum(count.total() for count in target.answers.values()),
        "rssMibEarly": early,
        "rssMibLate": late,
        "rssMibMost": max(each["rssMib"] for each in samples),
        "growthMib": round(late - early, 1),
        "allowedGrowthMib": round(0.1 * early + 8, 1),
        "assignP50Ms": round(1_000 * cuts[49], 2),
        "assignP99Ms": round(1_000 * cuts[98], 2),
        "answers": {
            name: {str(status): count for status, count in sorted(counts.items())}
            for name, counts in sorted(target.answers.items())
        },
        "samples": samples,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    return result


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
