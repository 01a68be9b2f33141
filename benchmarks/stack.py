"""The real servers and one API process, with experiments that run but no worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import httpx

from streams.analysis.evaluate import evaluate
from streams.api_keys import ApiKey, ApiKeyFile
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import Allocation, Snapshot
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.experiments.statistics.variant_report import VariantReport
from streams.kafka.admin import create_topics
from streams.local.api_processes import COMMAND, api_environments
from streams.local.children import Child, free_port
from streams.local.tansu import start_tansu
from streams.local.valkey import start_valkey
from streams.model.ids import experiment_id
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.vectors import FEATURE_ONE
from streams.policies.contextual.encoding import FeatureSpace
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.writer import ProjectionWriter, SnapshotRecord
from streams.settings import ENVIRONMENT_PREFIX, Settings
from streams.tallies.cell import MetricTally, Tally
from streams.tallies.linear import LinearSums
from streams.tallies.weights import weighted
from streams.wire.snapshots import encode_snapshot

READY_S = 30.0
HEARTBEAT_TTL_S = 3600


@dataclass(frozen=True, slots=True)
class Stack:
    """Running stack.

    Attributes:
        url: Where the API answers.
        settings: Those of the API.
        api: Its process, or the first of several.
        broker: The process of the broker.
        apis: All processes of the API.
    """

    url: str
    settings: Settings
    api: Child
    broker: Child
    apis: tuple[Child, ...] = ()


@contextlib.asynccontextmanager
async def running_stack(
    n_experiments: int,
    unit: str = "impression",
    *,
    keys: Sequence[ApiKey] = (),
    processes: int = 1,
) -> AsyncIterator[Stack]:
    """Start everything, with `n_experiments` running experiments of three variants each.

    Args:
        n_experiments: Number of experiments.
        unit: What they randomise.
        keys: API keys; none for an API without keys.
        processes: Processes of the API; several share the port.
    """
    with tempfile.TemporaryDirectory(prefix="experiment-benchmark-") as place:
        directory = Path(place)
        async with contextlib.AsyncExitStack() as resources:
            broker, kafka_url = await start_tansu(directory)
            resources.push_async_callback(broker.stop)
            valkey, redis_url = await start_valkey(directory)
            resources.push_async_callback(valkey.stop)
            overrides = {
                "KAFKA_URL": kafka_url,
                "REDIS_URL": redis_url,
                "PARTITIONS": "4",
                "API_PORT": str(free_port()),
                "DATA_DIR": str(directory / "data"),
                "RECEIPT_KEYS": f"1:{secrets.token_hex(32)}",
            }
            if keys:
                file = directory / "keys.json"
                file.write_text(ApiKeyFile(keys=tuple(keys)).model_dump_json())
                overrides["API_KEYS_FILE"] = str(file)
            settings = Settings(**{name.lower(): value for name, value in overrides.items()})  # type: ignore[arg-type]
            await asyncio.to_thread(create_topics, settings)
            await publish(settings, [snapshot(number, unit) for number in range(n_experiments)])
            variables = {f"{ENVIRONMENT_PREFIX}{name}": value for name, value in overrides.items()}
            inherited = {**os.environ, **variables}
            own = [inherited] if processes == 1 else api_environments(inherited, processes)
            apis = [
                Child(f"api-{index}", COMMAND, each, directory, 5.0)
                for index, each in enumerate(own)
            ]
            for api in apis:
                await api.start()
                resources.push_async_callback(api.stop)
            url = f"http://127.0.0.1:{settings.api_port}"

            async def is_ready() -> bool:
                looks = await asyncio.gather(
                    *(_one_is_ready(url) for _ in range(8 * processes - 7))
                )
                return all(looks)

            await apis[0].ready(is_ready, READY_S)
            yield Stack(url, settings, apis[0], broker, tuple(apis))


async def _one_is_ready(url: str) -> bool:
    """Return whether the process is ready that the kernel gives a new connection to."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        with contextlib.suppress(httpx.TransportError):
            return (await client.get("/ready")).is_success
    return False


async def publish(settings: Settings, snapshots: list[Snapshot]) -> None:
    """Write snapshots into Redis as a worker would, with its heartbeat."""
    client = connect(settings.redis_url)
    writer = ProjectionWriter(client, Keys(settings.namespace))
    await writer.heartbeat("benchmark", HEARTBEAT_TTL_S)
    await writer.write_snapshots(
        [SnapshotRecord.of(found, encode_snapshot(found)) for found in snapshots]
    )
    await client.aclose()


def snapshot(number: int, unit: str, **config: object) -> Snapshot:
    """Return a running experiment of three variants, with fields of its configuration."""
    definition = parse_definition(
        {
            "name": f"Benchmark {number}",
            "type": "thompson_sampling",
            "primaryMetric": "click",
            "unit": unit,
            **config,
        },
        [
            {"name": "A", "isControl": True, "config": {"creativeId": "creative_123"}},
            {"name": "B", "config": {"creativeId": "creative_456"}},
            {"name": "C", "config": {"creativeId": "creative_789"}},
        ],
    )
    experiment = Experiment(number, definition, Status.RUNNING, 2, 1, 2, 2)
    report = VariantReport(0, 0, 0.0, 0.0, 1.0, 1 / 3, 0.0, {})
    return Snapshot(
        experiment=experiment,
        version=2,
        allocation=Allocation(2, (16384, 16384, 32768)),
        variants=(report, report, report),
        winner=None,
        confidence=1 / 3,
        recommended_action=RecommendedAction.CONTINUE,
        reason_code=ReasonCode.NOT_STARTED,
        duplicates=0,
        cells=(),
        as_of_ms=0,
    )


def contextual_snapshot(number: int, n_features: int = 8) -> Snapshot:
    """Return the same under LinTS, with the model of a thousand units.

    Args:
        number: Of the experiment.
        n_features: Entries of the vectors besides the intercept; of a request, four are not 0.
    """
    plain = snapshot(number, "impression")
    definition = parse_definition(
        {
            "name": f"Benchmark {number}",
            "type": "lin_ts",
            "primaryMetric": "click",
            "parameters": {
                "features": [
                    {"name": "age", "type": "number", "minimum": 0, "maximum": 100},
                    {"name": "previousPurchases", "type": "number", "minimum": 0, "maximum": 50},
                    {"name": "device", "type": "category", "values": ["mobile", "desktop"]},
                    {"name": "location", "type": "hashed", "buckets": n_features - 4},
                ]
            },
        },
        [variant.model_dump(by_alias=True) for variant in plain.experiment.definition.variants],
    )
    random = Random(number)
    spaces = FeatureSpace(definition.config.parameters.features)  # type: ignore[attr-defined]
    variants = []
    for _ in definition.variants:
        grams, moments = LinearSums(), LinearSums()
        for _ in range(333):
            vector = spaces.encode(
                {"age": random.randrange(100), "previousPurchases": random.randrange(50)},
                random.choice(["mobile", "desktop"]),
                f"L{random.randrange(30)}",
            )
            grams.add_unit(vector)
            moments.add_value(vector, MICRO * (random.randrange(20) == 0))
        clicks = moments.freeze().moment[0] // FEATURE_ONE // MICRO
        metric = MetricTally(
            clicks,
            clicks,
            clicks * MICRO,
            clicks * MICRO**2,
            total_cubed=clicks * MICRO**3,
            moment=moments.freeze().moment,
        )
        tally = weighted(333, {"click": metric}, PROPENSITY_ONE // len(definition.variants))
        variants.append(replace(tally, gram=grams.freeze().gram))
    experiment = replace(plain.experiment, definition=definition)
    return evaluate(experiment, Tally(variants=dict(enumerate(variants))), ())


def names(n_experiments: int) -> list[str]:
    """Return the ids of the first experiments."""
    return [experiment_id(number) for number in range(n_experiments)]
