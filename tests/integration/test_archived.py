"""Archived experiments: late events are refused forever, and no state is kept."""

from __future__ import annotations

import signal

from streams.kafka.admin import create_topics
from streams.model.events import CommandKind
from streams.model.ids import experiment_id
from streams.model.quantities import MICRO
from tests.integration.engine_ledger import Ledger, workers_of
from tests.integration.test_replay import replayed
from tests.patience import until

ENDING, OTHER = 7, 8


def test_an_archived_experiment_ends_in_every_partition_and_a_replay_refuses_the_same(
    settings, tmp_path
):
    """A worker is killed around the end; its late events are the only dead letters."""
    settings = settings.model_copy(update={"archived_keep_s": 0})
    create_topics(settings)
    ledger = Ledger(settings)
    with workers_of(settings, tmp_path) as workers:
        worker = workers.start()
        for experiment in (ENDING, OTHER):
            ledger.start_experiment(experiment, attributionWindow=2)
        receipts = [
            receipt
            for experiment in (ENDING, OTHER)
            for partition in range(4)
            for receipt in ledger.assign(experiment, partition)
        ]
        for receipt in receipts:
            ledger.observe(receipt)
        ledger.producer.flush()
        until(lambda: ledger.is_exact(ENDING) and ledger.is_exact(OTHER))
        ledger.command(ENDING, CommandKind.CONCLUDE)
        assert ledger.command(ENDING, CommandKind.ARCHIVE)["accepted"]

        until(lambda: ledger.snapshot(ENDING) is None)
        worker.send_signal(signal.SIGKILL)
        workers.start()

        assert ledger.redis.sismember(ledger.keys.experiments, experiment_id(ENDING)) == 0
        late = ledger.receipt(ENDING, 0, 1)
        for _ in range(100):  # some by columns, some one by one
            ledger.observe(late, delay_ms=0)
        ledger.assign(ENDING, 1)
        for receipt in receipts[-40:]:
            ledger.observe(receipt, metric="visits", value=2 * MICRO)  # a second click counts once
        ledger.producer.flush()
        until(lambda: len(ledger.dead_letters()) == 101)
        assert set(ledger.dead_letters().values()) == {"EXPERIMENT_ARCHIVED"}
        until(lambda: ledger.is_exact(OTHER))
        assert ledger.command(ENDING, CommandKind.START)["code"] == "INVALID_TRANSITION"
        places = {
            f"{experiment_id(ENDING)}/{source}/{partition}".encode()
            for source in ("impressions", "observations")
            for partition in range(4)
        }
        until(lambda: places <= {key for key, value in ledger.read("tallies") if value is None})
        until(lambda: not has_points(ledger))

        code, report = replayed(settings, "verify")

        assert code == 0, report
        assert workers.stop()[-1] == 0


def has_points(ledger: Ledger) -> bool:
    """Return whether log or Redis has a point of the time series of the experiment that ended."""
    name = experiment_id(ENDING)
    newest = dict(ledger.read("timeseries"))
    kept = [key for key, value in newest.items() if key is not None and value is not None]
    return any(key.startswith(name.encode()) for key in kept) or bool(
        ledger.redis.exists(ledger.keys.timeseries(name))
    )
