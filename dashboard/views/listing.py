"""The list of experiments: what needs a decision first, in the order of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dashboard.views.headline import ALARM, DONE, GO, ICONS, STOP, WAIT
from dashboard.views.isolation import isolated
from dashboard.views.text import (
    Scale,
    count,
    day_of,
    number,
    percent,
    probability,
    scale_of,
    units_of,
)
from experiment_streams_client import ListedExperiment
from streams.experiments.statistics.recommendation import ReasonCode

STATUSES = ("running", "paused", "draft", "concluded", "archived")


@dataclass(frozen=True, slots=True)
class ListRow:
    """An experiment in the list.

    Attributes:
        id, name, status, owner, tags: Of the experiment.
        verb, because: What to do, and why, in few words.
        tone: As of a headline.
        units: Units so far, of the planned ones where there is a plan.
        day: Day of the experiment; empty before it runs.
        warnings: What is not as it should be, as codes in words.
    """

    id: str
    name: str
    status: str
    owner: str
    tags: tuple[str, ...]
    verb: str
    because: str
    tone: str
    units: str
    day: str
    warnings: tuple[str, ...]

    @property
    def icon(self) -> str:
        """Sign of the tone, beside its color."""
        return ICONS[self.tone]


@dataclass(frozen=True, slots=True)
class _Summed:
    """An experiment of the list, as sentences ask for it."""

    listed: ListedExperiment

    @property
    def units(self) -> str:
        return units_of(str(self.listed.config.get("unit", "")))

    @property
    def scale(self) -> Scale:
        config = self.listed.config
        declared = (config.get("metrics") or {}).get(config["primaryMetric"]) or {}
        return scale_of(str(declared.get("kind") or ""))

    def name_of(self, variant_id: str | None) -> str:
        found = next((each for each in self.listed.variants if each.id == variant_id), None)
        return "A variant" if found is None else isolated(found.name)

    @property
    def named(self) -> str:
        summary = self.listed.summary
        return self.name_of(None if summary is None else summary.headline.variant_id)

    @property
    def value(self) -> float | None:
        summary = self.listed.summary
        return None if summary is None else summary.headline.value

    @property
    def limit(self) -> float | None:
        summary = self.listed.summary
        return None if summary is None else summary.headline.limit


def list_rows(found: Iterable[ListedExperiment]) -> list[ListRow]:
    """Return the rows of the list, in the order of the answer."""
    return [_row(each) for each in found]


def _row(listed: ListedExperiment) -> ListRow:
    summary = listed.summary
    verb, because, tone = _sentence(_Summed(listed))
    n_units = 0 if summary is None else summary.units
    units = count(n_units)
    if summary is not None and summary.planned_units is not None:
        n_units = summary.planned_units
        units += f" of {count(n_units)}"
    is_over = listed.status not in {"running", "paused"}
    begun = listed.started_at
    as_of = 0 if summary is None else summary.as_of
    return ListRow(
        id=listed.id,
        name=isolated(listed.name),
        status=listed.status,
        owner=str(listed.config.get("owner") or ""),
        tags=tuple(map(str, listed.config.get("tags") or ())),
        verb=verb,
        because=because,
        tone=tone,
        units=f"{units} {units_of(str(listed.config.get('unit', '')), n_units)}",
        day="" if is_over or begun is None or as_of < begun else f"day {day_of(as_of - begun)}",
        warnings=()
        if summary is None
        else tuple(code.replace("_", " ").lower() for code in summary.health_codes),
    )


def _sentence(one: _Summed) -> tuple[str, str, str]:
    summary = one.listed.summary
    describe = None if summary is None else _SENTENCES.get(summary.reason_code)
    if summary is None or describe is None:
        return "Look at it.", "", WAIT
    verb, because, tone = describe(one)
    if tone == WAIT and one.listed.status == "paused":
        verb = "It is paused."
    return verb, because, tone


def _mismatch(one: _Summed) -> tuple[str, str, str]:
    times = "" if one.value is None else f"{number(one.value)} × its {one.units}"
    return "Do not use the results.", f"{one.named} has {times or 'wrong counts'}.", ALARM


def _unusable(why: str) -> Callable[[_Summed], tuple[str, str, str]]:
    return lambda _: ("Do not use the results.", why, ALARM)


def _harm(one: _Summed) -> tuple[str, str, str]:
    summary = one.listed.summary
    metric = (None if summary is None else summary.headline.metric) or "a guardrail"
    worse = "" if one.value is None else f" by about {percent(one.value)}"
    return f"Stop {one.named}.", f"It makes {metric} worse{worse}.", STOP


def _roll_back(one: _Summed) -> tuple[str, str, str]:
    _, because, tone = _harm(one)
    return f"Roll {one.named} back.", because, tone


def _winner(one: _Summed) -> tuple[str, str, str]:
    if one.value is None:
        return f"Ship {one.named}.", "It beats all others.", GO
    return (
        f"Ship {one.named}.",
        f"It beats all others by at least {one.scale.amount(one.value)}.",
        GO,
    )


def _few(one: _Summed) -> tuple[str, str, str]:
    if one.value is None or one.limit is None:
        return "Keep it running.", "There are too few units.", WAIT
    value, limit = count(int(one.value)), count(int(one.limit))
    return (
        "Keep it running.",
        f"{one.named} has {value} of the {limit} {one.units} it needs.",
        WAIT,
    )


def _probable(one: _Summed) -> tuple[str, str, str]:
    summary = one.listed.summary
    best = None if summary is None else summary.probability_best
    if best is None:
        return "Keep it running.", f"{one.named} is ahead.", WAIT
    return (
        "Keep it running.",
        f"{one.named} is ahead, and the best with a probability of {probability(best)}.",
        WAIT,
    )


def _plain(verb: str, because: str, tone: str) -> Callable[[_Summed], tuple[str, str, str]]:
    return lambda _: (verb, because, tone)


def _shipped(one: _Summed) -> tuple[str, str, str]:
    listed = one.listed
    shipped = listed.promotion.variant_id if listed.promotion is not None else None
    if shipped is None and listed.served is not None:
        shipped = listed.served.variant_id
    if shipped is None:
        return "Concluded.", "It serves nothing any more.", DONE
    return f"{one.name_of(shipped)} is shipped.", "", DONE


_SENTENCES: dict[str, Callable[[_Summed], tuple[str, str, str]]] = {
    ReasonCode.NOT_STARTED: _plain("Start it.", "It is a draft.", WAIT),
    ReasonCode.SAMPLE_RATIO_MISMATCH: _mismatch,
    ReasonCode.DEDUPLICATION_FULL: _unusable("Events were not counted: a memory was full."),
    ReasonCode.UNITS_IN_SEVERAL_VARIANTS: _unusable("Too many units have several variants."),
    ReasonCode.KIND_CONTRADICTED: _unusable("The metric has values of another kind."),
    ReasonCode.GUARDRAIL_TRIPPED: _harm,
    ReasonCode.MIN_SAMPLE_SIZE: _few,
    ReasonCode.TOO_FEW_MATURE: _few,
    ReasonCode.TAILS_UNSEEN: _plain(
        "Keep it running.", "Rare large values may not have been seen yet.", WAIT
    ),
    ReasonCode.WINNER: _winner,
    ReasonCode.NO_DIFFERENCE: _plain("Stop it.", "The variants are equal in practice.", DONE),
    ReasonCode.FUTILE: _plain("Stop it.", "It would hardly find the planned lift.", DONE),
    ReasonCode.PROBABILITY_BEST: _probable,
    ReasonCode.ELIGIBILITY_UNKNOWN: _plain(
        "Keep it running.", "Its variants are not compared.", WAIT
    ),
    ReasonCode.LEAD_UNCERTAIN: _probable,
    ReasonCode.CONTROL_LEADS: _plain("Keep it running.", "The control is ahead.", WAIT),
    ReasonCode.PROMOTED: _shipped,
    ReasonCode.PROMOTED_HARMFUL: _roll_back,
    ReasonCode.ROLLED_BACK: _plain("Rolled back.", "The control is served again.", DONE),
    ReasonCode.CONCLUDED: _shipped,
    ReasonCode.CONCLUDED_WITHOUT_WINNER: _plain("Concluded without a winner.", "", DONE),
    ReasonCode.ARCHIVED_UNSTARTED: _plain("Archived.", "It was never started.", DONE),
    ReasonCode.EVALUATION_FAILED: _plain(
        "Statistics are missing.", "The evaluation failed.", ALARM
    ),
    ReasonCode.SNAPSHOT_TOO_LARGE: _plain(
        "Statistics are missing.", "They did not fit their topic.", ALARM
    ),
}
