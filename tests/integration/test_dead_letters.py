"""`experiment dead-letters` on real servers: what is sent again counts once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from streams.cli.main import app
from streams.kafka.admin import create_topics
from streams.local.plan import StackPlan
from streams.local.stack_files import registered
from streams.model.events import (
    Command,
    CommandKind,
    DeadLetter,
    Observation,
    ObservationBatch,
)
from streams.model.quantities import MICRO
from streams.wire.commands import encode_command
from streams.wire.dead_letters import encode_dead_letter
from streams.wire.observations import encode_observation_batch
from tests.integration.engine_ledger import Ledger, environment, workers_of
from tests.patience import PATIENCE_S, until

EXPERIMENT = 7
NOWHERE = "http://127.0.0.1:1"  # no embedded stack has this port, so the environment holds


@pytest.fixture
def run(settings, monkeypatch):
    create_topics(settings)
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["dead-letters", *arguments, "--api", NOWHERE])

    return run


def letters(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def duplicates(ledger: Ledger) -> int:
    snapshot = ledger.snapshot(EXPERIMENT)
    return 0 if snapshot is None else snapshot.duplicates


def test_a_refused_observation_of_a_counted_batch_counts_once_however_often_it_is_resent(
    settings, tmp_path, run
):
    ledger = Ledger(settings)
    keys = SecretStr(f"2:{'5a' * 32},{settings.signing_keys}")
    trusting = settings.model_copy(update={"receipt_keys": keys})
    with workers_of(settings, tmp_path) as workers:
        worker = workers.start()
        ledger.start_experiment(EXPERIMENT)
        good = ledger.assign(EXPERIMENT, 0)[0]
        ledger.producer.flush()
        unknown = Ledger(trusting).receipt(EXPERIMENT, 1, 99)
        batch = ObservationBatch(
            [
                Observation(good, "click", MICRO, None, ledger.now_ms + 1),  # twice it would count
                Observation(unknown, "click", 2 * MICRO, "e", ledger.now_ms + 1),
            ],
            incarnation=1,
            sequence=0,
        )
        sealed = ledger.seal("observations", 2, encode_observation_batch(batch))
        ledger.produce("observations", sealed, partition=2)
        ledger.producer.flush()
        [found] = until(lambda: letters(run("list", "--json")))
        assert (found["code"], found["index"], found["partition"]) == ("UNKNOWN_RECEIPT_KEY", 1, 2)
        worker.terminate()
        worker.wait(PATIENCE_S)

    with workers_of(trusting, tmp_path) as workers:
        workers.start()
        for _ in range(2):
            resent = run("resend", found["place"])
            assert resent.exit_code == 0, resent.stderr
        variant = int(ledger.is_of_variant(good, 1))
        ledger.observations[EXPERIMENT, variant, "click"] += 1
        ledger.totals[EXPERIMENT, variant, "click"] += MICRO
        ledger.observations[EXPERIMENT, 1, "click"] += 1
        ledger.totals[EXPERIMENT, 1, "click"] += 2 * MICRO

        until(lambda: ledger.is_exact(EXPERIMENT))
        until(lambda: duplicates(ledger) == 1)
        assert len(letters(run("list", "--json"))) == 1


def beside_a_stack(tmp_path, monkeypatch) -> Result:
    """List the letters without --api, where a stack of another Kafka runs on the default port."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    plan = StackPlan("127.0.0.1", 8080, 1, tmp_path)
    with registered(plan, plan.overrides("127.0.0.1:1", "redis://127.0.0.1:2/0", {})):
        return CliRunner().invoke(app, ["dead-letters", "list", "--json"])


def test_poison_is_listed_shown_and_refused_again_when_it_is_sent_again(
    settings, tmp_path, run, monkeypatch
):
    ledger = Ledger(settings)
    noise, forged = b"\xc3\x01\x00\xff", b'{"assignmentId":"x","metric":"click","value":1}'
    with workers_of(settings, tmp_path) as workers:
        ledger.produce("impressions", noise, partition=1)
        ledger.produce("observations", forged, "a key", partition=2)
        ledger.produce("observations", None, partition=3)
        ledger.producer.flush()
        workers.start()
        until(lambda: len(letters(run("list", "--json"))) == 3)
        assert letters(beside_a_stack(tmp_path, monkeypatch)) == letters(run("list", "--json"))
        prefix = settings.topic_prefix

        assert [
            each["place"] for each in letters(run("list", "--json", "--topic", "impressions"))
        ] == [f"{prefix}impressions:1:0:0"]
        assert letters(run("list", "--json", "--since", "1h", "--limit", "2"))[2:] == []
        assert sum(each["count"] for each in letters(run("list", "--by-code", "--json"))) == 3

        shown = run("show", f"{prefix}impressions:1:0", "--raw", str(tmp_path / "raw"))
        assert "00000000  c3 01 00 ff" in shown.stdout
        assert (tmp_path / "raw").read_bytes() == noise
        assert '"metric": "click"' in run("show", f"{prefix}observations:2:0").stdout

        nothing = run("resend", f"{prefix}observations:3:0")
        assert (nothing.exit_code, "NOTHING_TO_RESEND" in nothing.stderr) == (1, True)
        [code] = {each["code"] for each in letters(run("list", "--json")) if each["partition"] == 2}
        assert run("resend", "--code", code, "--yes").exit_code == 0
        until(lambda: len(letters(run("list", "--json", "--code", code))) == 2)
        [again] = letters(run("list", "--json", "--code", code, "--limit", "1"))
        assert again["offset"] == 1
        [sent, _] = [record for record in ledger.read("observations") if record[1] == forged]
        assert sent == (b"a key", forged)


def test_a_forged_letter_sends_nothing_where_its_record_has_never_been(settings, run):
    """A writer of letters alone causes no record that it may not write."""
    ledger = Ledger(settings)
    prefix = settings.topic_prefix
    ledger.produce("commands", b"another record", partition=0)
    ledger.producer.flush()
    before = {name: len(ledger.read(name)) for name in ("commands", "decisions", "observations")}
    command = encode_command(Command("f" * 32, EXPERIMENT, CommandKind.ARCHIVE, 1, {}))
    places = (
        (f"{prefix}commands", 0),
        (f"{prefix}decisions", 0),
        (f"{prefix}observations", settings.partitions),
        ("no-such-topic", 0),
    )
    for topic, partition in places:
        letter = DeadLetter(topic, partition, 0, 0, 1, "FORGED", "", "", b"key", command)
        ledger.produce("dead-letters", encode_dead_letter(letter))
    ledger.producer.flush()

    for arguments in (["--code", "FORGED", "--yes"], [f"{prefix}commands:0:0"]):
        resent = run("resend", *arguments)
        assert (resent.exit_code, "0 sent again" in resent.stderr) == (1, True), resent.stderr

    assert before == {name: len(ledger.read(name)) for name in before}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "observations:0:5"], "DEAD_LETTER_NOT_FOUND"),
        (["show", "nowhere"], "INVALID_PLACE"),
        (["resend"], "MISSING_FIELD"),
        (["resend", "a:1:2", "--code", "X"], "MISSING_FIELD"),
        (["resend", "a:1:2", "--topic", "a"], "CONFLICTING_OPTIONS"),
        (["list", "--since", "yesterday"], "INVALID_PERIOD"),
    ],
)
def test_what_cannot_be_done_says_why(run, arguments, code):
    result = run(*arguments)

    assert (result.exit_code, code in result.stderr) == (1, True)
