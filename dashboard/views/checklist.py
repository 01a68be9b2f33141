"""Conditions of an automatic promotion, as a list with ticks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dashboard.views.facts import ExperimentFacts, worst
from dashboard.views.text import DAY_MS, count, day_of, duration, percent
from streams.experiments.stats_response import StatsEvidence

_WEEK_DAYS = 7
_MS_PER_S = 1_000


@dataclass(frozen=True, slots=True)
class Item:
    """A condition of an automatic promotion.

    Attributes:
        code: Name of the obstacle where it is not met.
        text: The condition where it is met, else what is missing.
        is_met: Whether it is.
    """

    code: str
    text: str
    is_met: bool


@dataclass(frozen=True, slots=True)
class Checklist:
    """The conditions.

    Attributes:
        items: In the order in which they are checked.
        is_automatic: Whether the experiment ships its winner automatically once all are met.
    """

    items: tuple[Item, ...]
    is_automatic: bool

    @property
    def n_met(self) -> int:
        """Number of conditions that are met."""
        return sum(item.is_met for item in self.items)

    @property
    def title(self) -> str:
        """Heading of the list."""
        return (
            "Ships automatically when all are ticked"
            if self.is_automatic
            else "Before you ship a winner"
        )


def checklist(facts: ExperimentFacts) -> Checklist | None:
    """Return the conditions of a promotion; None of an experiment that has ended or not begun."""
    if facts.evidence is None or facts.stats.status not in {"running", "paused"}:
        return None
    missing = frozenset(facts.evidence.promotion_obstacles)
    items = tuple(
        Item(code, lacking(facts) if code in missing else met, code not in missing)
        for code, (met, lacking) in _CONDITIONS.items()
        if code in missing or code not in _ASKED or _ASKED[code](facts.evidence)
    )
    unknown = tuple(
        Item(code, code.replace("_", " ").lower(), is_met=False)
        for code in facts.evidence.promotion_obstacles
        if code not in _CONDITIONS
    )
    is_automatic = bool(facts.experiment.config.get("autoPromoteWinner"))
    return Checklist((*items, *unknown), is_automatic)


def _min_sample_size(facts: ExperimentFacts) -> str:
    evidence, least = facts.known, facts.min_sample_size
    index = min(facts.active, key=lambda each: evidence.compared_units[each])
    return (
        f"{facts.names[index]} has {count(evidence.compared_units[index])} of {count(least)} "
        f"{facts.units}"
    )


def _min_duration(facts: ExperimentFacts) -> str:
    duration_ms, stated_s = facts.known.duration_ms, facts.experiment.config.get("minDuration")
    if stated_s is not None:
        return f"it has run for {duration(duration_ms)} of {duration(stated_s * _MS_PER_S)}"
    day = day_of(duration_ms)
    whole_week = -(-day // _WEEK_DAYS) * _WEEK_DAYS
    if duration_ms >= _WEEK_DAYS * DAY_MS and (day - 1) % _WEEK_DAYS == 0:
        return f"day {day}; the lead does not outweigh the part of a week that has begun"
    return f"day {day}; the week ends on day {whole_week}"


def _tripped(facts: ExperimentFacts) -> str:
    found = worst(facts.known.guardrails)
    return (
        "a variant harms a guardrail"
        if found is None
        else f"{facts.names[found.variant]} harms {found.metric}"
    )


def _unproven(facts: ExperimentFacts) -> str:
    evidence = facts.known
    found = next(
        (
            each
            for each in evidence.guardrails
            if each.variant == evidence.leader and each.is_proven is False
        ),
        None,
    )
    if found is None:
        return "harm to a guardrail is not ruled out yet"
    return (
        f"harm of {percent(found.margin)} to {found.metric} by {facts.names[found.variant]} is "
        "not ruled out yet"
    )


def _expected_loss(facts: ExperimentFacts) -> str:
    loss = facts.known.relative_loss
    allowed = percent(facts.experiment.config.get("maxExpectedLoss"))
    if loss is None:
        return "what a wrong choice would cost is not known yet"
    return f"a wrong choice would cost {percent(loss)} on average; {allowed} is allowed"


def _contradicted(facts: ExperimentFacts) -> str:
    found = [name for name, model in facts.stats.metrics.items() if model.contradiction]
    return f"{found[0] if found else 'a metric'} has values of another kind"


_CONDITIONS: dict[str, tuple[str, Callable[[ExperimentFacts], str]]] = {
    "NOT_RUNNING": ("it is running", lambda _: "it is paused"),
    "SAMPLE_RATIO_MISMATCH": (
        "counts match the split",
        lambda _: "counts do not match the split",
    ),
    "DEDUPLICATION_FULL": (
        "no event was lost to a full memory",
        lambda _: "events were not counted: the memory for duplicates was full",
    ),
    "UNITS_IN_SEVERAL_VARIANTS": (
        "no unit has several variants",
        lambda facts: f"too many {facts.units} have several variants",
    ),
    "KIND_CONTRADICTED": ("metrics have values of their kind", _contradicted),
    "GUARDRAIL_TRIPPED": ("no guardrail is harmed", _tripped),
    "GUARDRAIL_UNPROVEN": ("harm to guardrails is ruled out", _unproven),
    "MIN_SAMPLE_SIZE": ("every variant has enough units", _min_sample_size),
    "MIN_DURATION": ("it has run for whole weeks", _min_duration),
    "TAILS_UNSEEN": (
        "rare large values were seen",
        lambda _: "rare large values may not have been seen yet",
    ),
    "NO_WINNER": ("one variant beats all others", lambda _: "no variant beats all others yet"),
    "EXPECTED_LOSS": ("a wrong choice would cost little", _expected_loss),
}

_ASKED: dict[str, Callable[[StatsEvidence], bool]] = {
    "GUARDRAIL_TRIPPED": lambda evidence: bool(evidence.guardrails),
    "GUARDRAIL_UNPROVEN": lambda evidence: any(
        each.margin is not None for each in evidence.guardrails
    ),
    "TAILS_UNSEEN": lambda evidence: any(evidence.units_needed),
}
"""Conditions that not every experiment has: one that is not asked is not said to be met."""
