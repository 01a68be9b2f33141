"""Findings about the log: what waits, what was deleted, and what could not be used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from streams.model.errors import counted
from streams.ops.doctor.facts import Facts, PartitionFacts
from streams.ops.doctor.finding import Finding, Severity, shortened

LAG_LIMIT = 100_000
"""Largest lag of a topic, in records, that is not reported while workers advance: a worker reads as
many impressions in a second."""


def _log(facts: Facts) -> Iterator[Finding]:
    for each in facts.kafka.positions:
        if each.committed is not None and each.begin > each.committed:
            yield Finding(
                "LOG_TRUNCATED",
                Severity.ERROR,
                f"{each.topic} begins at {each.begin:,} in partition {each.partition}, but workers "
                f"go on at {each.committed:,}: {each.begin - each.committed:,} records were "
                "deleted unread",
                "They are lost to the counts. Keep records longer than workers are ever away "
                "(retention.ms, retention.bytes).",
            )
        elif each.committed is not None and each.committed > each.log_end:
            yield _beyond(each.topic, each.partition, each.committed - 1, each.log_end)


def _cells(facts: Facts) -> Iterator[Finding]:
    ends = {(each.topic, each.partition): each.log_end for each in facts.kafka.positions}
    furthest: dict[tuple[str, int], int] = {}
    for snapshot in facts.snapshots:
        for (source, partition), offset in snapshot.tallies.items():
            place = facts.prefix + source, partition
            furthest[place] = max(offset, furthest.get(place, -1))
    for (topic, partition), offset in sorted(furthest.items()):
        end = ends.get((topic, partition))
        if end is not None and offset >= end:
            yield _beyond(topic, partition, offset, end)


def _beyond(topic: str, partition: int, offset: int, end: int) -> Finding:
    return Finding(
        "COUNTED_BEYOND_LOG",
        Severity.ERROR,
        f"offset {offset:,} of {topic}, partition {partition}, was counted, but the log ends at "
        f"{end:,}",
        "The topic was made anew or lost its end: its new events are passed by until they reach "
        "that offset. Restore it, or start with a new EXPERIMENT_TOPIC_PREFIX.",
    )


def _lag(facts: Facts) -> Iterator[Finding]:
    stalled: defaultdict[str, list[PartitionFacts]] = defaultdict(list)
    behind: defaultdict[str, int] = defaultdict(int)
    for each in facts.kafka.positions:
        if each.lag == 0:
            continue
        if each.committed == each.committed_later and not each.is_sending:
            stalled[each.topic].append(each)
        else:
            behind[each.topic] += each.lag
    for topic, partitions in sorted(stalled.items()):
        lags = shortened([f"{each.partition} by {each.lag:,}" for each in partitions])
        yield Finding(
            "STALLED",
            Severity.ERROR,
            f"{topic}: {sum(each.lag for each in partitions):,} records wait and no worker reads "
            f"them (partition {lags})",
            "Check that workers run and what they log; a partition makes no progress while its "
            "worker recovers or is away.",
        )
    for topic, lag in sorted(behind.items()):
        if lag > LAG_LIMIT:
            yield Finding(
                "LAG",
                Severity.WARNING,
                f"{topic}: workers are {lag:,} records behind, and advance",
                "Look again in a minute; if it grows, add workers, up to one a partition.",
            )


def _transactions(facts: Facts) -> Iterator[Finding]:
    waiting: defaultdict[str, list[str]] = defaultdict(list)
    for each in facts.kafka.positions:
        if each.waits_from is not None:
            waiting[each.topic].append(f"{each.partition} from offset {each.waits_from:,} on")
    for topic, partitions in sorted(waiting.items()):
        yield Finding(
            "TRANSACTION_OPEN",
            Severity.ERROR,
            f"{topic}: records wait for a transaction of their producer to end (partition "
            f"{shortened(partitions)})",
            "Nothing behind its first record is counted, of any producer. If it is still open in "
            "a minute, end or stop its producer, or abort it with `kafka-transactions.sh`. The "
            "broker of `experiment up` has no time limit of transactions.",
        )


def _dead_letters(facts: Facts) -> Iterator[Finding]:
    for code, count in sorted((facts.kafka.dead_letters or {}).items()):
        yield Finding(
            "DEAD_LETTERS",
            Severity.WARNING,
            f"{counted(count, 'event')} of the last {facts.hours} h could not be used: {code}",
            f"See `experiment dead-letters list --code {code}`; once the cause is gone, "
            f"`experiment dead-letters resend --code {code}`.",
        )


LOG_CHECKS = (
    _log,
    _cells,
    _lag,
    _transactions,
    _dead_letters,
)
