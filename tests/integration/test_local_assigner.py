"""Ad servers that assign in their own processes, and are killed: every impression counts once."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from pydantic import SecretStr

from schemas.catalogue import IMPRESSIONS
from streams.kafka.admin import create_topics
from streams.kafka.source import KafkaSource
from streams.replay.live import projection_of
from streams.replay.partitions import FoldInputs
from streams.replay.verify import verify
from streams.settings import Settings
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import workers_of
from tests.patience import patience, until_found

OWN, THEIRS = "5a" * 32, "c3" * 32
KILLED_AFTER = (700, 1_200)
LAST = 500
PROGRAM = Path(__file__).with_name("ad_server.py")


async def run_ad_server(*arguments: str, killed_after: int | None = None) -> list[str]:
    """Return the receipts that an ad server has printed, killed after so many."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), *arguments,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    receipts: list[str] = []
    assert process.stdout is not None
    async with patience():
        async for line in process.stdout:
            receipts.append(line.decode().strip())
            if len(receipts) == killed_after:
                process.kill()
        status = await process.wait()
    assert status == (0 if killed_after is None else -9)
    return [each for each in receipts if each]


async def test_impressions_of_ad_servers_that_are_killed_count_once(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    keys = SecretStr(f"1:{OWN},7:{THEIRS}:home")
    settings = settings.model_copy(update={"receipt_keys": keys})
    kafka = json.dumps(settings.confluent_config())
    topic = IMPRESSIONS.full_name(settings.topic_prefix)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        async with api_of(settings, tmp_path) as (_, http):
            home = await run_experiment(http, key="home", type="bayesian_ab", unit="impression")
            url, directory = str(http.base_url), str(tmp_path / "ads")
            place = (url, f"7:{THEIRS}", directory, "home")
            receipts = []
            # One that is killed leaves impressions, which the next one delivers, by another way.
            for sink, killed_after in zip(("", kafka), KILLED_AFTER, strict=True):
                arguments = (*place, sink, topic, str(2 * killed_after))
                receipts += await run_ad_server(*arguments, killed_after=killed_after)
            receipts += await run_ad_server(*place, "", topic, str(LAST))
            assert not list((tmp_path / "ads").rglob("*.segment*"))
            clicks = [
                {"assignmentId": each, "metric": "click", "value": 1, "eventId": "once"}
                for each in receipts
            ]
            for start in range(0, len(clicks), 400):
                answer = await http.post("/observations", json=clicks[start : start + 400])
                assert answer.json() == {"accepted": len(clicks[start : start + 400])}

            async def counted() -> int | None:
                stats = (await http.get(f"/experiments/{home}/stats")).json()
                units = sum(
                    each["stats"]["metrics"].get("click", {}).get("units", 0)
                    for each in stats["variants"]
                )
                is_whole = stats["totalAssignments"] >= units == len(receipts)
                return int(stats["totalAssignments"]) if is_whole else None

            assignments = await until_found(counted)
            assert assignments is not None
            report = await asyncio.to_thread(
                verify,
                KafkaSource(settings),
                projection_of(settings),
                FoldInputs.of(settings),
                processes=1,
            )
    assert len(set(receipts)) == len(receipts) >= sum(KILLED_AFTER) + LAST
    # What was durable when its process died, before it was printed, was assigned as well.
    assert 0 <= assignments - len(receipts) <= 64 * len(KILLED_AFTER)
    assert report.is_equal, report.difference
    assert workers.endings() == [0] * len(workers.endings())
