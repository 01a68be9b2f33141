"""A schedule that workers do at its time, also late, and that a replay does as well."""

from __future__ import annotations

import time

from streams.experiments.lifecycle import Status
from streams.experiments.schedule import HoldOn, ScheduleAction, ScheduleEvent
from streams.experiments.snapshot import Snapshot
from streams.kafka.admin import create_topics
from streams.model.events import CommandKind
from streams.model.ids import experiment_id
from tests.integration.engine_ledger import Ledger, workers_of
from tests.integration.test_replay import replayed
from tests.patience import until

EXPERIMENT = 7
START, RAMP, HOLD, END = ScheduleAction


def test_what_is_due_is_done_late_or_in_time_and_replayed(settings, tmp_path):
    create_topics(settings)
    ledger = Ledger(settings)
    began_ms = time.time_ns() // 1_000_000
    schedule = {
        "startAt": began_ms - 3_600_000,  # passed while nothing ran
        "endAt": began_ms + 1_000,
        "ramp": [{"after": 0, "trafficAllocation": 0.5}],
        "holdOn": ["sampleRatio"],
    }
    config = {
        "name": "launch",
        "type": "bayesian_ab",
        "primaryMetric": "click",
        "trafficAllocation": 0.1,
        "schedule": {"startAt": began_ms - 3_600_000},
    }
    variants = [{"name": "a", "isControl": True}, {"name": "b"}]

    def reached(status: Status) -> Snapshot | None:
        snapshot = ledger.snapshot(EXPERIMENT)
        is_there = snapshot is not None and snapshot.experiment.status is status
        return snapshot if is_there else None

    with workers_of(settings, tmp_path) as workers:
        workers.start()
        created = ledger.command(
            EXPERIMENT, CommandKind.CREATE, {"config": config, "variants": variants}
        )
        assert created["accepted"]
        started = until(lambda: reached(Status.RUNNING))
        assert started is not None
        for partition in range(4):
            for receipt in ledger.assign(EXPERIMENT, partition)[::3]:
                ledger.observe(receipt)
        ledger.producer.flush()
        until(lambda: ledger.is_exact(EXPERIMENT))
        replacing = {"schedule": {**schedule, "endAt": time.time_ns() // 1_000_000 + 3_000}}
        assert ledger.command(EXPERIMENT, CommandKind.UPDATE, replacing)["accepted"]
        over = until(lambda: reached(Status.CONCLUDED))
        assert over is not None
        assert workers.running(), workers.log()

        [start] = started.experiment.history
        assert start.action is ScheduleAction.START
        assert start.at_ms - start.due_at_ms >= 3_600_000
        assert started.experiment.started_at_ms == start.at_ms
        assert started.experiment.definition.config.receipt_key is not None
        ramp, end = over.experiment.history
        assert (ramp.action, end.action) == (RAMP, END)
        assert over.experiment.definition.config.traffic_allocation == 0.5
        assert 0 <= end.at_ms - end.due_at_ms < 30_000
        code, report = replayed(
            settings, "verify", "--experiment", experiment_id(EXPERIMENT), "--processes", "1"
        )
        assert code == 0, report


def test_a_step_that_was_due_while_no_worker_ran_is_held_by_what_happened_meanwhile(
    settings, tmp_path
):
    """All units of one variant are shown, and none of the other: the workers have to count it."""
    create_topics(settings)
    ledger = Ledger(settings)
    ramp = [{"after": 1, "trafficAllocation": 0.5}]

    def history() -> tuple[ScheduleEvent, ...]:
        snapshot = ledger.snapshot(EXPERIMENT)
        return () if snapshot is None else snapshot.experiment.history

    with workers_of(settings, tmp_path / "before") as workers:
        workers.start()
        ledger.start_experiment(EXPERIMENT, type="bayesian_ab", exposure="event")
        for receipt in ledger.assign(EXPERIMENT, 0):
            ledger.expose(receipt)
        ledger.producer.flush()
        until(lambda: ledger.is_exact(EXPERIMENT))
        assert not history()
    for partition in [*range(4)] * 10:
        for receipt in ledger.assign(EXPERIMENT, partition):
            if ledger.is_of_variant(receipt, 0):
                ledger.expose(receipt)
    schedule = {"ramp": ramp, "holdOn": ["sampleRatio"]}
    ledger.append(EXPERIMENT, CommandKind.UPDATE, {"schedule": schedule})
    with workers_of(settings, tmp_path / "after") as workers:
        workers.start()
        [done] = until(history)

        assert (done.action, done.because) == (HOLD, HoldOn.SAMPLE_RATIO)
        until(lambda: ledger.is_exact(EXPERIMENT))
