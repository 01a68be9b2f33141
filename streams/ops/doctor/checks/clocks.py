"""Findings about clocks that differ."""

from __future__ import annotations

from collections.abc import Iterator

from streams.model.attribution import CLOCK_SKEW_MS, SKEW_LIMIT_MS
from streams.ops.doctor.facts import Facts
from streams.ops.doctor.finding import Finding, Severity, shortened

_MINUTES = CLOCK_SKEW_MS // 60_000


def _clocks(facts: Facts) -> Iterator[Finding]:
    advice = (
        f"Keep all machines on NTP: observations more than {_MINUTES} minutes older than their "
        "assignment are refused."
    )
    yield from _skew("Redis", "this machine's", facts.redis.skew_ms, advice)
    yield from _skew("the API", "this machine's", facts.api.skew_ms, advice)


def _kafka_clock(facts: Facts) -> Iterator[Finding]:
    advice = (
        f"Keep all machines on NTP. Kafka refuses observations whose time is more than {_MINUTES} "
        "minutes ahead; the spool keeps them until the clock is right."
    )
    found = list(_skew("the API", "Kafka's", facts.api.kafka_skew_ms, advice))
    yield from found
    if not found and "clock" in facts.api.degraded:
        yield Finding(
            "CLOCK_SKEW",
            Severity.ERROR,
            f"Kafka has refused {facts.api.clock_refusals:,} records of the API, since their time "
            f"is more than {_MINUTES} minutes ahead of its clock",
            "Set the clock of the API's machine; the spool keeps the records until then.",
        )


def _set_back(facts: Facts) -> Iterator[Finding]:
    ahead = [each for each in facts.snapshots if each.ahead_ms > CLOCK_SKEW_MS]
    if ahead:
        latest_ms = max(each.ahead_ms for each in ahead)
        yield Finding(
            "CLOCK_SET_BACK",
            Severity.ERROR,
            f"the start of {shortened([each.experiment_id for each in ahead])} is up to "
            f"{latest_ms / 60_000:,.0f} minutes ahead of this machine's clock, which was set back "
            "or was ahead then",
            f"Set the clock. Until it is {_MINUTES} minutes before the start, assignments are "
            "refused; create the experiment anew if that is too long.",
        )


def _events_ahead(facts: Facts) -> Iterator[Finding]:
    ahead = [each for each in facts.snapshots if each.events_ahead_ms > CLOCK_SKEW_MS]
    if ahead:
        latest_ms = max(each.events_ahead_ms for each in ahead)
        yield Finding(
            "EVENTS_AHEAD",
            Severity.ERROR,
            f"events of {shortened([each.experiment_id for each in ahead])} are up to "
            f"{latest_ms / 60_000:,.0f} minutes ahead of this machine's clock, which was set back "
            "or is behind, or those of Kafka and the API were ahead then",
            "Set the clocks. Where the events are wrong, conclude the experiment and create it "
            "anew: observations of assignments before these events, by more than the attribution "
            "window, are dead letters (DEDUPLICATION_WINDOW_PASSED).",
        )


def _skew(subject: str, reference: str, skew_ms: int | None, advice: str) -> Iterator[Finding]:
    if skew_ms is None or abs(skew_ms) <= SKEW_LIMIT_MS:
        return
    side = "ahead of" if skew_ms > 0 else "behind"
    yield Finding(
        "CLOCK_SKEW",
        Severity.ERROR if abs(skew_ms) > CLOCK_SKEW_MS else Severity.WARNING,
        f"the clock of {subject} is {abs(skew_ms) / 1000:,.0f} s {side} {reference}",
        advice,
    )


CLOCK_CHECKS = (_clocks, _kafka_clock, _set_back, _events_ahead)
