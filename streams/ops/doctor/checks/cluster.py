"""Findings about the cluster: rights, settings of topics, and wrong partitions."""

from __future__ import annotations

from collections.abc import Iterator

from streams.ops.doctor.facts import Facts
from streams.ops.doctor.finding import Finding, Severity, shortened

_ADVICE = {
    "KAFKA_TLS_FAILED": "Correct EXPERIMENT_SSL_CAFILE, EXPERIMENT_SSL_CERTFILE, "
    "EXPERIMENT_SSL_KEYFILE.",
    "KAFKA_AUTHENTICATION_FAILED": "Correct EXPERIMENT_SASL_USERNAME, EXPERIMENT_SASL_PASSWORD or "
    "EXPERIMENT_SASL_MECHANISM.",
    "KAFKA_PROTOCOL_MISMATCH": "Correct EXPERIMENT_SECURITY_PROTOCOL, or the port.",
    "KAFKA_UNKNOWN_HOST": "Correct EXPERIMENT_KAFKA_URL, or the names that this machine resolves.",
    "KAFKA_ACCESS_DENIED": "Grant it; docs/reference/security.md has the table of rights.",
}


def _refused(facts: Facts) -> Iterator[Finding]:
    """The cluster does not let this program in."""
    advice = _ADVICE.get(facts.kafka.code)
    if advice is not None and facts.kafka.error is not None:
        yield Finding(facts.kafka.code, Severity.ERROR, facts.kafka.error, advice)
    if facts.kafka.denied:
        yield Finding(
            "KAFKA_ACCESS_DENIED",
            Severity.ERROR,
            f"this user lacks {shortened(facts.kafka.denied)}",
            _ADVICE["KAFKA_ACCESS_DENIED"],
        )


def _settings(facts: Facts) -> Iterator[Finding]:
    for each in facts.kafka.deviations:
        if each.setting != "partitions":  # which has a separate finding
            yield Finding(
                "TOPIC_SETTINGS",
                Severity.ERROR if each.is_refused else Severity.WARNING,
                str(each),
                each.advice,
            )
    if facts.kafka.without_settings:
        yield Finding(
            "TOPIC_SETTINGS_UNKNOWN",
            Severity.WARNING,
            f"the settings of {shortened(facts.kafka.without_settings)} cannot be checked",
            "Grant DESCRIBE_CONFIGS on the topics, to this user and to the workers.",
        )


def _topics(facts: Facts) -> Iterator[Finding]:
    if facts.kafka.missing:
        yield Finding(
            "TOPICS_MISSING",
            Severity.ERROR,
            f"{shortened(facts.kafka.missing)} do not exist",
            "Run `experiment topics create`, or start a worker.",
        )
    wrong = [
        f"{name} has {count}"
        for name, count in sorted((facts.kafka.partitions or {}).items())
        if count != facts.wanted_partitions
    ]
    if wrong:
        yield Finding(
            "PARTITIONS_DIFFER",
            Severity.ERROR,
            f"EXPERIMENT_PARTITIONS is {facts.wanted_partitions}, but {shortened(wrong)}",
            "Set EXPERIMENT_PARTITIONS to what the topics have. Their number cannot change.",
        )


def _refusal(facts: Facts) -> Iterator[Finding]:
    refusal = facts.redis.refusal
    if refusal is not None:
        is_named = refusal.code == "TOPIC_MADE_ANEW"
        yield Finding(
            refusal.code if is_named else "WORKER_REFUSED",
            Severity.ERROR,
            f"a worker would not run: {refusal.message}",
            "Restore the topic, or start with a new EXPERIMENT_TOPIC_PREFIX and "
            "EXPERIMENT_NAMESPACE."
            if is_named
            else "Correct what it says; it is forgotten 15 minutes after the last such start.",
        )


def _lacking(facts: Facts) -> Iterator[Finding]:
    if facts.redis.lacking:
        yield Finding(
            "WORKER_LACKS_RIGHTS",
            Severity.WARNING,
            f"a worker lacks {shortened(facts.redis.lacking)}, and does without",
            "Grant it, and the worker takes it up within seconds; docs/reference/security.md says "
            "what is not done without it: winners are not promoted, archived experiments keep "
            "their memory, observations in a wrong partition are dead letters.",
        )


def _misplaced(facts: Facts) -> Iterator[Finding]:
    if facts.redis.misplaced:
        yield Finding(
            "MISPLACED_OBSERVATIONS",
            Severity.WARNING,
            f"{facts.redis.misplaced:,} observations were in another partition than their "
            "assignment id belongs into, and were moved there by a worker",
            "Set partitioner=murmur2_random in the producers that use librdkafka, and the "
            "assignment id as the key; the header `moved-from` of a record says where it was.",
        )


CLUSTER_CHECKS = (
    _refused,
    _settings,
    _topics,
    _refusal,
    _lacking,
    _misplaced,
)
