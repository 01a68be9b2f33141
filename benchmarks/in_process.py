"""Assignment in process beside other libraries, in one run: `python -m benchmarks.in_process`.

| name | what it does for a request | what is durable |
|---|---|---|
| `decide` | `LocalAssigner` up to the variant, of a user under fixed weights | nothing |
| `decide, admitted` | the same of an experiment with targeting, layer and overrides | nothing |
| `decide, eligible` | and of one on impressions, among two of three variants | nothing |
| `decide and sign` | as `decide`, and the receipt | nothing |
| `assign` | `LocalAssigner.assign`: decides, signs, and writes the impression | the impression |
| `assign, delivered` | and makes batches of them, and hands them to a sink | the impression |
| GrowthBook | `GrowthBook.run` of an experiment of three variations, of a user | nothing |
| MABWiser | `MAB.predict`, Thompson sampling of three arms | nothing |

All are measured by turns, in microseconds of processor time of this process, threads included: the
machine may be busy. Printed are the median of the rounds and the fastest. MABWiser is of the group
`dev`, GrowthBook of the group `bench`; without it its line is left out:

    python -m venv build/bench && build/bench/bin/pip install growthbook
    python -m benchmarks.in_process --peers build/bench/lib/python3.11/site-packages

`--profile` prints where `assign` spends its time.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import json
import os
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

from api.snapshots.feed import FORMAT, PROOF
from benchmarks.assign_cost import ADMISSION
from benchmarks.stack import snapshot
from experiment_streams_client.local import Keyring, LocalAssigner, LocalRequest
from experiment_streams_client.local.assigner import DRAW_BYTES
from experiment_streams_client.local.delivery import SealedBatch
from streams.experiments.assignment import Assigner
from streams.experiments.hash_assignment import decide_by_hash
from streams.model.receipts import Receipt
from streams.wire.snapshots import serving_state

KEYRING = Keyring({1: bytes(range(32))})
KEY, ADMITTED, ADAPTIVE = "home", "admitted", "adaptive"
FEATURES = {"age": 35, "previousPurchases": 5}
CALLS = 20_000
ROUNDS = 9
USERS = [f"user_{number}" for number in range(4_096)]
PARTITIONS = 8
FOREVER_S = 3600.0
_new_tuple = tuple.__new__


class NullSink:
    """Takes batches and forgets them."""

    def __init__(self) -> None:
        self.impressions_bytes = 0

    def send(self, batches: Sequence[SealedBatch]) -> None:
        """Take batches."""
        self.impressions_bytes += sum(len(each.value) for each in batches)

    def close(self) -> None:
        """Do nothing."""


class Snapshots(BaseHTTPRequestHandler):
    """An API that has some experiments, which never change."""

    def do_GET(self) -> None:
        """Answer with them, and after that with nothing new."""
        if "after=&" not in self.path:
            time.sleep(FOREVER_S)
        answer = {
            "format": FORMAT,
            "position": "p",
            "keys": [KEYRING.tag(PROOF + b"p").hex()],
            "isWhole": True,
            "partitions": PARTITIONS,
            "askedFor": [],
            "refused": [],
            "gone": [],
            "states": _states(),
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def assigner(every_s: float) -> Iterator[LocalAssigner]:
    """Yield an assigner that delivers at an interval, in seconds."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Snapshots)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as directory:
        made = LocalAssigner(
            f"http://127.0.0.1:{server.server_port}",
            KEYRING,
            Path(directory),
            sink=NullSink(),
            every_s=every_s,
        )
        try:
            yield made
        finally:
            made.close()
            server.shutdown()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="Folder with the packages of the others.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    if arguments.peers is not None:
        sys.path.append(str(arguments.peers))
    users = itertools.cycle(USERS)
    with assigner(FOREVER_S) as lazy, assigner(0.02) as busy:
        steps: dict[str, Callable[[], object]] = {
            **_steps(lazy, users),
            "assign": lambda: lazy.assign(KEY, next(users)),
            "assign, delivered": lambda: busy.assign(KEY, next(users)),
            **_peers(users),
        }
        if arguments.profile:
            _profile(steps["assign"])
            return
        found: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(arguments.rounds):
            for name, step in steps.items():
                found[name].append(_us(step))
            lazy.delivery.deliver()
        for name, figures in found.items():
            median = statistics.median(figures)
            rate = 1e6 / median
            print(f"{name:20} median {median:7.2f}   fastest {min(figures):7.2f}   {rate:9,.0f}/s")


def _steps(made: LocalAssigner, users: Iterator[str]) -> dict[str, Callable[[], object]]:
    plain, admitted, adaptive = (_assigner_of(made, name) for name in (KEY, ADMITTED, ADAPTIVE))
    pair = adaptive.variants.read(("A", "B"))
    draw = partial(os.urandom, DRAW_BYTES)

    def decide() -> object:
        fields = (next(users), None, None, None, None, None, None, None)
        request = _new_tuple(LocalRequest, fields)  # as `LocalAssigner.assign`
        return decide_by_hash(plain, request, None, _now_ms, draw, False)

    def decide_admitted() -> object:
        fields = (next(users), None, None, None, "mobile", "US", FEATURES, None)
        request = _new_tuple(LocalRequest, fields)
        return decide_by_hash(admitted, request, None, _now_ms, draw, False)

    def decide_eligible() -> object:
        fields = (next(users), None, None, None, "mobile", "US", FEATURES, ("A", "B"))
        request = _new_tuple(LocalRequest, fields)
        return decide_by_hash(adaptive, request, pair, _now_ms, draw, False)

    def sign() -> str:
        decision = decide()
        assert isinstance(decision, Receipt)  # noqa: S101
        return KEYRING.sign(decision)

    return {
        "decide": decide,
        "decide, admitted": decide_admitted,
        "decide, eligible": decide_eligible,
        "decide and sign": sign,
    }


def _assigner_of(made: LocalAssigner, name: str) -> Assigner:
    running: Any = made.experiments.by_name[name].answering
    assigner: Assigner = running.assigner
    return assigner


def _states() -> list[dict[str, Any]]:
    """Return the experiments: by user, the same with admission, and with that by impression."""
    signed = {"receiptKey": KEYRING.ids[0]}
    layer = {"layer": {"key": "ads", "range": [0, 1]}}  # those of one must not overlap
    snapshots = (
        snapshot(1, "user", type="bayesian_ab", key=KEY, **signed),
        snapshot(2, "user", type="bayesian_ab", **ADMISSION, **signed, key=ADMITTED),
        snapshot(3, "impression", **ADMISSION | layer, **signed, key=ADAPTIVE),
    )
    return [dict(serving_state(each)) for each in snapshots]


def _peers(users: Iterator[str]) -> dict[str, Callable[[], object]]:
    mab: Any = import_module("mabwiser.mab")
    bandit = mab.MAB([0, 1, 2], mab.LearningPolicy.ThompsonSampling(), seed=1)
    bandit.fit([0, 1, 2] * 100, [0, 1, 1] * 100)
    peers: dict[str, Callable[[], object]] = {"MABWiser": bandit.predict}
    try:
        growthbook: Any = import_module("growthbook")
    except ModuleNotFoundError:
        return peers
    experiment = growthbook.Experiment(key=KEY, variations=["a", "b", "c"])
    client = growthbook.GrowthBook()

    def run() -> object:
        client.set_attributes({"id": next(users)})
        return client.run(experiment)

    return {**peers, "GrowthBook": run}


def _us(step: Callable[[], object]) -> float:
    began_s = time.process_time()
    for _ in range(CALLS):
        step()
    return (time.process_time() - began_s) / CALLS * 1e6


def _profile(step: Callable[[], object]) -> None:
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(CALLS):
        step()
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    main()
