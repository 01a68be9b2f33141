"""Off-policy evaluation of the log that the servers hold."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zipfile
from typing import Any

import numpy as np
import pytest

from streams.cli.open_bandit.dataset import Campaign, LoggingPolicy, fetch_wheel, read_sample
from streams.kafka.admin import create_topics
from streams.model.ids import experiment_id
from streams.replay.off_policy.report import evaluate_target
from streams.replay.off_policy.rules import policy_of
from streams.replay.off_policy.target import replayed
from streams.settings import Settings
from tests.integration.engine_ledger import Ledger, environment, workers_of
from tests.integration.test_import_open_bandit import experiment
from tests.integration.up_process import up
from tests.patience import PATIENCE_S, until
from tests.streams.replay.off_policy.open_bandit import contextual_experiment, log_of_sample

EXPERIMENT, OTHER = 7, 8


def evaluated(settings: Settings, *options: str) -> subprocess.CompletedProcess[str]:
    # No embedded stack has port 1, so the settings are those of the environment.
    return subprocess.run(
        [
            *(sys.executable, "-m", "streams.cli", "evaluate", experiment_id(EXPERIMENT)),
            *("--api", "http://127.0.0.1:1", *options),
        ],
        env=environment(settings) | {"PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE_S,
    )


def estimates(settings: Settings, *options: str) -> dict[str, Any]:
    done = evaluated(settings, "--json", *options)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_unit_and_value_counts_as_it_does_in_the_tallies(settings, tmp_path):
    create_topics(settings)
    ledger = Ledger(settings)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        for number in (EXPERIMENT, OTHER):
            ledger.start_experiment(number)
            for partition in range(4):
                for place, receipt in enumerate(ledger.assign(number, partition, times=2)[::3]):
                    ledger.observe(receipt, times=2)
                    if place % 3 == 0:
                        ledger.observe(receipt, metric="sale", value=2_500_000)
        ledger.produce("observations", b"noise")
        ledger.producer.flush()
        until(lambda: ledger.is_exact(EXPERIMENT))
    counted = [ledger.assignments[EXPERIMENT, variant] for variant in (0, 1)]
    clicks = sum(ledger.observations[EXPERIMENT, variant, "click"] for variant in (0, 1))

    even = estimates(settings, "--weights", "0.5,0.5", "--processes", "2")

    # Every receipt has the propensity 1/2, so these shares have the weight 1 and earn the same.
    assert [variant["assigned"] for variant in even["variants"]] == counted
    assert even["units"] == sum(counted) == 200
    assert even["unmatchedObservations"] == 0
    assert even["estimates"]["earned"]["value"] == pytest.approx(clicks / 200)
    assert even["estimates"]["ipw"] == pytest.approx(even["estimates"]["earned"])
    assert even["estimates"]["gain"]["value"] == pytest.approx(0.0, abs=1e-12)

    sales = estimates(settings, "--weights", "0,1", "--metric", "sale")
    total = ledger.totals[EXPERIMENT, 1, "sale"] / 1e6
    assert sales["estimates"]["ipw"]["value"] == pytest.approx(total * 2 / 200)
    assert sales["variants"][1]["mean"] == pytest.approx(total / counted[1])

    policy = estimates(settings, "--policy", "ucb", "--parameter", "c=0.5", "--every", "20")
    assert (policy["policy"], policy["parameters"]["c"]) == ("ucb", 0.5)
    assert sum(variant["share"] for variant in policy["variants"]) == pytest.approx(1.0)

    shown = evaluated(settings, "--policy", "epsilon_greedy", "--run", "100")
    assert shown.returncode == 0, shown.stderr
    assert "doubly robust" in shown.stdout
    assert "a separate run" in shown.stdout

    refused = evaluated(settings, "--metric", "nobody.sends.it")
    assert refused.returncode == 1
    assert "UNKNOWN_METRIC" in refused.stderr


@pytest.mark.long
@pytest.mark.timeout(300)
def test_shares_over_the_open_bandit_log_earn_what_its_file_says(tmp_path):
    with zipfile.ZipFile(fetch_wheel()) as wheel:
        text = wheel.read("obp/dataset/obd/bts/men/men.csv").decode()
    rows = list(csv.DictReader(io.StringIO(text)))[:3_000]
    items = np.array([int(row["item_id"]) for row in rows])
    clicks = np.array([float(row["click"]) for row in rows])
    propensities = np.array([float(row["propensity_score"]) for row in rows])
    with up(tmp_path) as stack:
        options = ("--policy", "bts", "--campaign", "men", "--limit", "3000", "--features")
        imported = experiment(stack, "import", "open-bandit", *options)["experimentId"]
        n_items = len(experiment(stack, "stats", imported)["variants"])
        shares = np.arange(n_items, dtype=float) + 1.0
        shares /= shares.sum()
        written = ",".join(map(repr, shares.tolist()))

        found = experiment(stack, "evaluate", imported, "--weights", written)
        by_features = experiment(
            stack, "evaluate", imported, "--policy", "lin_ucb", "--every", "1000"
        )

    # Propensities are logged in steps of 2**-32.
    weights = shares[items] / propensities
    assert found["units"] == 3_000
    assert found["estimates"]["earned"]["value"] == pytest.approx(clicks.mean(), rel=1e-12)
    assert found["estimates"]["ipw"]["value"] == pytest.approx((weights * clicks).mean(), rel=1e-5)
    assert found["estimates"]["snipw"]["value"] == pytest.approx(
        (weights * clicks).sum() / weights.sum(), rel=1e-5
    )
    assert found["largestWeight"] == pytest.approx(weights.max(), rel=1e-5)

    # obp gives the same for this log and policy (tests/streams/replay/off_policy).
    sample = read_sample(fetch_wheel(), LoggingPolicy.BTS, Campaign.MEN, 3_000)
    weigh = policy_of(contextual_experiment(sample, "lin_ucb"))
    expected = evaluate_target(log_of_sample(sample), replayed(log_of_sample(sample), weigh, 1_000))
    for name in ("ipw", "snipw", "dr", "dm"):
        value = getattr(expected, name).value
        assert by_features["estimates"][name]["value"] == pytest.approx(value, rel=1e-9)
