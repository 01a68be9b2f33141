"""Every process with the rights of docs/reference/security.md, on Kafka with TLS, SASL and ACLs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from streams.cli.main import app
from streams.kafka.answers import admin_client
from streams.model.errors import EngineError
from streams.settings import Settings
from tests.brokers.secure import ADMIN, PASSWORD, Right, SecureCluster, secure_cluster
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import environment, workers_of
from tests.integration.test_promotion import CONFIG as PROMOTING
from tests.integration.test_promotion import show
from tests.patience import PATIENCE_S, until_found

pytestmark = pytest.mark.kafka

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "security.md"
PREFIX = "shop-"


@dataclass(frozen=True)
class Installation:
    cluster: SecureCluster
    settings: Settings

    def of(self, user: str, **changes: Any) -> Settings:
        return self.settings.model_copy(update={"sasl_username": user, **changes})


def rights_table() -> dict[str, list[Right]]:
    """Return the rights of every user of the page's table."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    return {user: [_right(text) for text in cell.split("; ")] for user, cell in rows}


def _right(text: str) -> Right:
    operations, kind, name = re.fullmatch(
        r"([A-Z_, ]+) on (topic|group) `([^`]+)`", text.strip()
    ).groups()  # type: ignore[union-attr]
    return Right(
        kind,
        name.replace("P", PREFIX, 1).rstrip("*"),
        tuple(operations.split(", ")),
        name.endswith("*"),
    )


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


async def run(monkeypatch, settings: Settings, *arguments: str) -> Any:
    with monkeypatch.context() as patch:
        for name, value in environment(settings).items():
            patch.setenv(name, value)
        return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def test_every_process_works_with_its_rights_and_names_the_one_that_is_taken(
    installation, tmp_path, monkeypatch
):
    created = await run(monkeypatch, installation.of("topics"), "topics", "create")
    assert created.exit_code == 0, created.output

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
            # It has no letter yet, so nothing but its right keeps anybody from saying so.
            await _names_what_is_taken(
                monkeypatch, installation, "operator", "dead-letters", ("dead-letters", "list")
            )
            commands: tuple[tuple[str, tuple[str, ...]], ...] = (
                ("operator", ("doctor", "--json", "--api", api)),
                ("operator", ("dead-letters", "list", "--json")),
                ("archive", ("archive", "run", "--to", str(tmp_path / "archive"), "--json")),
                ("replay", ("replay", "verify", "--json")),
                ("replay", ("replay", "what-if", "--experiment", name, "--prior", "1,9")),
            )
            for user, arguments in commands:
                done = await run(monkeypatch, installation.of(user), *arguments)
                assert done.exit_code == 0, (user, arguments, done.output)

            poison = Producer({"bootstrap.servers": installation.cluster.internal_url})
            poison.produce(f"{PREFIX}observations", b"{")
            assert poison.flush(20) == 0

            async def is_listed() -> bool:
                listed = await run(
                    monkeypatch, installation.of("operator"), "dead-letters", "list", "--json"
                )
                return "INVALID_JSON" in listed.stdout

            await until_found(is_listed)
            resend = ("dead-letters", "resend", "--code", "INVALID_JSON", "--yes")
            resent = await run(monkeypatch, installation.of("resend"), *resend)
            assert resent.exit_code == 0, resent.output
            assert "1 sent again" in resent.stderr
            taken_from: tuple[tuple[str, str, tuple[str, ...]], ...] = (
                ("archive", "commands", ("archive", "run", "--to", str(tmp_path / "a"))),
                ("replay", "tallies", ("replay", "verify")),
                ("replay", "commands", ("replay", "what-if", "--experiment", name)),
                ("operator", "dead-letters", ("dead-letters", "list")),
                ("resend", "dead-letters", resend),
                ("resend", "observations", resend),
            )
            for user, right, arguments in taken_from:
                await _names_what_is_taken(monkeypatch, installation, user, right, arguments)
            await _rebuilds_and_drops_a_generation(installation)


async def _names_what_is_taken(monkeypatch, installation, user, topic, arguments):
    """Take a right on a topic from a user, see it named with the topic, and give it back."""
    [taken] = [each for each in rights_table()[user] if each.name == f"{PREFIX}{topic}"]
    installation.cluster.revoke(user, taken)
    refused = await _refused(monkeypatch, installation.of(user), arguments)
    assert refused.exit_code == 2, refused.output
    assert "KAFKA_ACCESS_DENIED" in refused.stderr
    assert taken.operations[0] in refused.stderr.upper()
    assert f"{PREFIX}{topic}" in refused.stderr
    installation.cluster.grant(user, [taken])


async def _rebuilds_and_drops_a_generation(installation):
    for user, arguments in (
        ("rebuild", ("start", "--processes", "1")),
        ("drop", ("drop", "2")),
    ):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "streams.cli", "replay", "rebuild", *arguments],
            env=os.environ | environment(installation.of(user)),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    left = installation.cluster.admin().list_topics(timeout=PATIENCE_S).topics
    assert not [each for each in left if "g2-" in each or "-v2-" in each]


async def _refused(monkeypatch, settings, arguments):
    """Return what comes of a command once the broker no longer lets it through."""
    deadline = time.monotonic() + 30
    while (done := await run(monkeypatch, settings, *arguments)).exit_code == 0:
        assert time.monotonic() < deadline
    return done


@pytest.mark.parametrize(
    ("kind", "name", "operation"),
    [("topic", f"{PREFIX}decisions", "READ"), ("group", f"{PREFIX}log-", "DESCRIBE")],
)
async def test_a_worker_without_a_right_does_not_start_and_names_it(
    installation, monkeypatch, kind, name, operation
):
    created = await run(monkeypatch, installation.of("topics"), "topics", "create")
    assert created.exit_code == 0, created.output
    taken = next(
        each
        for each in rights_table()["worker"]
        if (each.kind, each.name) == (kind, name) and operation in each.operations
    )
    installation.cluster.revoke("worker", taken)

    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "streams.worker"],
        env=os.environ | environment(installation.of("worker")),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert "KAFKA_ACCESS_DENIED" in done.stderr
    assert operation in done.stderr
    assert f"{kind} {name}" in done.stderr


async def test_a_worker_says_what_it_does_without_and_takes_it_up_once_it_may(
    installation, tmp_path, monkeypatch
):
    created = await run(monkeypatch, installation.of("topics"), "topics", "create")
    assert created.exit_code == 0, created.output
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
            # All else goes on: a step that fails for one experiment would hold up the others.
            await http.post(f"/experiments/{beside}/assign", json={"userId": "u"})

            async def goes_on() -> bool:
                return bool((await stats(beside))["totalAssignments"] == 1)

            await until_found(goes_on)
            experiment = (await http.get(f"/experiments/{name}")).json()
            assert experiment["promotion"] is None

            doctor = ("doctor", "--json", "--api", str(http.base_url))
            found = await run(monkeypatch, installation.of("operator"), *doctor)
            [finding] = [
                each
                for each in map(json.loads, found.stdout.splitlines())
                if each["code"] == "WORKER_LACKS_RIGHTS"
            ]
            for topic in without:
                assert f"WRITE on topic {PREFIX}{topic}" in finding["what"]
                assert f"WRITE on topic {PREFIX}{topic}" in workers.log()
            assert "again in" not in workers.log()  # nothing is tried in vain

            for topic in without:
                installation.cluster.grant(
                    "worker", [Right("topic", f"{PREFIX}{topic}", ("WRITE",))]
                )

            async def is_promoted() -> bool:
                await http.post(f"/experiments/{name}/assign", json={})
                shown = (await http.get(f"/experiments/{name}")).json()
                return shown["promotion"] is not None

            await until_found(is_promoted)
            well = await run(monkeypatch, installation.of("operator"), *doctor)
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


def test_the_page_has_a_row_for_every_user():
    assert rights_table().keys() == {
        "topics", "worker", "api", "ads", "operator", "archive", "replay", "resend", "rebuild",
        "drop", "webhooks",
    }  # fmt: skip
    assert json.dumps([each.name for each in rights_table()["ads"]]) == f'["{PREFIX}observations"]'
