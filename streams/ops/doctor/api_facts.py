"""Facts of the API: what it says of itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from streams.ops.doctor.facts import ApiFacts

_TIMEOUT_S = 5.0


async def asked_api(api: str, api_key: str | None) -> ApiFacts:
    """Return the facts of an API, or why it does not give them.

    Args:
        api: Its address.
        api_key: Key for its metrics, where it asks for one.
    """
    try:
        async with httpx.AsyncClient(base_url=api, timeout=_TIMEOUT_S) as client:
            ready = (await client.get("/ready")).json()
            headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
            answer = await client.get("/metrics", headers=headers)
            here_ms = time.time_ns() // 1_000_000
            is_refused = answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
            if not is_refused:
                answer.raise_for_status()
    except (httpx.HTTPError, ValueError) as error:
        return ApiFacts(error=f"the API at {api}: {str(error) or type(error).__name__}")
    date = answer.headers.get("date")
    skew_ms = None
    if date is not None:
        skew_ms = round(parsedate_to_datetime(date).timestamp() * 1000) - here_ms
    return api_facts(ready, "" if is_refused else answer.text, skew_ms, is_refused=is_refused)


def api_facts(
    ready: Mapping[str, Any], metrics: str, skew_ms: int | None, *, is_refused: bool = False
) -> ApiFacts:
    """Return the facts in what an API says of itself.

    Args:
        ready: What `GET /ready` answers.
        metrics: What `GET /metrics` answers.
        skew_ms: Its clock minus this machine's, milliseconds; None if it is not known.
        is_refused: Whether it does not give its metrics.
    """
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.labels.keys() <= {"process"}  # of one of several processes: that which answered
    }
    return ApiFacts(
        missing=tuple(map(str, ready.get("missing", ()))),
        degraded=tuple(map(str, ready.get("degraded", ()))),
        are_metrics_refused=is_refused,
        spool_bytes=int(values.get("experiment_spool_bytes", 0)),
        spool_max_bytes=int(values.get("experiment_spool_max_bytes", 0)),
        skew_ms=skew_ms,
        kafka_skew_ms=_milliseconds(values.get("experiment_clock_skew_seconds")),
        clock_refusals=int(values.get("experiment_clock_refusals_total", 0)),
    )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
