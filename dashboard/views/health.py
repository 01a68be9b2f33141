"""Sample ratio, guardrails and faults of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.views.facts import ExperimentFacts
from dashboard.views.scales import axis_of
from dashboard.views.text import SPACE, axis_marks, chance_of, count, number, percent
from streams.experiments.statistics.evidence import Guardrail
from streams.experiments.statistics.maturity import Caution

ROW_HEIGHT = 34
AXIS_HEIGHT = 36


@dataclass(frozen=True, slots=True)
class Dot:
    """A row of a chart of dots.

    Attributes:
        index: Index of the variant.
        name: What the row is of.
        y: Middle of the row, in pixels.
        x: Position, in percent; empty where it is not known.
        limit: Position of its limit, in percent; empty without one.
        text, limit_text: The same in words.
        extra: Further text of the row in the table.
        is_alarm: Whether it is marked.
    """

    index: int
    name: str
    y: int
    x: str
    text: str
    limit: str = ""
    limit_text: str = ""
    extra: str = ""
    is_alarm: bool = False


@dataclass(frozen=True, slots=True)
class Dots:
    """A chart of dots along an axis.

    Attributes:
        rows: Its rows.
        height: Of the drawing, in pixels.
        reference: Position of the line that dots are compared with, in percent.
        marks: Position and text of the marks of the axis.
        label: The chart in words.
        is_alarm: Whether something is wrong.
        summary: What is wrong, or that nothing is.
    """

    rows: tuple[Dot, ...]
    height: int
    reference: str
    marks: tuple[tuple[str, str], ...]
    label: str
    is_alarm: bool
    summary: str


def sample_ratio(facts: ExperimentFacts) -> Dots | None:
    """Return units over the expected number; None before any is expected.

    The alarm follows the sequential test alone: ratios of few units stray far by chance.
    """
    evidence = facts.evidence
    if evidence is None or all(ratio is None for ratio in evidence.sample_ratio.ratios):
        return None
    found = evidence.sample_ratio
    known = [ratio for ratio in found.ratios if ratio is not None]
    reach = max(0.02, *(abs(ratio - 1.0) for ratio in known))
    axis = axis_of([1.0 - reach, 1.0 + reach])
    marks = axis.marks()
    rows: list[Dot] = []
    for index, (name, ratio) in enumerate(zip(facts.names, found.ratios, strict=True)):
        units = evidence.units[index]
        expected = "–" if not ratio else count(round(units / ratio))
        rows.append(
            Dot(
                index=index,
                name=name,
                y=len(rows) * ROW_HEIGHT + ROW_HEIGHT // 2 + 4,
                x="" if ratio is None else axis.at(ratio),
                text="–" if ratio is None else f"{number(ratio)} ×",
                limit_text=expected,
                extra=count(units),
                is_alarm=found.is_mismatch
                and ratio is not None
                and abs(ratio - 1.0) == max(abs(each - 1.0) for each in known),
            )
        )
    summary = (
        f"The counts do not match the split ({chance_of(found.p_value)} by chance)."
        if found.is_mismatch
        else "No deviation of the counts from the split is detected."
    )
    return Dots(
        rows=tuple(rows),
        height=len(rows) * ROW_HEIGHT + AXIS_HEIGHT,
        reference=axis.at(1.0),
        marks=tuple(zip(map(axis.at, marks), axis_marks(marks), strict=True)),
        label=f"Units over the expected number. {summary} "
        + ". ".join(f"{row.name}: {row.extra} of {row.limit_text}, {row.text}" for row in rows)
        + ".",
        is_alarm=found.is_mismatch,
        summary=summary,
    )


def guardrails(facts: ExperimentFacts) -> Dots | None:
    """Return the harm to each guardrail by each variant; None without guardrails."""
    return None if facts.evidence is None else _harms(facts, facts.evidence.guardrails)


def guardrails_since(facts: ExperimentFacts) -> Dots | None:
    """Return the guardrails of a shipped winner since the conclusion; None without one."""
    since = None if facts.evidence is None else facts.evidence.since_conclusion
    return None if since is None else _harms(facts, since.guardrails)


def _harms(facts: ExperimentFacts, found: Sequence[Guardrail]) -> Dots | None:
    if not found:
        return None
    axis = axis_of(
        [0.0, 0.01, -0.01, *(each.harm for each in found), *(each.tolerated_harm for each in found)]
    )
    marks = axis.marks()
    texts = axis_marks([100.0 * mark for mark in marks], is_signed=True)
    rows: list[Dot] = []
    for each in found:
        proven = {None: "", True: "harm of the margin is ruled out", False: "margin not ruled out"}
        rows.append(
            Dot(
                index=each.variant,
                name=f"{each.metric}, {facts.names[each.variant]}",
                y=len(rows) * ROW_HEIGHT + ROW_HEIGHT // 2 + 4,
                x="" if each.harm is None else axis.at(each.harm),
                text=_worse(each.harm),
                limit=axis.at(each.tolerated_harm),
                limit_text=percent(each.tolerated_harm),
                extra="harmed" if each.is_tripped else proven[each.is_proven] or "not harmed",
                is_alarm=each.is_tripped,
            )
        )
    harmed = [row.name for row in rows if row.is_alarm]
    summary = (
        f"Harmed: {'; '.join(harmed)}." if harmed else "No guardrail is harmed, as far as is known."
    )
    return Dots(
        rows=tuple(rows),
        height=len(rows) * ROW_HEIGHT + AXIS_HEIGHT,
        reference=axis.at(0.0),
        marks=tuple(
            (axis.at(mark), f"{text}{SPACE}%" if mark else text)
            for mark, text in zip(marks, texts, strict=True)
        ),
        label=f"Harm to guardrails, as a share of the control's mean. {summary} "
        + ". ".join(f"{row.name}: {row.text}, tolerated {row.limit_text}" for row in rows)
        + ".",
        is_alarm=bool(harmed),
        summary=summary,
    )


def _worse(harm: float | None) -> str:
    if harm is None:
        return "not known yet"
    if harm == 0:
        return "the same"
    return f"{percent(abs(harm))} {'worse' if harm > 0 else 'better'}"


def notes(facts: ExperimentFacts) -> list[str]:
    """Return notes about the data, besides the headline."""
    found = []
    evidence = facts.evidence
    maturity = None if evidence is None else evidence.maturity
    is_archived = facts.stats.status == "archived"
    if maturity is not None and maturity.warning is not None and not is_archived:
        found.append(_of_maturity(facts, maturity.warning))
    if evidence is not None and evidence.miscounts.is_heavy:
        units = evidence.miscounts.heavy_units
        found.append(
            "One unit has a large share of the observations: a program, or many people."
            + (f" It has {percent(units[0].share)} of {units[0].metric}." if units else "")
        )
    found.extend(
        f"{each.metric} has no observation, but {each.observed} has {count(each.observations)}: "
        "is it misspelt?"
        for each in facts.stats.misspelt
    )
    found.extend(
        f"{count(each.units)} {facts.units} were taken out: {each.reason}."
        for each in facts.stats.voided
    )
    found.extend(
        _sentence(finding.message)
        for dimension in facts.stats.dimensions
        for finding in dimension.findings
    )
    return found


def _of_maturity(facts: ExperimentFacts, warning: Caution) -> str:
    if warning.code != "NO_CONVERSION_WINDOW":
        return _sentence(warning.message)
    return (
        f"All {facts.units} are compared from their assignment on: if those of one variant only "
        "convert sooner, it looks better for a while. Experiments with a conversion window wait "
        "for it."
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
