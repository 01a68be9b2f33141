"""The engine with a real schema registry: what it frames, and what a registry can do to it.

`make test-registry` runs this; elsewhere it is skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from fastavro import parse_schema, schemaless_writer
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook as Verifier
from typer.testing import CliRunner, Result

from schemas import library
from schemas.catalogue import OBSERVATIONS
from schemas.codec import Codec
from schemas.confluent_registry import SchemaRegistry
from streams.cli.main import app
from streams.kafka.admin import create_topics
from streams.kafka.records import all_records
from streams.kafka.source import KafkaSource
from streams.process.exits import EXIT_CONFIGURATION
from streams.settings import Settings
from tests.brokers.maven import ProgramMissingError
from tests.brokers.schema_registry import START_S, SchemaRegistryServer, schema_registry
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import environment, workers_of
from tests.integration.test_export import rows, started
from tests.integration.test_replay import replayed
from tests.integration.topics import with_points
from tests.integration.webhooks_process import KEY, webhooks_of
from tests.patience import PATIENCE_S, until, until_found, until_true
from tests.streams.webhooks.receiver import receiving

pytestmark = [
    pytest.mark.skipif("SCHEMA_REGISTRY" not in os.environ, reason="run by `make test-registry`"),
    pytest.mark.timeout(600),
]

N_USERS = 40
N_EVENTS = 3  # created, started and concluded
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOWHERE = "http://127.0.0.1:1"  # no embedded stack has this port, so the environment holds

FRAMED = {
    "impressions": {"ImpressionBatch"},
    "observations": {"Observation", "ObservationBatch"},
    "commands": {"Command"},
    "tallies": {"TallyCell"},
    "posteriors": {"Snapshot"},
    "decisions": {"Decision"},
    "timeseries": {"TimePoint"},
    "webhooks": {"c301"},
}
"""Records of each topic by their name in the registry; `c301` marks single objects."""

Counts = dict[str, tuple[int, int, int]]
"""Assignments, clicks and micro-units of revenue by variant."""

INCOMPATIBLE = json.dumps(
    {
        "type": "record",
        "name": "Command",
        "namespace": "experiment_streams",
        "fields": [{"name": "kind", "type": {"type": "array", "items": "int"}}],
    }
)
"""A foreign schema under the name of one of ours."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SchemaRegistryServer]:
    """A registry, or the reason why it is unavailable."""
    try:
        with schema_registry(tmp_path_factory.mktemp("registry")) as running:
            yield running
    except ProgramMissingError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))


@pytest.fixture
def registry(server: SchemaRegistryServer) -> SchemaRegistryServer:
    """The registry, without a schema, and as strict as one in production."""
    server.run()
    server.forget()
    server.require_compatibility("BACKWARD_TRANSITIVE")
    return server


@pytest.fixture
def framed(settings: Settings, registry: SchemaRegistryServer) -> Settings:
    """An installation that frames by the registry, whose topics are there."""
    create_topics(settings)
    return settings.model_copy(update={"schema_registry_url": registry.url})


@dataclass(frozen=True)
class Pipeline:
    """An ads pipeline that writes observations with its own schema to Kafka.

    Attributes:
        schema_id: Id of its schema in the registry.
    """

    settings: Settings
    schema: Any
    schema_id: int

    @classmethod
    def of(cls, settings: Settings, registry: SchemaRegistryServer) -> Pipeline:
        """Register our schema with one more field, of a name that no other one has."""
        field = f"campaign_{secrets.token_hex(4)}"
        schema = json.loads(library.current("observation").text)
        schema["fields"].append({"name": field, "type": "string"})
        subject = f"{settings.topic_name(OBSERVATIONS)}-{field}"
        return cls(settings, parse_schema(schema), registry.register(subject, json.dumps(schema)))

    def send(self, *receipts: str, event: str = "order", schema_id: int | None = None) -> None:
        """Send a purchase of 2.00 of each receipt, twice."""
        producer = Producer(
            self.settings.confluent_config() | {"partitioner": "murmur2_random", "log_level": 0}
        )
        *_, further = self.schema["fields"]
        for number, receipt in enumerate(receipts):
            record = {
                "assignment_id": receipt,
                "metric": "revenue",
                "value_micros": 2_000_000,
                "event_id": f"{event}-{number}",
                "observed_at_ms": None,
                further["name"]: "spring",
            }
            value = BytesIO()
            value.write((schema_id or self.schema_id).to_bytes(5, "big"))
            schemaless_writer(value, self.schema, record)
            for _ in range(2):
                topic = self.settings.topic_name(OBSERVATIONS)
                producer.produce(topic, value.getvalue(), receipt)
        assert producer.flush(PATIENCE_S) == 0


async def assign(http: httpx.AsyncClient, name: str, users: range) -> dict[str, str]:
    """Assign users, click for each twice, and return the variant by receipt."""
    found = {}
    for user in users:
        answer = (
            await http.post(f"/experiments/{name}/assign", json={"userId": f"u{user}"})
        ).json()
        found[answer["id"]] = answer["variantId"]
        click = {"assignmentId": answer["id"], "metric": "click", "value": 1, "eventId": f"c{user}"}
        for _ in range(2):
            assert (await http.post("/observations", json=click)).is_success
    return found


async def counts(http: httpx.AsyncClient, name: str) -> Counts:
    """Return what is counted of an experiment."""
    stats = (await http.get(f"/experiments/{name}/stats")).json()
    found = {}
    for variant in stats["variants"]:
        metrics = variant["stats"]["metrics"]
        found[variant["id"]] = (
            variant["stats"]["assignments"],
            metrics.get("click", {}).get("observations", 0),
            metrics.get("revenue", {}).get("sumMicro", 0),
        )
    return found


def expected(name: str, receipts: dict[str, str], buyers: Sequence[str] = ()) -> Counts:
    """Return what `counts` must be, where each of `buyers` has bought for 2.00."""
    units = Counter(receipts.values())
    bought = Counter(receipts[each] for each in buyers)
    variants = (f"{name}_v{index}" for index in range(2))
    return {each: (units[each], units[each], 2_000_000 * bought[each]) for each in variants}


def letters(settings: Settings) -> list[str]:
    return [str(record.value) for _, record in all_records(KafkaSource(settings), "dead-letters")]


def records_of_topics(settings: Settings, registry: SchemaRegistryServer) -> dict[str, set[str]]:
    """Return by topic the names of the framed records, and the marks of all others."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for topic in FRAMED:
        records = (record for _, record in all_records(KafkaSource(settings), topic))
        for value in filter(None, (record.value for record in records)):
            framed_by = int.from_bytes(value[1:5], "big") if value[0] == 0 else None
            text = value[:2].hex() if framed_by is None else registry.schema(framed_by)
            found[topic].add(text if framed_by is None else json.loads(text)["name"])
    return dict(found)


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command of `experiment` with the settings it is given."""

    def run(of: Settings, *arguments: str) -> Result:
        for name, value in environment(of).items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, [*arguments])

    return run


def codes(result: Result) -> set[str]:
    """Return the codes of a diagnosis."""
    assert result.exit_code in {0, 1}, result.stderr
    return {json.loads(line)["code"] for line in result.stdout.splitlines()}


async def until_exact(http: httpx.AsyncClient, name: str, exact: Counts) -> None:
    async def is_exact() -> bool:
        return await counts(http, name) == exact

    await until_found(is_exact)


async def test_counts_are_exact_and_every_record_is_framed_by_the_registry(
    framed: Settings,
    registry: SchemaRegistryServer,
    tmp_path: Path,
    run: Callable[..., Result],
) -> None:
    settings = framed.model_copy(
        update={
            "webhook_keys": SecretStr(KEY),
            "webhook_allowed_networks": "127.0.0.0/8",
            "webhook_allow_http": True,
        }
    )
    with workers_of(settings, tmp_path) as workers, webhooks_of(settings):
        workers.start()
        async with receiving() as receiver, api_of(settings, tmp_path) as (_, http):
            hook = {"url": receiver.url("/hook"), "secret": SECRET}
            assert (await http.post("/webhooks", json=hook)).is_success
            name = await run_experiment(http, type="bayesian_ab")
            receipts = await assign(http, name, range(N_USERS))
            buyers = list(receipts)[::2]
            await asyncio.to_thread(Pipeline.of(settings, registry).send, *buyers)
            exact = expected(name, receipts, buyers)
            await until_exact(http, name, exact)
            concluded = await http.post(f"/experiments/{name}/conclude", json={})
            await until_true(lambda: with_points(settings) == {name})
            points = (await http.get(f"/experiments/{name}/timeseries")).json()["points"]
            await until_true(lambda: len(receiver.received) >= N_EVENTS)
            diagnosis = await asyncio.to_thread(
                run, settings, "doctor", "--json", "--api", str(http.base_url)
            )
        assert workers.stop() == [0]

    assert concluded.is_success, concluded.text
    assert points
    assert codes(diagnosis) == set()
    assert await asyncio.to_thread(records_of_topics, settings, registry) == FRAMED
    for _, headers, body in receiver.received:
        assert Verifier(SECRET).verify(body, headers)
    _, report = await asyncio.to_thread(replayed, settings, "verify")
    assert (report["difference"], report["unreadable"], report["behind"]) == (None, 0, 0)
    assert await asyncio.to_thread(started(settings, tmp_path / "export").wait, PATIENCE_S) == 0
    exported = rows(tmp_path / "export", "SELECT variant_id, assignments FROM variant_totals")
    assert sorted(exported) == sorted((variant, units) for variant, (units, _, _) in exact.items())


async def test_a_record_that_is_framed_before_its_schema_is_there_counts_when_it_is_sent_again(
    framed: Settings,
    registry: SchemaRegistryServer,
    tmp_path: Path,
    run: Callable[..., Result],
) -> None:
    with workers_of(framed, tmp_path) as workers:
        workers.start()
        async with api_of(framed, tmp_path) as (_, http):
            name = await run_experiment(http, type="bayesian_ab")
            receipts = await assign(http, name, range(4))
            buyers = list(receipts)[:1]
            pipeline = Pipeline.of(framed, registry)
            coming = pipeline.schema_id + 1  # ids are counted up
            await asyncio.to_thread(pipeline.send, *buyers, schema_id=coming)
            await asyncio.to_thread(until, lambda: len(letters(framed)) == 2)
            assert workers.stop() == [0]
            assert Pipeline.of(framed, registry).schema_id == coming

            workers.start()  # which knows the records of the one before by their ids alone
            resend = ("dead-letters", "resend", "--code", "UNKNOWN_SCHEMA", "--yes")
            resent = await asyncio.to_thread(run, framed, *resend, "--api", NOWHERE)

            assert resent.exit_code == 0, resent.stderr
            await until_exact(http, name, expected(name, receipts, buyers))
    assert len(letters(framed)) == 2


async def test_processes_wait_for_a_registry_that_starts_after_them(
    framed: Settings, registry: SchemaRegistryServer, tmp_path: Path
) -> None:
    settings = framed.model_copy(update={"kafka_startup_timeout_s": START_S})
    registry.stop()
    api_log = tmp_path / "api.log"
    async with AsyncExitStack() as stack:
        workers = stack.enter_context(workers_of(settings, tmp_path))
        workers.start()
        opening = asyncio.create_task(
            stack.enter_async_context(api_of(settings, tmp_path, start_s=START_S))
        )

        def all_wait() -> bool:
            logs = (workers.log(), api_log.read_text() if api_log.exists() else "")
            return all("waiting for the schema registry" in log for log in logs)

        await asyncio.to_thread(until, all_wait)
        await asyncio.to_thread(registry.start)
        _, http = await opening
        name = await run_experiment(http)
        receipts = await assign(http, name, range(N_USERS))

        await until_exact(http, name, expected(name, receipts))
        assert len(workers.running()) == 1


@pytest.mark.parametrize("outage", ["killed", "frozen"])
async def test_while_the_registry_is_away_only_records_of_unknown_schemas_wait(
    framed: Settings,
    registry: SchemaRegistryServer,
    tmp_path: Path,
    run: Callable[..., Result],
    outage: str,
) -> None:
    with workers_of(framed, tmp_path) as workers:
        workers.start()
        async with api_of(framed, tmp_path) as (_, http):
            name = await run_experiment(http, type="bayesian_ab")
            receipts = await assign(http, name, range(N_USERS))
            pipeline = Pipeline.of(framed, registry)
            (registry.kill if outage == "killed" else registry.freeze)()
            receipts |= await assign(http, name, range(N_USERS, 2 * N_USERS))
            exact = expected(name, receipts)
            await until_exact(http, name, exact)

            buyers = list(receipts)[::2]
            await asyncio.to_thread(pipeline.send, *buyers)
            waits = f"GET /schemas/ids/{pipeline.schema_id}"
            await asyncio.to_thread(until, lambda: waits in workers.log())
            assert await counts(http, name) == exact
            if outage == "killed":  # of a frozen one, each answer is waited for
                found = await asyncio.to_thread(
                    run, framed, "doctor", "--json", "--api", str(http.base_url)
                )
                assert "SCHEMA_REGISTRY_UNREACHABLE" in codes(found)
                await asyncio.to_thread(registry.start)
            else:
                registry.thaw()

            await until_exact(http, name, expected(name, receipts, buyers))
    assert letters(framed) == []


async def test_a_schema_that_the_registry_refuses_stops_the_start_with_its_words(
    framed: Settings,
    registry: SchemaRegistryServer,
    tmp_path: Path,
    run: Callable[..., Result],
) -> None:
    registry.register("experiment_streams.Command", INCOMPATIBLE)
    with workers_of(framed, tmp_path) as workers:
        worker = workers.start()
        api = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "api"),
            env=os.environ | environment(framed),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await api.communicate()
        code = await asyncio.to_thread(worker.wait, PATIENCE_S)

    assert (code, api.returncode) == (EXIT_CONFIGURATION, EXIT_CONFIGURATION)
    for text in (said.decode(), workers.log()):
        assert "version 1 of experiment_streams.Command is refused: 409 Conflict" in text
        assert "Incompatible artifact" in text  # Apicurio's words
        assert registry.url in text
    found = await asyncio.to_thread(run, framed, "doctor", "--json", "--api", NOWHERE)
    assert "WORKER_REFUSED" in codes(found)
    assert "Incompatible artifact" in found.stdout


@pytest.mark.usefixtures("next_version")
async def test_a_further_version_of_every_schema_is_compatible_for_the_registry(
    registry: SchemaRegistryServer,
) -> None:
    async with httpx.AsyncClient(base_url=registry.url, timeout=PATIENCE_S) as client:
        codec = Codec()
        codec.write(dict.fromkeys(library.NAMES, 1))  # as long as there are older readers
        ids = await SchemaRegistry(client, codec).register()

        assert await SchemaRegistry(client, Codec()).register() == ids
    for schema in map(library.current, library.NAMES):
        # A registry counts on where a schema was deleted.
        first, second = registry.versions(schema.full_name)
        assert second == first + 1
        text = json.loads(registry.schema(ids[schema.name]))
        assert library.crc64_avro(text) == schema.fingerprint
