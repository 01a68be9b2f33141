"""Dead letters: unusable events, their content, and the result of sending them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.http.models.operation import DeadLetterItem, Resent
from dashboard.views.text import Span, count, iso, moment, sentence, size, spans

HOUR_MS = 3_600_000

PERIODS: tuple[tuple[str, str, int | None], ...] = (
    ("", "at any time", None),
    ("hour", "in the last hour", HOUR_MS),
    ("day", "in the last 24 hours", 24 * HOUR_MS),
    ("week", "in the last 7 days", 7 * 24 * HOUR_MS),
)
"""Periods that can be chosen: value, label, and length."""


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A dead letter.

    Attributes:
        place: Its place, by which it is sent again.
        code: Why it could not be used.
        message: The same in words.
        events: Number of its events.
        written, written_iso: When it was written.
        facts: Names and values of everything else.
        experiment_id: Its experiment, where that is known; else empty.
    """

    place: str
    code: str
    message: tuple[Span, ...]
    events: str
    written: str
    written_iso: str
    facts: tuple[tuple[str, str], ...]
    experiment_id: str


@dataclass(frozen=True, slots=True)
class ResentView:
    """Result of sending letters again.

    Attributes:
        sent: Places and sizes of the records that were sent.
        refused: Places, codes and reasons of those that cannot be.
        verdict: Both in words.
    """

    sent: tuple[tuple[str, str], ...]
    refused: tuple[tuple[str, str, str], ...]
    verdict: str


def since_ms(period: str, now_ms: int) -> int | None:
    """Return when a period began; None for all times, and for no period that can be chosen."""
    length = next((length for value, _, length in PERIODS if value == period), None)
    return None if length is None else now_ms - length


def letter_rows(letters: Sequence[DeadLetterItem]) -> list[LetterRow]:
    """Return dead letters as the page shows them."""
    return [_row(each) for each in letters]


def resent_view(answer: Resent) -> ResentView:
    """Return the result of sending letters again."""
    n, m = len(answer.sent), len(answer.refused)
    return ResentView(
        sent=tuple((each.place, size(each.bytes)) for each in answer.sent),
        refused=tuple((each.path, each.code, sentence(each.message)) for each in answer.refused),
        verdict=f"{count(n)} record{'' if n == 1 else 's'} sent again, {count(m)} refused.",
    )


def _row(letter: DeadLetterItem) -> LetterRow:
    facts = [
        ("Topic", letter.topic),
        ("Partition", str(letter.partition)),
        ("Offset", str(letter.offset)),
        ("Events of the record", _ranges(letter)),
        ("Field", letter.path or "none"),
        ("Time of the record", moment(letter.record_at) if letter.record_at >= 0 else "none"),
        ("Size of the record", "no value" if letter.bytes is None else size(letter.bytes)),
        ("SHA-256", letter.sha256 or "no value"),
    ]
    return LetterRow(
        place=letter.place,
        code=letter.code,
        message=spans(sentence(letter.message)),
        events=f"{count(letter.count)} event{'' if letter.count == 1 else 's'}",
        written=moment(letter.written_at),
        written_iso=iso(letter.written_at),
        facts=tuple(facts),
        experiment_id=letter.experiment_id or "",
    )


def _ranges(letter: DeadLetterItem) -> str:
    if not letter.ranges:
        return str(letter.index)
    shown = ", ".join(
        f"{first}" if first == last else f"{first} to {last}" for first, last in letter.ranges
    )
    n_shown = sum(last - first + 1 for first, last in letter.ranges)
    return f"{shown}, and more" if n_shown < letter.count else shown
