"""State of the installation: findings, workers, lag, spool, and numbers of dead letters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from api.http.models.operation import Doctor, DoctorFinding, SpoolState
from dashboard.views.headline import ALARM, DONE, GO, ICONS
from dashboard.views.text import Span, count, iso, moment, percent, sentence, size, spans

WARN = "warn"

_TONES = {"error": ALARM, "warning": WARN, "note": DONE}
_ICONS = {**ICONS, WARN: "▲", DONE: "i"}


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A finding.

    Attributes:
        code: Its code.
        severity: In words.
        tone, icon: Its color, and the sign beside it.
        what, advice: What was seen, and what to do.
    """

    code: str
    severity: str
    tone: str
    icon: str
    what: tuple[Span, ...]
    advice: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class TopicRow:
    """Records of a topic that workers have not taken."""

    topic: str
    records: str
    partitions: tuple[PartitionRow, ...]


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """Position of the workers in a partition: the log has `begin` to `end`."""

    partition: int
    begin: str
    end: str
    committed: str
    lag: str


@dataclass(frozen=True, slots=True)
class SpoolView:
    """Spool of the API process that answered, and of all on its disk."""

    now: str
    limit: str
    share: str
    files: str
    damaged: int


@dataclass(frozen=True, slots=True)
class ReportView:
    """A report.

    Attributes:
        as_of, as_of_iso: When it was made.
        tone, icon, verdict, because: What it comes to.
        findings: Everything that is wrong, errors first.
        workers: Number of workers.
        lag: Records that workers have not taken, of all topics.
        topics: The same by topic and partition.
        spool: The spool.
        letters: Numbers of dead letters by code, the most frequent first.
    """

    as_of: str
    as_of_iso: str
    tone: str
    icon: str
    verdict: str
    because: str
    findings: tuple[FindingRow, ...]
    workers: str
    lag: str
    topics: tuple[TopicRow, ...]
    spool: SpoolView
    letters: tuple[tuple[str, str], ...]


def report_view(report: Doctor) -> ReportView:
    """Return a report as the page shows it."""
    tone, verdict, because = _verdict(report.findings)
    return ReportView(
        as_of=moment(report.at),
        as_of_iso=iso(report.at),
        tone=tone,
        icon=_ICONS[tone],
        verdict=verdict,
        because=because,
        findings=tuple(_finding(each) for each in report.findings),
        workers="not known: Redis does not answer"
        if report.workers is None
        else f"{report.workers}",
        lag=(
            _records(sum(each.records for each in report.lag))
            if report.lag
            else "not known: Kafka does not answer"
        ),
        topics=tuple(_topic(report, each.topic, each.records) for each in report.lag),
        spool=_spool(report.spool),
        letters=tuple(
            (code, count(n))
            for code, n in sorted(report.dead_letters.items(), key=lambda each: (-each[1], each[0]))
        ),
    )


def _verdict(found: tuple[DoctorFinding, ...]) -> tuple[str, str, str]:
    numbers = Counter(each.severity for each in found)
    named = ", ".join(
        f"{numbers[severity]} {severity}{'' if numbers[severity] == 1 else 's'}"
        for severity in _TONES
        if numbers[severity]
    )
    if numbers["error"]:
        return ALARM, "Something loses or delays answers now.", f"{named}."
    if numbers["warning"]:
        return WARN, "Something needs attention.", f"{named}."
    looked = "Kafka, Redis, API, workers, lag, snapshots, spool and clocks were looked at."
    return GO, "All is well.", f"{named}. {looked}" if named else looked


def _finding(found: DoctorFinding) -> FindingRow:
    tone = _TONES.get(found.severity, WARN)
    return FindingRow(
        code=found.code,
        severity=found.severity,
        tone=tone,
        icon=_ICONS[tone],
        what=spans(sentence(found.what)),
        advice=spans(found.advice),
    )


def _topic(report: Doctor, topic: str, records: int) -> TopicRow:
    rows = [
        PartitionRow(
            partition=each.partition,
            begin=count(each.begin),
            end=count(each.end),
            committed="none yet" if each.committed is None else count(each.committed),
            lag=count(each.lag),
        )
        for each in report.partitions
        if each.topic == topic
    ]
    return TopicRow(topic, _records(records), tuple(rows))


def _records(n: int) -> str:
    return f"{count(n)} record{'' if n == 1 else 's'}"


def _spool(state: SpoolState) -> SpoolView:
    return SpoolView(
        now=size(state.bytes),
        limit=size(state.max_bytes),
        share=percent(state.bytes / state.max_bytes if state.max_bytes else None),
        files=size(state.file_bytes),
        damaged=state.damaged_files,
    )
