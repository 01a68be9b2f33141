"""Live state after a crash equals a replay of the log, and differences are reported."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest

from streams.kafka.admin import create_topics
from streams.kafka.records import OffsetRange
from streams.kafka.source import KafkaSource
from streams.model.events import CommandKind
from streams.model.ids import experiment_id
from streams.tallies.cell import Source
from streams.wire.cells import decode_cell, encode_cell
from tests.integration.engine_ledger import Ledger, environment, workers_of
from tests.integration.topics import with_points
from tests.patience import PATIENCE_S, until

PAUSE_S = 0.005
EXPERIMENT, OTHER = 7, 8


@pytest.fixture
def workers(settings, tmp_path):
    create_topics(settings)
    with workers_of(settings, tmp_path) as running:
        yield running


@pytest.fixture
def ledger(settings):
    return Ledger(settings)


def replayed(settings, command: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Run a command, and return its exit code and what it says."""
    # No embedded stack has port 1, so the settings are those of the environment.
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "streams.cli", "replay", command, "--json"),
            *("--api", "http://127.0.0.1:1", *options),
        ],
        env=environment(settings) | {"PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert ended.stdout, ended.stderr.decode()
    return ended.returncode, json.loads(ended.stdout)


def send(ledger: Ledger) -> None:
    for experiment in (EXPERIMENT, OTHER):
        for partition in range(4):
            for receipt in ledger.assign(experiment, partition, times=2)[::3]:
                ledger.observe(receipt, times=2)
        ledger.produce("observations", b"noise")
    ledger.producer.flush()


def is_counted(ledger: Ledger) -> bool:
    return ledger.is_exact(EXPERIMENT) and ledger.is_exact(OTHER)


def test_the_log_gives_what_is_live_and_a_tampered_cell_is_reported(settings, workers, ledger):
    worker = workers.start()
    ledger.start_experiment(EXPERIMENT)
    ledger.start_experiment(OTHER, type="bayesian_ab", minSampleSize=10)
    for _ in range(3):
        send(ledger)
    until(lambda: ledger.snapshot(EXPERIMENT).variants[0].assignments)
    worker.kill()
    send(ledger)
    workers.start()
    assert not ledger.command(EXPERIMENT, CommandKind.START)["accepted"]
    until(lambda: is_counted(ledger))
    until(lambda: with_points(settings) == {experiment_id(EXPERIMENT), experiment_id(OTHER)})
    assert workers.stop()[-1] == 0

    code, report = replayed(settings, "verify", "--processes", "2")

    assert (code, report["difference"]) == (0, None)
    assert report["cells"] == 16
    assert report["projected"] == 2
    assert report["points"] >= 2
    assert report["commands"] >= 5
    assert report["experiments"] == 2
    assert report["behind"] == report["unreadable"] == 0

    cell = max(
        (
            found
            for _, value in ledger.read("tallies")
            if (found := decode_cell(value)).experiment == EXPERIMENT
            and found.source is Source.OBSERVATIONS
        ),
        key=lambda found: found.last_offset,
    )
    variant = cell.variants[1]
    metric = replace(variant.metrics["click"], total=variant.metrics["click"].total + 1)
    tampered = replace(
        cell, variants={**cell.variants, 1: replace(variant, metrics={"click": metric})}
    )
    name = experiment_id(EXPERIMENT)
    key = f"{name}/{cell.source}/{cell.partition}"
    ledger.produce("tallies", encode_cell(tampered), key, partition=0)
    ledger.producer.flush()

    code, report = replayed(settings, "verify", "--experiment", name, "--processes", "1")

    assert code == 1
    difference = report["difference"]
    assert difference["subject"] == key
    assert difference["path"] == "variants[1].metrics.click.total"
    assert int(difference["live"]) == int(difference["replayed"]) + 1
    assert report["experiments"] == 1
    assert replayed(settings, "verify", "--experiment", experiment_id(OTHER))[0] == 0

    code, both = replayed(settings, "what-if", "--experiment", name, "--prior", "1,9")
    assert code == 0
    snapshot = ledger.snapshot(EXPERIMENT)
    assert both["asOf"] == snapshot.as_of_ms
    weights = [variant["weight"] for variant in both["actual"]["variants"]]
    assert tuple(weights) == snapshot.allocation.weights
    assert both["supposed"]["parameters"]["priorBeta"] == 9
    assert both["supposed"]["variants"][0]["upper"] < both["actual"]["variants"][0]["upper"]


def test_a_partition_that_is_written_all_the_time_has_an_end(settings, ledger):
    create_topics(settings)
    for _ in range(300):
        ledger.produce("observations", b"before", partition=0)
    ledger.producer.flush()
    done = threading.Event()

    def write() -> None:
        while not done.wait(PAUSE_S):
            ledger.produce("observations", b"meanwhile", partition=0)
        ledger.producer.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        source = KafkaSource(settings)
        spans = source.spans("observations")
        end = spans[0].end
        records = [each for piece in source.read("observations", 0, 0, end) for each in piece]
    finally:
        done.set()
        writer.join()

    assert spans[0].begin == 0
    assert [record.offset for record in records] == list(range(spans[0].end))
    assert [record.value for record in records].count(b"before") == 300
    assert spans[1] == OffsetRange(0, 0)
