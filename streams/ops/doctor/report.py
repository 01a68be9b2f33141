"""Report of `doctor` as JSON: findings, lag, spool and workers."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import asdict
from typing import Any

from streams.ops.doctor.checks import findings
from streams.ops.doctor.facts import ApiFacts
from streams.ops.doctor.gathering import gather
from streams.settings import Settings


def doctor_report(settings: Settings, api: ApiFacts, hours: int) -> dict[str, Any]:
    """Return what is wrong, and where Kafka, workers and spool stand; takes some seconds.

    Args:
        settings: Where Kafka and Redis are.
        api: What the API says of itself.
        hours: Age of the oldest dead letter that is counted.
    """
    facts = asyncio.run(gather(settings, api, hours))
    lag: defaultdict[str, int] = defaultdict(int)
    for each in facts.kafka.positions:
        lag[each.topic] += each.lag
    return {
        "at": time.time_ns() // 1_000_000,
        "findings": [asdict(each) for each in findings(facts)],
        "workers": None if facts.redis.error is not None else facts.redis.workers,
        "lag": [{"topic": topic, "records": records} for topic, records in sorted(lag.items())],
        "partitions": [
            {
                "topic": each.topic,
                "partition": each.partition,
                "begin": each.begin,
                "end": each.end,
                "committed": each.committed_later,
                "lag": each.lag,
            }
            for each in facts.kafka.positions
        ],
        "spool": {
            "bytes": facts.api.spool_bytes,
            "maxBytes": facts.api.spool_max_bytes,
            "fileBytes": facts.spool_files_bytes,
            "damagedFiles": len(facts.spool_files_damaged),
        },
        "deadLetters": dict(facts.kafka.dead_letters or {}),
    }
