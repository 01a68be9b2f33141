"""Cost of one assignment, step by step, in microseconds of one core.

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
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
import uvloop

from api.auth import ApiKeyAuth
from api.http.dependencies import Services
from api.http.endpoints import ENDPOINTS
from api.http.fast_path import FastPathApp
from api.http.models.requests import AssignmentContext
from api.http.routing import RoutingTable
from api.monitoring.counters import RequestCounters
from api.outbox import IMPRESSIONS, ImpressionRow, Outbox, groups_of
from api.receipts.recent import RecentUnits
from api.receipts.sticky import FirstReceipt, ReceiptQuery
from api.services.assign import AssignmentService
from api.services.logged_context import logged_context
from api.snapshots.running import RunningExperiment
from api.spool.entries import SpoolRecord
from api.spool.spool import Spool, SpoolPosition
from api.strict_json import decode_object
from benchmarks.stack import contextual_snapshot, snapshot
from streams.model.events import ImpressionBatch
from streams.model.receipts import Keyring, Receipt
from streams.model.validation import parse
from streams.model.vectors import MAX_DIMENSION
from streams.policies.bucketing import draws
from streams.process.random_draws import RandomDraws
from streams.projection.receipts import Certainty
from streams.wire.batch_tags import sealer
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation_batch

NOW_MS = 1_764_000_000_000
BODY = orjson.dumps(
    {
        "userId": "user_123",
        "sessionId": "session_456",
        "timestamp": NOW_MS,
        "device": "mobile",
        "location": "US",
        "features": {"age": 35, "previousPurchases": 5},
    }
)
BODY_WITH_SET = orjson.dumps({**orjson.loads(BODY), "eligible": ["A", "B"]})
KEYRING = Keyring({1: bytes(32)})
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
        plain = [RunningExperiment(snapshot(n, "impression")) for n in range(n_experiments)]
        print(f"{name:{width}}  {together(batch, plain):6.2f}")
    for name, cost in admission_costs(batch).items():
        print(f"{name:{width}}  {cost}")
    print("under a contextual policy")
    for name, cost_us in contextual_steps().items():
        print(f"{name:{width}}  {cost_us:6.2f}")
    name = "run together, 1 experiment"
    print(f"{name:{width}}  {together(batch, [RunningExperiment(contextual_snapshot(0))]):6.2f}")


def steps(batch: int) -> dict[str, float]:
    """Return microseconds for each request by step."""
    running = RunningExperiment(snapshot(1, "impression"))
    assigner = running.assigner
    keyring = KEYRING
    randomness = RandomDraws()
    body = decode_object(BODY)
    context = parse(AssignmentContext, body)
    key = randomness.draw()
    assignment = assigner.assign(key, 1)
    receipt = Receipt(1, 1, 1 << 30, 2, 1_764_000_000_000, assignment.receipt.unit, 86_400)
    text = keyring.sign(receipt)
    row = ImpressionRow(
        1, False, 1, 1 << 30, 2, 1, assignment.receipt.unit, logged_context(context)
    )
    rows = [row] * batch
    groups = groups_of(rows)
    impressions = ImpressionBatch(1, 0, 0, groups)
    record = SpoolRecord(IMPRESSIONS, 0, encode_impression_batch(impressions))
    with tempfile.TemporaryDirectory() as directory, Spool(Path(directory), "x", 2**34) as spool:
        return {
            "decode the body": _us(lambda: decode_object(BODY)),
            "check it": _us(lambda: parse(AssignmentContext, body)),
            "what is logged of it, as JSON": _us(lambda: logged_context(context)),
            "random bytes": _us(randomness.draw),
            "hash the unit": _us(lambda: draws(1, key)),
            "choose the variant": _us(lambda: assigner.assign(key, 1)) - _us(lambda: draws(1, key)),
            "sign the receipt": _us(lambda: keyring.sign(receipt)),
            "render the answer": _us(lambda: running.rendering.assigned(text, 1, 1 << 31)),
            "rows to columns": _us(lambda: groups_of(rows)) / batch,
            "columns to Avro": _us(lambda: encode_impression_batch(impressions)) / batch,
            "write to the spool": _us(lambda: spool.append([record])) / batch,
        }


ADMISSION: dict[str, Any] = {
    "targeting": {
        "and": [
            {"in": [{"var": "location"}, ["US", "CA", "DE", "FR"]]},
            {"==": [{"var": "device"}, "mobile"]},
            {">=": [{"var": "features.age"}, 18]},
        ]
    },
    "layer": {"key": "homepage", "range": [0, 1]},
    "overrides": {f"tester_{number}": "B" for number in range(10)},
}


def admission_costs(batch: int, rounds: int = 5) -> dict[str, str]:
    """Return microseconds of requests to an experiment with and without admission, and the ratio.

    Likewise of an adaptive one, whose first receipts are at hand, with admission and a set of
    eligible variants. Both are measured in turn, so that a machine that gets slower does so for
    both.
    """
    found: dict[str, str] = {}
    for name, policy, body, added in (
        ("fixed weights", "bayesian_ab", BODY, "admission"),
        ("moving weights", "thompson_sampling", BODY_WITH_SET, "admission and eligible set"),
    ):
        plain = [RunningExperiment(snapshot(1, "user", type=policy))]
        keyed = {"key": "homepage-hero", **ADMISSION}
        gated = [RunningExperiment(snapshot(1, "user", type=policy, **keyed))]
        pairs = [(together(batch, plain), together(batch, gated, body)) for _ in range(rounds)]
        ratios = sorted(with_us / without_us for without_us, with_us in pairs)
        found |= {
            f"run together, {name}": f"{min(pair[0] for pair in pairs):6.2f}",
            f"the same with {added}": f"{min(pair[1] for pair in pairs):6.2f}",
            f"ratio, {name} (median; lowest, highest)": (
                f"{ratios[rounds // 2]:.2f} ({ratios[0]:.2f}; {ratios[-1]:.2f})"
            ),
        }
    return found


def contextual_steps() -> dict[str, float]:
    """Return microseconds of what a contextual policy adds, by step, and of a snapshot of it."""
    published = contextual_snapshot(0)
    widest = contextual_snapshot(1, MAX_DIMENSION - 1)
    assigner = RunningExperiment(published).assigner
    features_given = {"age": 35, "previousPurchases": 5}
    key = bytes(16)
    # None of these contexts is remembered when its turn comes: there are more than are kept.
    contexts = itertools.cycle(
        [
            {"age": number % 251 * 0.4, "previousPurchases": number % 241 * 0.2}
            for number in range(251 * 241)
        ]
    )

    def assign_anew() -> None:
        assigner.assign(key, 1, features=next(contexts), device="mobile", location="US")

    def compile_widest() -> None:
        RunningExperiment(widest)

    return {
        "choose the variant, context known": _us(
            lambda: assigner.assign(key, 1, features=features_given, device="mobile", location="US")
        ),
        "choose the variant, context new": _us(assign_anew),
        "sign with four entries": _us(
            lambda: KEYRING.sign(Receipt(1, 1, 1 << 30, 2, 1, 1, 86_400, features=bytes(12)))
        ),
        "compile a snapshot, 3 x 9": _us(lambda: RunningExperiment(published), 100),
        "compile a snapshot, 3 x 64": _us(compile_widest, 100),
    }


def together(batch: int, running: list[RunningExperiment], body: bytes = BODY) -> float:
    """Return microseconds for each request through the ASGI application, into a spool."""
    with tempfile.TemporaryDirectory() as directory, Spool(Path(directory), "x", 2**34) as spool:
        return uvloop.run(_together(spool, batch, running, body))


async def _together(
    spool: Spool, batch: int, running: list[RunningExperiment], body: bytes
) -> float:
    outbox = Outbox(
        spool,
        _Discarding(),
        incarnation=1,
        partitions=4,
        encode_impressions=encode_impression_batch,
        encode_observations=encode_observation_batch,
        seal=sealer(KEYRING),
    )
    assignments = AssignmentService(_Some(running), KEYRING, outbox, _NewUnits(), lambda: NOW_MS)  # type: ignore[arg-type]
    app = _app(assignments)
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
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        if message.get("status", 200) != HTTPStatus.OK:
            raise RuntimeError(message)

    best_s = float("inf")
    for _ in range(ROUNDS):
        began_s = time.process_time()
        for _ in range(RUNS // batch):
            await asyncio.gather(*(app(next(scopes), receive, send) for _ in range(batch)))
        best_s = min(best_s, time.process_time() - began_s)
    return best_s / (RUNS // batch * batch) * 1e6


def _app(assignments: AssignmentService) -> FastPathApp:
    unused: Any = None
    services = Services(
        experiments=unused,
        commands=unused,
        assignments=assignments,
        observations=unused,
        flags=unused,
        flag_streams=unused,
        experiment_streams=unused,
        streams=unused,
        auth=ApiKeyAuth(None),
        schemas=unused,
        counters=RequestCounters(),
        readiness=unused,
        metrics=unused,
        receipt_key=unused,
        conclusion=unused,
        history=unused,
        timeseries=unused,
        feed=unused,
        impressions=unused,
        webhooks=unused,
        operations=unused,
    )
    return FastPathApp(services, RoutingTable(ENDPOINTS), None, 2**20)  # type: ignore[arg-type]


class _Some:
    """Running experiments by id."""

    def __init__(self, running: list[RunningExperiment]) -> None:
        self._running = {found.id: found for found in running}

    def answering(self, experiment_id: str) -> RunningExperiment:
        """Return one of them."""
        return self._running[experiment_id]


class _NewUnits:
    """A store in which no unit has a receipt yet, and that answers at once."""

    aliased: frozenset[str] = frozenset()
    chosen_from_sets: frozenset[str] = frozenset()
    rebuilt: frozenset[str] = frozenset()
    recent = RecentUnits()

    async def first(self, ask: ReceiptQuery, _: Callable[[], str | None]) -> FirstReceipt:
        """Return the receipt that is offered."""
        return FirstReceipt(ask.receipt, Certainty.FIRST)

    def note_set(self, _: str) -> None:
        """Take note of nothing."""


class _Discarding:
    """Takes records and forgets them."""

    def offer(self, positions: Sequence[SpoolPosition], records: Sequence[SpoolRecord]) -> None:
        """Take records."""


def _us(step: Callable[[], object], runs: int = RUNS) -> float:
    return min(timeit.repeat(step, number=runs, repeat=ROUNDS)) / runs * 1e6


if __name__ == "__main__":
    main()
