"""Every process with the rights of docs/reference/security.md, on Kafka with TLS, SASL and ACLs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import NewTopic
from pydantic import SecretStr
from typer.testing import CliRunner

from api.services.webhooks import WebhookService
from schemas.catalogue import COMMANDS, DECISIONS, TOPICS, WEBHOOKS
from streams.cli.main import app
from streams.kafka.answers import admin_client
from streams.kafka.rights import check_webhooks
from streams.kafka.source import KafkaSource
from streams.local.children import Child
from streams.model.errors import EngineError
from streams.model.events import LETTER_VALUE_BYTES
from streams.settings import Settings
from streams.webhooks.configuration import policy_of
from streams.webhooks.definition import WebhookRequest
from streams.webhooks.dispatcher import now_ms
from streams.webhooks.log import WebhookReader, WebhookWriter
from streams.webhooks.sealing import seals_of
from streams.webhooks.signing import new_secret
from tests.brokers.rights import PREFIX, Right, command_of, commands_table, rights_table
from tests.brokers.secure import ADMIN, PASSWORD, SecureCluster, secure_cluster
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import environment, workers_of
from tests.integration.test_promotion import CONFIG as PROMOTING
from tests.integration.test_promotion import show
from tests.integration.test_webhooks import Engine
from tests.integration.webhooks_process import KEY, webhooks_of
from tests.patience import PATIENCE_S, until_found, until_true
from tests.streams.webhooks.receiver import receiving

pytestmark = pytest.mark.kafka

SENDING = {
    "webhook_keys": SecretStr(KEY),
    "webhook_allowed_networks": "127.0.0.0/8",
    "webhook_allow_http": True,
}
"""Settings of API and webhooks that let events be sent to this machine."""


@dataclass(frozen=True)
class Installation:
    """A cluster that knows every user of the table.

    Attributes:
        cluster: The cluster.
        settings: The settings of its administrator.
        ran: Commands that were run, and succeeded.
    """

    cluster: SecureCluster
    settings: Settings
    ran: set[str] = field(default_factory=set)

    def of(self, user: str, **changes: Any) -> Settings:
        return self.settings.model_copy(update={"sasl_username": user, **changes})


@pytest.fixture
async def installation(settings, tmp_path) -> AsyncIterator[Installation]:
    async with secure_cluster(tmp_path / "kafka") as cluster:
        own = settings.model_copy(
            update={
                "kafka_url": cluster.url,
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_username": ADMIN,
                "sasl_password": type(settings.receipt_keys)(PASSWORD),
                "ssl_cafile": cluster.ca,
                "topic_prefix": PREFIX,
            }
        )
        for user, rights in rights_table().items():
            cluster.grant(user, rights)
        yield Installation(cluster, own)


@dataclass(frozen=True)
class Done:
    """Exit code and output of a command."""

    exit_code: int
    stdout: str
    stderr: str


TAKING_SIGNALS = {"export", "replay rebuild switch", "replay rebuild drop"}
"""Commands that need a main thread, and so a separate process."""


async def run(monkeypatch, installation: Installation, user: str, *arguments: str) -> Done:
    """Run a command as a user."""
    command, settings = command_of(arguments), installation.of(user)
    if command in TAKING_SIGNALS:
        done = await asyncio.to_thread(_in_separate_process, settings, arguments)
    else:
        with monkeypatch.context() as patch:
            for name, value in environment(settings).items():
                patch.setenv(name, value)
            found = await asyncio.to_thread(CliRunner().invoke, app, list(arguments))
        done = Done(found.exit_code, found.stdout, f"{found.stderr}{found.exception or ''}")
    if done.exit_code == 0:
        installation.ran.add(command)
    return done


def _in_separate_process(settings: Settings, arguments: tuple[str, ...]) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments],
        env=os.environ | environment(settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


async def succeed(monkeypatch, installation: Installation, *arguments: str) -> Done:
    """Run a command as the user of its row of the table; it succeeds."""
    user = commands_table()[command_of(arguments)]
    done = await run(monkeypatch, installation, user, *arguments)
    assert done.exit_code == 0, (user, arguments, done)
    return done


async def test_every_process_works_with_its_rights_and_names_the_one_that_is_taken(
    installation, tmp_path, monkeypatch
):
    await succeed(monkeypatch, installation, "topics", "create")

    with workers_of(installation.of("worker"), tmp_path) as workers:
        workers.start()
        async with api_of(installation.of("api"), tmp_path) as (_, http):
            api = str(http.base_url)
            name = await run_experiment(http, type="bayesian_ab")
            assigned = (await http.post(f"/experiments/{name}/assign", json={"userId": "u"})).json()
            click = {"assignmentId": assigned["id"], "metric": "click", "value": 1}
            assert (await http.post("/observations", json=click)).status_code == 202

            async def counted() -> bool:
                stats = (await http.get(f"/experiments/{name}/stats")).json()
                return bool(sum(each["stats"]["observations"] for each in stats["variants"]) == 1)

            await until_found(counted)
            # The partition has no dead letter yet, so only the missing right can cause a failure.
            await _names_what_is_taken(
                monkeypatch, installation, "dead-letters", ("dead-letters", "list")
            )
            export = "export", "--api", api, "--to"  # no embedded stack runs there
            archive = "archive", "run", "--to"
            commands: tuple[tuple[str, ...], ...] = (
                ("doctor", "--json", "--api", api),
                ("dead-letters", "list", "--json"),
                ("schemas", "status"),
                ("schemas", "enable"),
                ("receipts", "status"),
                ("receipts", "rebuild"),
                ("import", "open-bandit", "--limit", "20", "--api", api),
                (*archive, str(tmp_path / "archive"), "--json"),
                (*export, f"parquet:{tmp_path / 'rows'}"),
                ("replay", "verify", "--json"),
                ("replay", "what-if", "--experiment", name, "--prior", "1,9"),
                ("evaluate", name),
                ("replay", "rebuild", "status"),
            )
            for arguments in commands:
                await succeed(monkeypatch, installation, *arguments)
            await _observes_a_topic(monkeypatch, installation, api, name, tmp_path)

            # More than a letter holds: who shows it or sends it again reads it where it was.
            poison = Producer({"bootstrap.servers": installation.cluster.internal_url})
            poison.produce(f"{PREFIX}observations", b"{" + bytes(LETTER_VALUE_BYTES))
            assert poison.flush(PATIENCE_S) == 0
            place = await _place_of_letter(monkeypatch, installation, "observations")
            shown = await succeed(monkeypatch, installation, "dead-letters", "show", place)
            assert "no longer" not in shown.stdout
            resend = ("dead-letters", "resend", place)
            resent = await succeed(monkeypatch, installation, *resend)
            assert "1 sent again, 0 refused" in resent.stderr
            taken_from: tuple[tuple[str, tuple[str, ...]], ...] = (
                ("commands", (*archive, str(tmp_path / "a"))),
                *(
                    (topic, (*export, f"parquet:{tmp_path / topic}"))
                    for topic in (
                        "commands", "impressions", "observations", "generations", "posteriors",
                    )
                ),
                ("generations", ("schemas", "status")),
                ("impressions", ("receipts", "rebuild")),
                ("tallies", ("replay", "verify")),
                ("commands", ("replay", "what-if", "--experiment", name)),
                ("dead-letters", ("dead-letters", "list")),
                ("dead-letters", resend),
                ("observations", resend),
            )  # fmt: skip
            for topic, arguments in taken_from:
                await _names_what_is_taken(monkeypatch, installation, topic, arguments)
            await _rebuilds_and_drops_a_generation(monkeypatch, installation, export, tmp_path)
    started = {"worker", "api"}
    elsewhere = {"webhooks run"}
    assert installation.ran | started | elsewhere == commands_table().keys()


async def _place_of_letter(monkeypatch, installation, topic):
    """Return the place of a dead letter of a topic, once there is one."""
    found: list[str] = []

    async def is_listed() -> bool:
        listed = await succeed(
            monkeypatch, installation, "dead-letters", "list", "--topic", topic, "--json"
        )
        found.extend(json.loads(line)["place"] for line in listed.stdout.splitlines())
        return bool(found)

    await until_found(is_listed)
    return found[0]


async def _observes_a_topic(monkeypatch, installation, api, experiment, tmp_path):
    """Have a sender's topic read: of two records one becomes a dead letter, and one counts."""
    admin = installation.cluster.admin()
    admin.create_topics([NewTopic("conversions", 1, 1)])["conversions"].result(PATIENCE_S)
    sender = Producer({"bootstrap.servers": installation.cluster.internal_url})
    good = {"experiment": experiment, "userId": "u", "metric": "click", "value": 1}
    for value in (b"{no JSON", json.dumps(good).encode()):
        sender.produce("conversions", value)
    assert sender.flush(PATIENCE_S) == 0
    arguments = "observe", "--topic", "conversions", "--api", api
    user = commands_table()[command_of(arguments)]
    command = sys.executable, "-m", "streams.cli", *arguments
    variables = os.environ | environment(installation.of(user))
    process = Child("observe", command, variables, tmp_path, PATIENCE_S)
    await process.start()
    try:
        place = await _place_of_letter(monkeypatch, installation, "conversions")
        assert place.startswith("conversions:")
    finally:
        await process.stop()
    assert await process.ended() == "exited with code 0"
    installation.ran.add(command_of(arguments))


async def _names_what_is_taken(monkeypatch, installation, topic, arguments):
    """Take a right on a topic from a user, see it named with the topic, and give it back."""
    user = commands_table()[command_of(arguments)]
    [taken] = [each for each in rights_table()[user] if each.name == f"{PREFIX}{topic}"]
    installation.cluster.revoke(user, taken)
    refused = await _refused(monkeypatch, installation, user, arguments)
    assert refused.exit_code == 2, refused
    assert "KAFKA_ACCESS_DENIED" in refused.stderr
    assert taken.operations[0] in refused.stderr.upper()
    assert f"{PREFIX}{topic}" in refused.stderr
    installation.cluster.grant(user, [taken])


async def _rebuilds_and_drops_a_generation(monkeypatch, installation, export, tmp_path):
    start = "replay", "rebuild", "start", "--processes", "1"
    await succeed(monkeypatch, installation, "replay", "rebuild", "status")
    user = commands_table()[command_of(start)]
    command = sys.executable, "-m", "streams.cli", *start, "--switch"
    variables = os.environ | environment(installation.of(user))
    builder = Child("rebuild", command, variables, tmp_path, PATIENCE_S)
    await builder.start()
    try:
        await until_true(lambda: "Generation 2 is active" in (tmp_path / "rebuild.log").read_text())
        installation.ran.add(command_of(start))
        # A generation has separate topics, on which its readers need separate rights.
        again = *export, f"parquet:{tmp_path / 'g2'}"
        own = Right("topic", f"{PREFIX}g2-posteriors", ("READ",))
        refused = await run(monkeypatch, installation, "export", *again)
        assert own.name in refused.stderr, refused
        installation.cluster.grant("export", [own])
        await until_found(lambda: _succeeds(monkeypatch, installation, again))
        back = "replay", "rebuild", "switch", "1", "--processes", "1"
        await succeed(monkeypatch, installation, *back)
    finally:
        await builder.stop()
    await succeed(monkeypatch, installation, "replay", "rebuild", "drop", "2")
    left = installation.cluster.admin().list_topics(timeout=PATIENCE_S).topics
    assert not [each for each in left if "g2-" in each or "-v2-" in each]


async def _succeeds(monkeypatch, installation, arguments):
    user = commands_table()[command_of(arguments)]
    return (await run(monkeypatch, installation, user, *arguments)).exit_code == 0


async def _refused(monkeypatch, installation, user, arguments):
    """Return the result of a command once the broker no longer allows it."""
    deadline = time.monotonic() + PATIENCE_S
    while (done := await run(monkeypatch, installation, user, *arguments)).exit_code == 0:
        assert time.monotonic() < deadline
    return done


@pytest.mark.parametrize(
    ("kind", "name", "operation"),
    [("topic", f"{PREFIX}decisions", "READ"), ("group", f"{PREFIX}log-", "DESCRIBE")],
)
async def test_a_worker_without_a_right_does_not_start_and_names_it(
    installation, monkeypatch, kind, name, operation
):
    await succeed(monkeypatch, installation, "topics", "create")
    await _does_not_start(installation, "worker", kind, name, operation)


async def _does_not_start(installation, user, kind, name, operation):
    """Take a right from a worker or the process of webhooks, and see it named as it ends."""
    taken = next(
        each
        for each in rights_table()[user]
        if (each.kind, each.name) == (kind, name) and operation in each.operations
    )
    installation.cluster.revoke(user, taken)

    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", f"streams.{user}"],
        env=os.environ | environment(installation.of(user)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert "KAFKA_ACCESS_DENIED" in done.stderr
    assert operation in done.stderr
    assert f"{kind} {name}" in done.stderr


async def test_webhooks_are_delivered_with_their_rights_and_no_others(installation, monkeypatch):
    await succeed(monkeypatch, installation, "topics", "create")
    engine = Engine(installation.settings)
    own, writer = installation.of("api", **SENDING), WebhookWriter(installation.of("api"))
    reader = WebhookReader(KafkaSource(own))
    service = WebhookService(reader, writer, seals_of(own), policy_of(own), now_ms)

    async with receiving() as receiver:
        asked = WebhookRequest(url=receiver.url(), secret=new_secret(), tags=("checkout",))
        made = await service.create(asked, None)
        with webhooks_of(installation.of("webhooks", **SENDING)) as process:
            await asyncio.to_thread(engine.create, "hero", "checkout")
            await until_true(lambda: receiver.received)
            [(_, _, body), *_] = receiver.received
            assert json.loads(body)["data"]["experiment"]["name"] == "Hero"  # of `commands`

            async def is_written() -> bool:
                found = await service.get(made.webhook.webhook_id)
                return bool(found.progress.state.delivered)

            await until_found(is_written)
            assert process.end() == 0
    await asyncio.to_thread(writer.close)
    await asyncio.to_thread(_webhooks_may_do_no_more, installation)
    await _names_every_right_that_webhooks_lack(installation)


def _webhooks_may_do_no_more(installation):
    """Write and read as the process of webhooks what it has no right to; Kafka refuses all."""
    settings = installation.of("webhooks")
    unwritten = {settings.topic_name(each) for each in TOPICS if each is not WEBHOOKS}
    refused: dict[str, int | None] = {}

    def note(error: KafkaError | None, message: Message) -> None:
        refused[str(message.topic())] = None if error is None else error.code()

    producer = Producer(settings.confluent_config() | {"log_level": 0})
    for topic in unwritten:
        producer.produce(topic, b"forged", partition=0, on_delivery=note)
    assert producer.flush(PATIENCE_S) == 0
    assert refused == dict.fromkeys(unwritten, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    for each in TOPICS:
        if each not in {COMMANDS, DECISIONS, WEBHOOKS}:
            with pytest.raises(EngineError) as refusal:
                KafkaSource(settings).spans(each.name)
            assert refusal.value.code == "KAFKA_ACCESS_DENIED"


async def _names_every_right_that_webhooks_lack(installation):
    """Take every operation from the process of webhooks alone; it names it and does not start."""
    settings, cluster = installation.of("webhooks"), installation.cluster
    for right in rights_table()["webhooks"]:
        for operation in right.operations:
            others = tuple(each for each in right.operations if each != operation)
            cluster.revoke("webhooks", right)
            if others:
                cluster.grant("webhooks", [replace(right, operations=others)])
            lacking = f"lacks {operation} on {right.kind} {right.name}"

            async def is_named(lacking: str = lacking) -> bool:
                return lacking in await asyncio.to_thread(_lack_of_webhooks, settings)

            await until_found(is_named)
            cluster.grant("webhooks", [replace(right, operations=(operation,))])

            async def has_all() -> bool:
                return not await asyncio.to_thread(_lack_of_webhooks, settings)

            await until_found(has_all)
    await _does_not_start(installation, "webhooks", "topic", f"{PREFIX}decisions", "READ")


def _lack_of_webhooks(settings: Settings) -> str:
    try:
        check_webhooks(settings)
    except EngineError as error:
        return error.message
    return ""


async def test_a_worker_says_what_it_does_without_and_takes_it_up_once_it_may(
    installation, tmp_path, monkeypatch
):
    await succeed(monkeypatch, installation, "topics", "create")
    without = ("commands", "impressions", "observations")
    for topic in without:
        [both] = [each for each in rights_table()["worker"] if each.name == f"{PREFIX}{topic}"]
        installation.cluster.revoke("worker", both)
        installation.cluster.grant("worker", [Right("topic", both.name, ("READ",))])

    with workers_of(installation.of("worker"), tmp_path) as workers:
        workers.start()
        async with api_of(installation.of("api"), tmp_path) as (_, http):
            name = await run_experiment(http, **PROMOTING)
            beside = await run_experiment(http, type="bayesian_ab")
            await show(http, name, "click")

            async def stats(of: str) -> Any:
                return (await http.get(f"/experiments/{of}/stats")).json()

            async def waits_for_promotion() -> bool:
                return bool((await stats(name))["recommendedAction"] == "conclude_winner")

            await until_found(waits_for_promotion)
            # All else continues: a step that fails for one experiment would hold up the others.
            await http.post(f"/experiments/{beside}/assign", json={"userId": "u"})

            async def goes_on() -> bool:
                return bool((await stats(beside))["totalAssignments"] == 1)

            await until_found(goes_on)
            experiment = (await http.get(f"/experiments/{name}")).json()
            assert experiment["promotion"] is None

            doctor = ("doctor", "--json", "--api", str(http.base_url))
            found = await run(monkeypatch, installation, "operator", *doctor)
            [finding] = [
                each
                for each in map(json.loads, found.stdout.splitlines())
                if each["code"] == "WORKER_LACKS_RIGHTS"
            ]
            for topic in without:
                assert f"WRITE on topic {PREFIX}{topic}" in finding["what"]
                assert f"WRITE on topic {PREFIX}{topic}" in workers.log()
            assert "again in" not in workers.log()  # nothing is tried without success

            for topic in without:
                installation.cluster.grant(
                    "worker", [Right("topic", f"{PREFIX}{topic}", ("WRITE",))]
                )

            async def is_promoted() -> bool:
                await http.post(f"/experiments/{name}/assign", json={})
                shown = (await http.get(f"/experiments/{name}")).json()
                return shown["promotion"] is not None

            await until_found(is_promoted)
            well = await run(monkeypatch, installation, "operator", *doctor)
            assert "WORKER_LACKS_RIGHTS" not in well.stdout


async def test_every_cause_of_no_entry_has_its_code_within_seconds(installation):
    cluster = installation.cluster
    certificate, key = cluster.certificate("worker")
    wrong = type(installation.settings.receipt_keys)("wrong")
    causes = {
        "KAFKA_TLS_FAILED": installation.of("worker", ssl_cafile=None),
        "KAFKA_AUTHENTICATION_FAILED": installation.of("worker", sasl_password=wrong),
        "KAFKA_PROTOCOL_MISMATCH": installation.of("worker", security_protocol="PLAINTEXT"),
        "KAFKA_UNKNOWN_HOST": installation.of("worker", kafka_url="kafka.invalid:9092"),
    }
    protocols = (
        installation.of("worker", security_protocol="SSL"),
        installation.of("worker", security_protocol="SASL_PLAINTEXT"),
        installation.of("worker", kafka_url=cluster.internal_url),
        installation.of(
            "worker", kafka_url=cluster.internal_url, security_protocol="SASL_PLAINTEXT"
        ),
    )
    for code, settings in (
        *causes.items(),
        *(("KAFKA_PROTOCOL_MISMATCH", settings) for settings in protocols),
    ):
        started = time.monotonic()
        with pytest.raises(EngineError) as refusal:
            admin_client(settings)
        assert refusal.value.code == code, refusal.value
        assert time.monotonic() - started < 5.0
    no_certificate = installation.of(
        "worker", kafka_url=cluster.mutual_url, security_protocol="SSL"
    )
    with pytest.raises(EngineError) as refusal:
        admin_client(no_certificate)
    assert (refusal.value.code, refusal.value.path) == (
        "KAFKA_TLS_FAILED",
        "EXPERIMENT_SSL_CERTFILE",
    )

    mutual = no_certificate.model_copy(update={"ssl_certfile": certificate, "ssl_keyfile": key})
    for settings in (
        mutual,
        installation.of("worker", sasl_mechanism="SCRAM-SHA-256"),
        installation.of("worker", sasl_mechanism="PLAIN"),
    ):
        assert admin_client(settings).list_topics(timeout=PATIENCE_S).brokers
