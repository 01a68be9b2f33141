"""`experiment observe --topic` on real servers: from a sender's topic to the statistics."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.kafka.admin import create_topics
from streams.local.children import Child
from streams.model.ids import experiment_number
from streams.settings import Settings
from streams.wire.dead_letters import decode_dead_letter
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import Ledger, environment, workers_of
from tests.patience import PATIENCE_S, until_true

N_UNITS = 20


def published(settings: Settings, values: list[bytes]) -> str:
    """Return a topic of one partition with records of these values."""
    topic = f"{settings.topic_prefix}clicks"
    admin = AdminClient(settings.confluent_config())
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(PATIENCE_S)
    producer = Producer(settings.confluent_config())
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(PATIENCE_S) == 0
    return topic


async def test_records_that_are_read_twice_count_once(settings: Settings, tmp_path: Path) -> None:
    """Another group reads all again: records, lists, and a list with refused members."""
    create_topics(settings)
    ledger = Ledger(settings)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        async with api_of(settings, tmp_path) as (_, http):
            name = await run_experiment(http, type="bayesian_ab", unit="user")
            units = [{"userId": f"u{n}"} for n in range(N_UNITS)]
            asked = await http.post("/assign", json={"experimentIds": [name], "units": units})
            assert asked.status_code == 200
            clicks = [{**unit, "metric": "click", "value": 1} for unit in units]
            refused = [{**clicks[0], "metric": "1"}] * 50
            listed = [clicks[:1], *clicks[1:10], [*refused, *clicks[10:]]]
            topic = published(settings, [*map(orjson.dumps, listed), b"{"])
            number = experiment_number(name)

            bad = {(10, 0, "INVALID_NAME", 50), (11, 0, "INVALID_JSON", 1)}

            def letters() -> set[tuple[int, int, str, int]]:
                found = [decode_dead_letter(value) for _, value in ledger.read("dead-letters")]
                return {(each.offset, each.index, each.code, each.count) for each in found}

            def counts() -> tuple[int, int]:
                found = ledger.snapshot(number)
                if found is None:
                    return 0, 0
                return sum(each.observations for each in found.variants), found.duplicates

            for duplicates, group in ((0, "first"), (N_UNITS, "second")):
                arguments = "observe", "--topic", topic, "--group", group
                command = sys.executable, "-m", "streams.cli", *arguments
                variables = os.environ | environment(settings)
                address = {"EXPERIMENT_API_URL": str(http.base_url)}
                process = Child(group, command, variables | address, tmp_path, PATIENCE_S)
                await process.start()
                try:
                    await until_true(lambda n=duplicates: counts() == (N_UNITS, n))  # type: ignore[misc]
                    await until_true(lambda: letters() == bad)
                finally:
                    await process.stop()
                assert await process.ended() == "exited with code 0"  # it has left its group
        assert workers.stop()[-1] == 0
