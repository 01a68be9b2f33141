"""Whatever bytes a broker accepts, on whatever topic: the worker runs, and good records count."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from functools import partial
from hashlib import sha256

import psutil
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record._crecords.cutil import crc32c_cython
from confluent_kafka import KafkaError, Message, Producer
from typer.testing import CliRunner

from schemas.catalogue import UNPACKED_BYTES
from streams.cli.main import app
from streams.kafka.admin import create_topics
from streams.kafka.source import KafkaSource
from streams.model.events import Command, CommandKind, Observation, ObservationBatch
from streams.model.ids import experiment_id
from streams.model.partitioning import partitions_of
from streams.model.quantities import MICRO
from streams.wire.commands import encode_command
from streams.wire.dead_letters import decode_dead_letter
from streams.wire.homes import home_of
from streams.wire.observations import encode_observation_batch
from tests.integration.engine_ledger import Ledger, environment, workers_of
from tests.patience import PATIENCE_S, until
from tests.raw_commands import with_payload

EXPERIMENT = 7
UNPACKED = 17 * 2**20
TOPICS = ("observations", "impressions", "commands", "tallies")
CONFIG = {"name": "twin", "type": "thompson_sampling", "primaryMetric": "click"}
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def ledger(settings):
    create_topics(settings)
    return Ledger(settings)


@pytest.fixture
def workers(settings, ledger, tmp_path):
    with workers_of(settings, tmp_path) as workers:
        yield workers


@pytest.fixture
def packing(settings):
    """Send records that are small packed, whatever they are unpacked; note their letters."""
    producer = Producer(
        settings.confluent_config()
        | {"compression.type": "gzip", "message.max.bytes": 2 * UNPACKED, "linger.ms": 0}
    )

    def send(
        ledger: Ledger, topic: str, value: bytes | None, code: str, partition: int = 1
    ) -> None:
        def note(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            place = message.topic(), message.partition(), message.offset()
            ledger.letters[place] = code  # type: ignore[index]

        key = b"key" if topic == "tallies" else None
        producer.produce(
            settings.topic_prefix + topic, value, key, partition=partition, on_delivery=note
        )
        assert producer.flush(PATIENCE_S) == 0

    return send


def good(ledger: Ledger) -> None:
    for partition in range(4):
        for receipt in ledger.assign(EXPERIMENT, partition)[:5]:
            ledger.observe(receipt)
    ledger.producer.flush()


def processor_s(process: subprocess.Popen[bytes]) -> float:
    """Return how long a process has been computing."""
    used = psutil.Process(process.pid).cpu_times()
    return float(used.user + used.system)


def settled(ledger: Ledger) -> bool:
    return ledger.is_exact(EXPERIMENT) and ledger.dead_letters() == ledger.letters


def test_oversized_empty_and_keyless_records_stop_no_topic(ledger, workers, packing):
    worker = workers.start()
    ledger.start_experiment(EXPERIMENT)
    good(ledger)

    for topic in TOPICS:
        packing(ledger, topic, bytes(UNPACKED), "RECORD_TOO_LARGE")
        packing(ledger, topic, b"\xc3\x01" + bytes(5 * 2**20), "RECORD_TOO_LARGE")
        packing(ledger, topic, b"", "UNDECODABLE_RECORD")
        packing(ledger, topic, b"\xff" * 900_000, "UNDECODABLE_RECORD")
    for topic in ("observations", "impressions", "commands"):
        packing(ledger, topic, None, "UNDECODABLE_RECORD")
    packing(ledger, "observations", b"[]", "EMPTY_RECORD")
    packing(ledger, "observations", b"[" + b"0," * 6_000_000 + b"0]", "RECORD_TOO_LARGE")
    packing(ledger, "observations", b"[" + b"0," * 400_000 + b"0]", "TOO_MANY_OBSERVATIONS")
    packing(ledger, "observations", b"[" * 900_000, "INVALID_JSON")
    good(ledger)

    until(lambda: settled(ledger))
    assert worker.poll() is None
    letters = [decode_dead_letter(value) for _, value in ledger.read("dead-letters")]
    assert max(len(letter.value or b"") for letter in letters) == 65_536
    assert UNPACKED in {letter.value_bytes for letter in letters}
    assert sha256(bytes(UNPACKED)).digest() in {letter.value_sha256 for letter in letters}


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_a_batch_that_unpacks_to_more_than_is_kept_is_one_letter_and_nothing_stands_still(
    settings, ledger, workers, codec
):
    """A megabyte of zstd may be 32 GB of records; a few megabytes are an ordinary batch."""
    worker = workers.start()
    ledger.start_experiment(EXPERIMENT)
    good(ledger)
    producer = Producer(
        settings.confluent_config()
        | {"compression.type": codec, "message.max.bytes": 2 * UNPACKED_BYTES, "linger.ms": 0}
    )
    offsets: list[int] = []
    for size in (UNPACKED_BYTES, 3 * 2**20, UNPACKED_BYTES):
        producer.produce(
            settings.topic_prefix + "observations",
            bytes(size),
            partition=1,
            on_delivery=lambda _, message: offsets.append(message.offset() or 0),
        )
        assert producer.flush(PATIENCE_S) == 0
    for offset in offsets:
        place = settings.topic_prefix + "observations", 1, offset
        ledger.letters[place] = "RECORD_TOO_LARGE"
    good(ledger)

    until(lambda: settled(ledger))
    assert worker.poll() is None
    source = KafkaSource(settings)
    span = source.spans("observations")[1]
    read = [
        record.offset
        for records in source.read("observations", 1, span.begin, span.end)
        for record in records
    ]
    assert read[-1] == span.end - 1
    assert offsets[1] in read


async def test_a_header_whose_name_is_no_text_stops_neither_a_partition_nor_a_reader(
    settings, ledger, workers
):
    """A broker takes any bytes there; the clients of Python know only text."""
    worker = workers.start()
    await asyncio.to_thread(ledger.start_experiment, EXPERIMENT)
    good(ledger)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_url)
    await producer.start()
    for topic in ("observations", "impressions"):
        batch = producer.create_batch()
        batch.append(key=b"k", value=b"first", timestamp=ledger.now_ms, headers=[])
        batch.append(key=b"k", value=b"x", timestamp=ledger.now_ms, headers=[("name", b"v")])
        batch.close()
        damaged = bytearray(batch._build())
        at = damaged.index(b"name")
        damaged[at : at + 4] = b"\xff\xfe\x80\xc3"
        damaged[17:21] = crc32c_cython(bytes(damaged[21:])).to_bytes(4, "big")
        batch._buffer = damaged
        sent = await producer.send_batch(batch, settings.topic_prefix + topic, partition=1)
        first = (await sent).offset
        for offset, code in ((first, "UNDECODABLE_RECORD"), (first + 1, "UNDECODABLE_RECORD")):
            ledger.letters[settings.topic_prefix + topic, 1, offset] = code
    await producer.stop()
    good(ledger)

    await asyncio.to_thread(until, lambda: settled(ledger))
    assert worker.poll() is None


def test_a_flood_of_refused_events_is_a_letter_for_each_record(ledger, workers, packing):
    n_records, n_members = 300, 10_000
    worker = workers.start()
    ledger.start_experiment(EXPERIMENT)
    good(ledger)
    for _ in range(n_records):
        packing(ledger, "observations", b"[" + b"0," * (n_members - 1) + b"0]", "WRONG_TYPE", 2)
    good(ledger)
    deadline = time.monotonic() + 2 * PATIENCE_S  # three million events

    # In seconds of the worker's processor, which others may take from it for a while.
    silent = 0.0
    seen = processor_s(worker)
    while not settled(ledger):
        assert time.monotonic() < deadline
        # Heartbeats expire after 5 s, so a loop that is blocked for as long is seen.
        if ledger.ready_workers() == 1:
            seen = processor_s(worker)
        silent = max(silent, processor_s(worker) - seen)
        time.sleep(0.1)

    assert silent < 3.0
    assert worker.poll() is None
    letters = [decode_dead_letter(value) for _, value in ledger.read("dead-letters")]
    assert len(letters) == n_records
    assert {(each.count, each.ranges) for each in letters} == {(n_members, ((0, n_members - 1),))}


def test_refused_commands_of_any_size_leave_the_experiment_in_hand(ledger, workers):
    worker = workers.start()
    ledger.start_experiment(EXPERIMENT)
    good(ledger)
    large = {"winnerVariantId": "v" * 900_000}
    refused = [ledger.append(EXPERIMENT, CommandKind.CONCLUDE, large) for _ in range(5)]
    text = '{"because":{"x":' + "[" * 300 + "]" * 300 + "}}"
    empty = Command("e" * 32, EXPERIMENT, CommandKind.CONCLUDE, ledger.now_ms, {})
    deep = with_payload(empty, text.encode())
    ledger.poison("commands", deep, "TOO_DEEP", experiment_id(EXPERIMENT))
    paused = ledger.append(EXPERIMENT, CommandKind.PAUSE)
    ledger.producer.flush()

    assert until(lambda: ledger.answer(paused))["status"] == "paused"
    for command in refused:
        answer = until(partial(ledger.answer, command))
        assert answer["code"] == "UNKNOWN_VARIANT"
        assert len(answer["message"]) < 300
    until(lambda: settled(ledger))
    assert worker.poll() is None

    worker.kill()  # and a fresh one reads what is kept forever
    worker.wait(PATIENCE_S)
    workers.start()
    resumed = ledger.append(EXPERIMENT, CommandKind.RESUME)
    ledger.producer.flush()
    assert until(lambda: ledger.answer(resumed))["status"] == "running"
    good(ledger)
    until(lambda: settled(ledger))


def test_commands_of_another_partitioner_make_no_twin_and_are_sent_again_to_their_partition(
    settings, ledger, workers, monkeypatch
):
    for name, setting in environment(settings).items():
        monkeypatch.setenv(name, setting)
    worker = workers.start()
    ledger.start_experiment(EXPERIMENT)
    good(ledger)
    home = home_of(EXPERIMENT, settings.partitions)
    started = {"config": CONFIG, "variants": [{"name": "a", "isControl": True}, {"name": "b"}]}
    kinds = (CommandKind.CREATE, CommandKind.START, CommandKind.CONCLUDE)
    for away in range(settings.partitions):
        for n, kind in enumerate(kinds if away != home else ()):
            payload = started if kind is CommandKind.CREATE else {}
            twin = Command(f"{away:016x}{n:016x}", EXPERIMENT, kind, ledger.now_ms, payload)
            ledger.poison("commands", encode_command(twin), "MISPLACED", partition=away)
    good(ledger)
    ledger.producer.flush()

    until(lambda: settled(ledger))
    paused = ledger.command(EXPERIMENT, CommandKind.PAUSE)
    assert paused["status"] == "paused"
    assert worker.poll() is None

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, [*arguments, "--json"])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert json.loads(run("replay", "verify", "--processes", "1"))["difference"] is None
    [place] = [
        ":".join(map(str, place))
        for place in ledger.letters
        if place[1] == (home + 1) % settings.partitions and place[2] == 2
    ]
    run("dead-letters", "resend", place, "--api", NOWHERE)
    answer = until(partial(ledger.answer, f"{(home + 1) % settings.partitions:016x}{2:016x}"))
    assert answer["status"] == "concluded"
    until(lambda: ledger.dead_letters() == ledger.letters)


def test_a_record_that_its_letter_has_not_whole_is_shown_and_sent_again_from_its_topic(
    settings, ledger, workers, monkeypatch
):
    for name, setting in environment(settings).items():
        monkeypatch.setenv(name, setting)
    worker = workers.start()
    ledger.start_experiment(EXPERIMENT)
    every = [ledger.receipt(EXPERIMENT, 0, unit) for unit in range(9_000)]
    homes = partitions_of([receipt.encode() for receipt in every], 4)
    receipts = [receipt for receipt, home in zip(every, homes, strict=True) if home == 2][:2_000]
    assert len(receipts) == 2_000
    late = ledger.now_ms + 2 * 86_400_000
    batch = ObservationBatch(
        [
            Observation(receipt, "click", MICRO, "e", late if n % 3 == 0 else ledger.now_ms)
            for n, receipt in enumerate(receipts)
        ]
    )
    value = encode_observation_batch(batch)
    assert len(value) > 2 * 65_536
    ledger.produce("observations", value, partition=2)
    ledger.producer.flush()

    [letter] = until(
        lambda: [decode_dead_letter(value) for _, value in ledger.read("dead-letters")]
    )
    assert (letter.code, letter.count) == ("EXPIRED_RECEIPT", 667)
    assert list(letter.indexes) == list(range(0, 2_000, 3))
    place = f"{letter.topic}:{letter.partition}:{letter.offset}"

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["dead-letters", *arguments, "--api", NOWHERE])
        assert result.exit_code == 0, result.output
        return result.stdout

    shown = json.loads(run("show", place, "--json"))
    assert (shown["count"], shown["bytes"], bytes.fromhex(shown["value"])) == (
        667,
        len(value),
        value,
    )
    sent = [json.loads(line) for line in run("resend", place, "--json").splitlines()]
    assert len(sent) == 667
    assert [int(each["place"].rsplit(":", 1)[1]) for each in sent] == list(range(0, 2_000, 3))
    until(lambda: len(ledger.read("dead-letters")) == 1 + 667)
    assert worker.poll() is None
