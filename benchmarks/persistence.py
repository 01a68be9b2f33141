"""Loss and time of a stack that is killed and started again.

    python -m benchmarks.persistence [--rounds 3] [--seconds 5] [--log 0]

A stack gets assignments and observations over HTTP, one after the other, until all of its processes
are killed by SIGKILL at once. Then it is started again. Printed are, for each round, how many were
accepted, how many of them are there afterwards, how long before the end the first lost one was
accepted, and how long the start took. The log grows with every round.

With `--log` a log of so many observations of 100 experiments is made, and all that is measured is
the start of a stack that has it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.filled import commands_of
from benchmarks.fold import EXPERIMENTS, NOW_MS, PARTITIONS, Logged, observations
from schemas.catalogue import COMMANDS, OBSERVATIONS
from streams.local.journal.keeping import WORKERS
from streams.local.journal.store import Journal, JournalRecord
from streams.local.plan import journal_of
from streams.model.ids import experiment_id
from streams.model.partitioning import partition_of
from streams.wire.commands import encode_command

BATCH = 50_000

READY = "ready "
SETTLE_S = 3.0
_DEFINITION = {
    "config": {"name": "kept", "type": "thompson_sampling", "primaryMetric": "click"},
    "variants": [{"name": "a", "isControl": True}, {"name": "b"}],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--log", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.log:
        start_with(arguments.log)
        return
    with tempfile.TemporaryDirectory() as directory:
        accepted: list[float] = []
        experiment, before, killed = "", 0, 0.0
        for number in range(arguments.rounds + 1):
            began = time.monotonic()
            with started(Path(directory)) as (process, client):
                took_s = time.monotonic() - began
                if number == 0:
                    experiment = created(client)
                else:
                    time.sleep(SETTLE_S)
                    kept = counted(client, experiment) - before
                    lost = accepted[kept:]
                    age_ms = (killed - lost[0]) * 1000 if lost else 0.0
                    print(
                        f"round {number}: {len(accepted)} accepted, {kept} kept, the first lost "
                        f"{age_ms:.0f} ms before the end; start {took_s:.1f} s"
                    )
                    before += kept
                if number < arguments.rounds:
                    accepted, killed = traffic(client, experiment, process, arguments.seconds)


def start_with(count: int) -> None:
    """Print how long a stack takes to start that has so many observations in its log."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "data"
        data.mkdir()
        (data / "receipt-keys").write_text(f"1:{bytes(range(32)).hex()}\n")
        with Journal(journal_of(data)) as journal:
            journal.append(_commands())
            for start in range(0, count, BATCH):
                batch = observations(min(BATCH, count - start), seed=start)
                logged = (_logged(start + index, each) for index, each in enumerate(batch))
                journal.append(logged)
            journal.append((), {WORKERS: journal.ends})
        began = time.monotonic()
        with started(Path(directory)) as (_, client):
            took_s = time.monotonic() - began
            first = client.get("/experiments", params={"limit": 1}).json()["experiments"][0]["id"]
            print(f"{count:,} observations: start {took_s:.1f} s, {counted(client, first)} of one")


def _commands() -> Iterator[JournalRecord]:
    ends = [0] * PARTITIONS
    for number in range(EXPERIMENTS):
        name = experiment_id(number).encode()
        partition = partition_of(name, PARTITIONS)
        for command in commands_of(number):
            value = encode_command(command)
            yield JournalRecord(COMMANDS.name, partition, ends[partition], NOW_MS, name, value)
            ends[partition] += 1


def _logged(offset: int, record: Logged) -> JournalRecord:
    return JournalRecord(OBSERVATIONS.name, 0, offset, record.timestamp, record.key, record.value)


@contextmanager
def started(directory: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Run a stack while the block runs; yields its supervisor and a client of its API."""
    engine = (sys.executable, "-m", "streams.cli", "up", "--no-dashboard")
    command = (*engine, "--port", "0", "--data-dir")
    process = subprocess.Popen(
        [*command, str(directory / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"XDG_STATE_HOME": str(directory / "state")},
    )
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        line = process.stdout.readline()
        if not line.startswith(READY):
            message = "the stack did not start"
            raise SystemExit(message)
        url = line.removeprefix(READY).strip()
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            yield process, client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def created(client: httpx.Client) -> str:
    """Create an experiment, start it, and return its id."""
    experiment: str = client.post("/experiments", json=_DEFINITION).raise_for_status().json()["id"]
    client.post(f"/experiments/{experiment}/start").raise_for_status()
    while client.post(f"/experiments/{experiment}/assign", json={}).json().get("id") is None:
        time.sleep(0.05)
    return experiment


def counted(client: httpx.Client, experiment: str) -> int:
    """Return the number of observations in the statistics."""
    stats = client.get(f"/experiments/{experiment}/stats").raise_for_status().json()
    return int(stats["totalObservations"])


def traffic(
    client: httpx.Client, experiment: str, process: subprocess.Popen[str], seconds: float
) -> tuple[list[float], float]:
    """Assign and observe until the stack is killed; return when each was accepted, and the end."""
    accepted: list[float] = []
    ended: list[float] = []

    def kill() -> None:
        ended.append(time.monotonic())
        process.kill()  # the kernel kills its children with it

    threading.Timer(seconds, kill).start()
    try:
        while True:
            receipt = client.post(f"/experiments/{experiment}/assign", json={}).json()["id"]
            body = {"assignmentId": receipt, "metric": "click", "value": 1}
            client.post("/observations", content=json.dumps(body)).raise_for_status()
            accepted.append(time.monotonic())
    except (httpx.TransportError, httpx.HTTPStatusError):
        process.wait()
        return accepted, ended[0]


if __name__ == "__main__":
    main()
