"""What one assignment costs, step by step, in microseconds of one core.

    python -m benchmarks.assign_cost [--batch 16]

Every step runs alone, many times; the fastest of several rounds counts, so that what else the
machine does disturbs little. Steps that serve a whole turn of the event loop are divided by the
requests of that turn (`--batch`). uvicorn's own part is not in the table: it is what
`assign_load` measures less the sum.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import timeit
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import uvloop

from api.assigning import Assigning, _Randomness
from api.auth import Gate
from api.bodies import decode_object
from api.edge import Edge
from api.experiments import RunningExperiment
from api.metrics import RequestCounters
from api.outbox import IMPRESSIONS, ImpressionRow, Outbox, _groups
from api.requests import AssignmentContext
from api.spool import Place, Spool, SpoolRecord
from benchmarks.stack import snapshot
from streams.allocation.bucketing import draws
from streams.domain.events import ImpressionBatch
from streams.domain.receipts import Keyring, Receipt
from streams.domain.validation import parse
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation_batch

BODY = orjson.dumps(
    {
        "userId": "user_123",
        "sessionId": "session_456",
        "timestamp": 1_764_000_000_000,
        "device": "mobile",
        "location": "US",
        "features": {"age": 35, "previousPurchases": 5},
    }
)
ROUNDS = 7
RUNS = 4_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=16, help="requests of one turn")
    batch = parser.parse_args().batch
    costs = steps(batch)
    width = max(map(len, costs))
    for name, cost_us in costs.items():
        print(f"{name:{width}}  {cost_us:6.2f}")
    print(f"{'sum':{width}}  {sum(costs.values()):6.2f}")
    for n_experiments in (1, 200):
        name = f"run together, {n_experiments} experiments"
        print(f"{name:{width}}  {together(batch, n_experiments):6.2f}")


def steps(batch: int) -> dict[str, float]:
    """Return microseconds for each request by step."""
    running = RunningExperiment(snapshot(1, "impression"))
    assigner = running.assigner
    keyring = Keyring({1: bytes(32)})
    randomness = _Randomness()
    body = decode_object(BODY)
    context = parse(AssignmentContext, body)
    key = randomness.draw()
    assignment = assigner.assign(key, 1)
    receipt = Receipt(1, 1, 1 << 30, 2, 1_764_000_000_000, assignment.unit, 86_400)
    text = keyring.sign(receipt)
    row = ImpressionRow(1, False, 1, 1 << 30, 2, 1, assignment.unit, context.logged())
    rows = [row] * batch
    groups = _groups(rows)
    impressions = ImpressionBatch(1, 0, 0, groups)
    record = SpoolRecord(IMPRESSIONS, 0, encode_impression_batch(impressions))
    with tempfile.TemporaryDirectory() as directory, Spool(Path(directory), "x", 2**34) as spool:
        return {
            "decode the body": _us(lambda: decode_object(BODY)),
            "check it": _us(lambda: parse(AssignmentContext, body)),
            "what is logged of it, as JSON": _us(context.logged),
            "random bytes": _us(randomness.draw),
            "hash the unit": _us(lambda: draws(1, key)),
            "choose the variant": _us(lambda: assigner.assign(key, 1)) - _us(lambda: draws(1, key)),
            "sign the receipt": _us(lambda: keyring.sign(receipt)),
            "render the answer": _us(lambda: running.rendering.assigned(text, 1, 1 << 31)),
            "rows to columns": _us(lambda: _groups(rows)) / batch,
            "columns to Avro": _us(lambda: encode_impression_batch(impressions)) / batch,
            "write to the spool": _us(lambda: spool.append([record])) / batch,
        }


def together(batch: int, n_experiments: int) -> float:
    """Return microseconds for each request through the edge, into a spool and no further."""
    with tempfile.TemporaryDirectory() as directory, Spool(Path(directory), "x", 2**34) as spool:
        return uvloop.run(_together(spool, batch, n_experiments))


async def _together(spool: Spool, batch: int, n_experiments: int) -> float:
    running = [RunningExperiment(snapshot(number, "impression")) for number in range(n_experiments)]
    outbox = Outbox(
        spool,
        _Nobody(),
        incarnation=1,
        partitions=4,
        encode_impressions=encode_impression_batch,
        encode_observations=encode_observation_batch,
    )
    assigning = Assigning(_Some(running), Keyring({1: bytes(32)}), outbox, None, lambda: 1)  # type: ignore[arg-type]
    edge = _edge(assigning)
    scopes = itertools.cycle(
        {
            "type": "http",
            "method": "POST",
            "path": f"/experiments/{found.id}/assign",
            "headers": [],
        }
        for found in running
    )

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(_: object) -> None:
        return None

    best_s = float("inf")
    for _ in range(ROUNDS):
        began_s = timeit.default_timer()
        for _ in range(RUNS // batch):
            await asyncio.gather(*(edge(next(scopes), receive, send) for _ in range(batch)))
        best_s = min(best_s, timeit.default_timer() - began_s)
    return best_s / (RUNS // batch * batch) * 1e6


def _edge(assigning: Assigning) -> Edge:
    return Edge(None, assigning, None, Gate(None), RequestCounters(), 2**20)  # type: ignore[arg-type]


class _Some:
    """Running experiments by id."""

    def __init__(self, running: list[RunningExperiment]) -> None:
        self._running = {found.id: found for found in running}

    def running(self, experiment_id: str) -> RunningExperiment:
        """Return one of them."""
        return self._running[experiment_id]


class _Nobody:
    """Takes records and forgets them."""

    def offer(self, places: Sequence[Place], records: Sequence[SpoolRecord]) -> None:
        """Take records."""


def _us(step: Callable[[], object]) -> float:
    return min(timeit.repeat(step, number=RUNS, repeat=ROUNDS)) / RUNS * 1e6


if __name__ == "__main__":
    main()
