"""Findings about processes: whether they answer, their tasks, spools and versions of schemas."""

from __future__ import annotations

from collections.abc import Iterator

from streams.model.schema_levels import listed
from streams.ops.doctor.facts import Facts
from streams.ops.doctor.finding import Finding, Severity, shortened
from streams.ops.doctor.webhooks import webhook_findings

SPOOL_SHARE = 0.5
"""Share of a spool from which on it is reported; the API answers 503 when it is full."""


def _reachable(facts: Facts) -> Iterator[Finding]:
    for code, error, advice in (
        (
            "KAFKA_UNREACHABLE",
            None if facts.kafka.code.startswith("KAFKA_") else facts.kafka.error,
            "Start it, or correct EXPERIMENT_KAFKA_URL. The API spools what it answers meanwhile.",
        ),
        (
            "SCHEMA_REGISTRY_UNREACHABLE",
            facts.kafka.registry_error,
            "Start it, or correct EXPERIMENT_SCHEMA_REGISTRY_URL. Unknown schemas wait for it.",
        ),
        (
            "REDIS_UNREACHABLE",
            facts.redis.error,
            "Start it, or correct EXPERIMENT_REDIS_URL. Workers then write everything again.",
        ),
        (
            "API_UNREACHABLE",
            facts.api.error,
            "Start it, or name its address by --api.",
        ),
    ):
        if error is not None:
            yield Finding(code, Severity.ERROR, error, advice)


def _workers(facts: Facts) -> Iterator[Finding]:
    if facts.redis.error is None and facts.redis.workers == 0:
        yield Finding(
            "NO_WORKER",
            Severity.ERROR,
            "no worker is alive and recovered",
            "Start `experiment worker`, or wait for one that recovers its tables. Nothing is lost "
            "meanwhile: events wait in Kafka.",
        )


def _api(facts: Facts) -> Iterator[Finding]:
    named = facts.api.missing + facts.api.degraded
    tasks = [name.removeprefix("task:") for name in named if name.startswith("task:")]
    if tasks:
        yield Finding(
            "TASK_DOWN",
            Severity.ERROR,
            f"background tasks of the API fail: {shortened(tasks)}",
            "Its log says why. The API restarts them, and ends with exit code 70 when that does "
            "not help.",
        )
    if "commands" in named:
        yield Finding(
            "COMMANDS_NOT_WRITABLE",
            Severity.ERROR,
            "the API cannot write commands: every change of an experiment is answered 503",
            "Its log says why. It needs the right to DESCRIBE and WRITE the topic of commands.",
        )
    if facts.api.are_metrics_refused:
        yield Finding(
            "METRICS_REFUSED",
            Severity.WARNING,
            "the API does not show its metrics without a key, so its spool is not checked",
            "Give a key with the scope `metrics` or `read`: EXPERIMENT_API_KEY, or --api-key.",
        )
    others = [
        name for name in facts.api.missing if name != "commands" and not name.startswith("task:")
    ]
    if others:
        yield Finding(
            "API_NOT_READY",
            Severity.ERROR,
            f"the API is not ready: {shortened(others)}",
            "See `GET /ready`; what it names is described in docs/how-to/operate.md.",
        )


def _spool(facts: Facts) -> Iterator[Finding]:
    api = facts.api
    if api.error is None and api.spool_bytes > SPOOL_SHARE * api.spool_max_bytes:
        yield Finding(
            "SPOOL_FILLS",
            Severity.WARNING,
            f"the spool of the API holds {api.spool_bytes:,} of {api.spool_max_bytes:,} bytes",
            "Kafka is away or too slow; when the spool is full the API answers 503.",
        )
    if api.error is not None and facts.spool_files_bytes:
        yield Finding(
            "SPOOL_LEFT",
            Severity.WARNING,
            f"{facts.spool_files_bytes:,} bytes are in the spool on this machine",
            "Start an API with the same EXPERIMENT_SPOOL_DIR: it sends what another has left.",
        )


def _damaged(facts: Facts) -> Iterator[Finding]:
    if facts.spool_files_damaged:
        yield Finding(
            "SPOOL_QUARANTINED",
            Severity.WARNING,
            f"{shortened(facts.spool_files_damaged)} hold records that could not be read or sent",
            "The log of the API says where and why. All other records of these files were sent; "
            "remove the files when they are of no more use.",
        )


def _schemas(facts: Facts) -> Iterator[Finding]:
    schemas = facts.schemas
    if schemas is None:
        return
    if schemas.levels.versions is None:
        if schemas.processes:
            yield Finding(
                "SCHEMAS_NOT_LOGGED",
                Severity.WARNING,
                "the log does not say which versions of schemas may be written, so a newer release "
                "would write versions that this one cannot read",
                "Run `experiment schemas enable` with a user that may write the topic "
                "`generations`, before the next upgrade.",
            )
        return
    for process, missing in schemas.too_old(schemas.levels.versions):
        yield Finding(
            "SCHEMAS_UNREADABLE",
            Severity.ERROR,
            f"{process.kind} {process.name} cannot read what may be written: {listed(missing)}",
            "Replace it by the release that the others have.",
        )
    if schemas.raisable:
        yield Finding(
            "SCHEMAS_BEHIND",
            Severity.WARNING,
            f"every process reads newer versions than are written: {listed(schemas.raisable)}",
            "When the upgrade is there to stay, run `experiment schemas enable`.",
        )


def _webhooks(facts: Facts) -> Iterator[Finding]:
    yield from webhook_findings(facts.webhooks)


PROCESS_CHECKS = (
    _reachable,
    _workers,
    _api,
    _spool,
    _damaged,
    _schemas,
    _webhooks,
)
