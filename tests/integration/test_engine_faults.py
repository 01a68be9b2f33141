"""Exact totals whatever happens to the workers, their input and Redis."""

from __future__ import annotations

import signal
from functools import partial

import psutil
import pytest

from streams.kafka.admin import create_topics
from streams.local.valkey import answers_redis, start_valkey
from streams.model.events import CommandKind
from streams.model.ids import experiment_id
from streams.wire.dead_letters import decode_dead_letter
from streams.wire.decisions import decode_decision
from tests.integration.engine_ledger import Ledger, workers_of
from tests.patience import PATIENCE_S, until

EXPERIMENT = 7


@pytest.fixture
def workers(settings, tmp_path):
    create_topics(settings)
    with workers_of(settings, tmp_path) as running:
        yield running


@pytest.fixture
def ledger(settings):
    return Ledger(settings)


def counted(ledger: Ledger) -> int:
    snapshot = ledger.snapshot(EXPERIMENT)
    return 0 if snapshot is None else sum(report.assignments for report in snapshot.variants)


def progress(ledger: Ledger) -> None:
    """Wait until more has been counted than now."""
    before = counted(ledger)
    until(lambda: counted(ledger) > before)


def test_what_is_sent_is_counted_and_commands_are_answered(workers, ledger):
    workers.start()
    ledger.start_experiment(EXPERIMENT)

    for partition in range(4):
        for receipt in ledger.assign(EXPERIMENT, partition)[:20]:
            ledger.observe(receipt, value=partition - 1)
    ledger.producer.flush()

    until(lambda: ledger.is_exact(EXPERIMENT))
    again = ledger.command(EXPERIMENT, CommandKind.START)
    assert again["code"] == "INVALID_TRANSITION"
    decisions = [decode_decision(value) for _, value in ledger.read("decisions")]
    assert [d.evidence["command"] for d in decisions if d.kind == "command"] == [
        "create",
        "start",
        "start",
    ]
    assert workers.stop() == [0]


def test_what_was_idle_is_published_at_once_however_long_what_is_busy_waits(settings, tmp_path):
    """Cells are emitted once an hour; but each of these is the first one of its experiment."""
    create_topics(settings)
    ledger = Ledger(settings)
    hourly = settings.model_copy(update={"tally_emit_interval_ms": 3_600_000})
    with workers_of(hourly, tmp_path) as workers:
        workers.start()
        for experiment in (EXPERIMENT, EXPERIMENT + 1, EXPERIMENT + 2):
            ledger.start_experiment(experiment)
            receipts = ledger.assign(experiment, 0)
            until(partial(ledger.is_exact, experiment))
            ledger.observe(receipts[0])
            ledger.producer.flush()
            until(partial(ledger.is_exact, experiment))


def test_a_worker_that_cannot_start_says_why_and_ends(settings, tmp_path):
    create_topics(settings)
    blocked = tmp_path / "file"
    blocked.touch()

    with workers_of(settings.model_copy(update={"data_dir": blocked}), tmp_path) as workers:
        worker = workers.start()

        assert worker.wait(PATIENCE_S) == 70
        assert "the app has not started" in workers.log()


def test_a_repeated_command_gets_its_first_answer(workers, ledger):
    workers.start()
    ledger.start_experiment(EXPERIMENT)
    first = ledger.command(EXPERIMENT, CommandKind.PAUSE, command_id="ab" * 16)
    ledger.command(EXPERIMENT, CommandKind.RESUME)
    ledger.redis.flushdb()

    again = ledger.command(EXPERIMENT, CommandKind.PAUSE, command_id="ab" * 16)

    assert again == first
    snapshot = until(lambda: ledger.snapshot(EXPERIMENT))
    assert snapshot.experiment.status == "running"


def test_a_worker_killed_in_mid_batch_loses_and_doubles_nothing(workers, ledger):
    worker = workers.start()
    ledger.start_experiment(EXPERIMENT)

    with ledger.traffic(EXPERIMENT):
        progress(ledger)
        worker.kill()
        workers.start()
        progress(ledger)

    until(lambda: ledger.is_exact(EXPERIMENT))


def test_a_second_worker_joins_and_leaves_under_load(workers, ledger):
    workers.start()
    ledger.start_experiment(EXPERIMENT)

    with ledger.traffic(EXPERIMENT):
        second = workers.start()
        until(lambda: ledger.ready_workers() == 2)
        progress(ledger)
        second.terminate()
        assert second.wait(PATIENCE_S) == 0, workers.log
        progress(ledger)

    until(lambda: ledger.is_exact(EXPERIMENT))


def test_a_worker_frozen_past_its_session_does_not_win(workers, ledger):
    first = workers.start()
    ledger.start_experiment(EXPERIMENT)
    workers.start()
    until(lambda: ledger.ready_workers() == 2)

    with ledger.traffic(EXPERIMENT):
        progress(ledger)
        first.send_signal(signal.SIGSTOP)
        until(lambda: ledger.ready_workers() == 1)
        progress(ledger)
        first.send_signal(signal.SIGCONT)
        until(lambda: ledger.ready_workers() == 2 or first.poll() is not None)
        progress(ledger)

    until(lambda: ledger.is_exact(EXPERIMENT))


def test_poison_goes_to_the_dead_letters_and_the_partition_goes_on(workers, ledger):
    ledger.produce("commands", b"\xc3\x01 not a command", "exp_0000000000007")
    ledger.produce("tallies", b"", "a compacted topic needs a key", partition=1)
    workers.start()
    ledger.start_experiment(EXPERIMENT)

    for partition in range(4):
        ledger.produce("impressions", b"\xc3\x01" + b"\x00" * 30, partition=partition)
        ledger.produce("observations", b"{" * 1000, partition=partition)
        for receipt in ledger.assign(EXPERIMENT, partition)[:5]:
            ledger.observe(receipt)
        ledger.produce("observations", None, partition=partition)
        signed = ledger.receipt(EXPERIMENT, 0, 1)
        forged = signed[:-2] + ("BA" if signed.endswith("AA") else "AA")
        ledger.produce(
            "observations",
            b'{"assignmentId":"%s","metric":"click","value":1}' % forged.encode(),
            partition=partition,
        )
        ledger.assign(EXPERIMENT, partition)
    ledger.producer.flush()

    until(lambda: ledger.is_exact(EXPERIMENT))
    until(lambda: len(ledger.read("dead-letters")) == 18)
    letters = [decode_dead_letter(value) for _, value in ledger.read("dead-letters")]
    assert {letter.code for letter in letters} == {
        "UNDECODABLE_RECORD",
        "UNKNOWN_SCHEMA",
        "INVALID_JSON",
        "FORGED_RECEIPT",
    }
    assert any(letter.value == b"{" * 1000 for letter in letters)


def test_repeated_batches_and_events_count_once(workers, ledger):
    worker = workers.start()
    ledger.start_experiment(EXPERIMENT)
    receipts = [r for partition in range(4) for r in ledger.assign(EXPERIMENT, partition, times=3)]
    for receipt in receipts[::4]:
        ledger.observe(receipt, times=5)
    ledger.producer.flush()
    until(lambda: ledger.is_exact(EXPERIMENT))

    worker.kill()
    workers.start()
    for receipt in receipts[1::4]:
        ledger.observe(receipt, times=5)
    ledger.producer.flush()

    until(lambda: ledger.is_exact(EXPERIMENT))
    snapshot = until(lambda: ledger.snapshot(EXPERIMENT))
    until(lambda: ledger.snapshot(EXPERIMENT).duplicates == 4 * len(receipts) // 2)
    assert snapshot.experiment.version == 2


def test_a_full_memory_of_events_refuses_visibly_and_counts_later_what_is_sent_again(
    settings, tmp_path
):
    create_topics(settings)
    small = settings.model_copy(update={"deduplication_max_entries": 1_000})
    ledger = Ledger(settings)
    with workers_of(small, tmp_path / "small") as workers:
        workers.start()
        ledger.start_experiment(EXPERIMENT)
        sent = [ledger.observe(ledger.receipt(EXPERIMENT, 0, unit)) for unit in range(5_000)]
        again = sent[::100]
        for observation in again:
            ledger.send(observation)
        ledger.producer.flush()

        def is_all_counted() -> bool:
            snapshot = ledger.snapshot(EXPERIMENT)
            assert snapshot is not None
            n_counted = snapshot.variants[0].observations + snapshot.duplicates
            return n_counted + len(ledger.dead_letters()) == len(sent) + len(again)

        until(is_all_counted)
        snapshot = ledger.snapshot(EXPERIMENT)
        assert snapshot is not None
        assert snapshot.variants[0].observations == 4_000  # 4 partitions remember 1,000 each
        assert set(ledger.dead_letters().values()) == {"DEDUPLICATION_WINDOW_FULL"}
        assert snapshot.recommended_action == "investigate"
        assert snapshot.evidence is not None
        miscounts = snapshot.evidence.miscounts
        assert miscounts is not None
        assert miscounts.is_memory_full
        assert miscounts.unremembered_observations == len(ledger.dead_letters())

    with workers_of(settings, tmp_path / "large") as workers:
        workers.start()
        for _, value in ledger.read("dead-letters"):
            letter = decode_dead_letter(value)
            ledger.produce("observations", letter.value, partition=letter.partition)
        ledger.producer.flush()

        until(lambda: ledger.is_exact(EXPERIMENT))


def test_certain_winners_are_promoted_through_the_log(workers, ledger):
    workers.start()
    ledger.start_experiment(
        EXPERIMENT,
        type="bayesian_ab",
        autoPromoteWinner=True,
        minDuration=0,
        minSampleSize=10,
        unit="impression",
    )

    def concluded() -> bool:
        for receipt in ledger.assign(EXPERIMENT, 0):
            if ledger.is_of_variant(receipt, 1):
                ledger.observe(receipt)
        ledger.producer.flush()
        snapshot = ledger.snapshot(EXPERIMENT)
        return snapshot is not None and snapshot.experiment.status == "concluded"

    until(concluded)
    snapshot = ledger.snapshot(EXPERIMENT)
    assert snapshot.experiment.winner == snapshot.winner == 1
    kinds = [decode_decision(value).kind for _, value in ledger.read("decisions")]
    assert kinds.count("conclude_winner") == 1
    assert kinds.count("command") == 3


async def test_redis_killed_and_emptied_is_written_again(settings, tmp_path):
    create_topics(settings)
    valkey, url = await start_valkey(tmp_path / "own")
    settings = settings.model_copy(update={"redis_url": url})
    try:
        with workers_of(settings, tmp_path) as workers:
            workers.start()
            ledger = Ledger(settings)
            ledger.start_experiment(EXPERIMENT)
            ledger.start_experiment(EXPERIMENT + 1)
            ledger.assign(EXPERIMENT, 0)
            until(lambda: ledger.is_exact(EXPERIMENT))

            psutil.Process(valkey.pid).kill()
            await valkey.ended()
            ledger.assign(EXPERIMENT, 1)
            ledger.producer.flush()
            await valkey.start()
            await valkey.ready(lambda: answers_redis(url), timeout_s=PATIENCE_S)

            until(lambda: ledger.is_exact(EXPERIMENT))
            key = ledger.keys.timeseries(experiment_id(EXPERIMENT))
            until(lambda: ledger.redis.hgetall(key) == logged(ledger) != {})
            points = ledger.redis.hgetall(key)

            ledger.redis.flushall()

            until(lambda: ledger.is_exact(EXPERIMENT) and ledger.snapshot(EXPERIMENT + 1))
            until(lambda: points.items() <= ledger.redis.hgetall(key).items())
    finally:
        await valkey.stop()


def logged(ledger: Ledger) -> dict[bytes, bytes]:
    """Return the points of the experiment that the log has, by second."""
    newest = dict(ledger.read("timeseries"))
    name = experiment_id(EXPERIMENT).encode()
    return {
        second: value
        for key, value in newest.items()
        if key is not None and value is not None
        for owner, _, second in [key.partition(b"/")]
        if owner == name
    }
