"""Units and days that the experiment of a form needs: what is asked, and the answer in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from api.http.models.operation import PlanAnswer
from dashboard.views.definition_fields import DAILY, PLAN, FieldValueError, value_of
from dashboard.views.definition_form import Definition
from dashboard.views.text import count, number, percent, units_of
from streams.stats.direction import Direction
from streams.stats.kinds import MetricKind

ValueKind = Literal["binary", "count", "continuous"]

UNITS_FIELD = "config.plan.units"

FIELDS = (*(f"config.{each.name}" for each in PLAN), DAILY.name)
"""Names of the fields of a plan."""

_FIELD_OF_PATH = {
    "baseline": "config.plan.baseline",
    "lift": "config.plan.lift",
    "deviation": "config.plan.deviation",
    "dailyUnits": DAILY.name,
}

_KINDS: Mapping[str | None, ValueKind] = {
    None: "binary",
    MetricKind.BINARY: "binary",
    MetricKind.COUNT: "count",
    MetricKind.REVENUE: "continuous",
    MetricKind.CONTINUOUS: "continuous",
}

_CONFIDENCE = 0.95
_ALL_USERS = 1.0


@dataclass(frozen=True, slots=True)
class FormQuestion:
    """Question of a form.

    Attributes:
        baseline, lift, variants, metric_kind, deviation, alpha, daily_units: As of a plan.
        unit: Who is randomized.
        notes: What is taken for granted, in words.
        planned: Units of each variant that the form has; None without one.
    """

    baseline: float
    lift: float
    variants: int
    metric_kind: ValueKind
    deviation: float | None
    alpha: float
    daily_units: int | None
    unit: str
    notes: tuple[str, ...]
    planned: int | None


@dataclass(frozen=True, slots=True)
class PlanView:
    """Units and days that a form says it needs.

    Attributes:
        message: Why there are no numbers; empty if there are.
        faults: What is wrong with a field, by its name; every field of a plan is in it.
        verdict: Units and days in words; empty without numbers.
        units: Units of each variant, to take over; 0 without numbers, or if the form has them.
        notes: Further sentences.
        detectable: Lifts that some weeks find.
    """

    message: str
    faults: Mapping[str, str]
    verdict: str = ""
    units: int = 0
    notes: tuple[str, ...] = ()
    detectable: tuple[tuple[str, str], ...] = ()


def plan_question(given: Mapping[str, str], found: Definition) -> FormQuestion | PlanView:
    """Return the question of a form; or what keeps it from being asked."""
    values, faults = _values(given)
    baseline, lift = values.get("config.plan.baseline"), values.get("config.plan.lift")
    deviation = values.get("config.plan.deviation")
    if faults:
        return refused_plan("", faults)
    if baseline is None or lift is None:
        return refused_plan("Enter the mean of the control and the lift to be found.", {})
    config = found.body["config"]
    metric = (config.get("metrics") or {}).get(config.get("primaryMetric"), {})
    kind, notes = metric.get("kind"), []
    if kind not in _KINDS:
        return refused_plan(f"There is no formula for a {kind}: enter units of your own.", {})
    value_kind = _KINDS[kind]
    if kind is None and deviation is not None:
        value_kind = "continuous"
    if kind is None:
        notes.append(
            "The metric that decides has no kind: taken for "
            + ("values of 0 and 1." if value_kind == "binary" else "amounts.")
        )
    if metric.get("direction") == Direction.DECREASE:
        notes.append("Computed for a rise of that size.")
    daily, share = values.get(DAILY.name), config.get("trafficAllocation", _ALL_USERS)
    if daily is not None and share < _ALL_USERS:
        notes.append(f"Of {count(daily)} a day, {percent(share)} take part.")
        daily = int(max(daily * share, 1.0))
    return FormQuestion(
        baseline=baseline,
        lift=lift,
        variants=len(found.body["variants"]),
        metric_kind=value_kind,
        deviation=deviation,
        alpha=round(1.0 - config.get("significanceThreshold", _CONFIDENCE), 12),
        daily_units=daily,
        unit=config.get("unit", ""),
        notes=tuple(notes),
        planned=values.get(UNITS_FIELD),
    )


def plan_view(question: FormQuestion, answer: PlanAnswer) -> PlanView:
    """Return an answer as the form shows it."""
    fixed, units = answer.fixed, units_of(question.unit)
    needed, all_units, days = fixed["unitsPerVariant"], fixed["units"], fixed["days"]
    verdict = f"{count(needed)} {units} of each variant, {count(all_units)} in all"
    if days is not None:
        verdict += f": {count(days)} day{'' if days == 1 else 's'}"
    notes = [*question.notes]
    if question.planned is not None and question.planned < needed:
        notes.insert(0, f"The plan has {count(question.planned)} of each, too few for this lift.")
    return PlanView(
        message="",
        faults=_every({}),
        verdict=f"{verdict}.",
        units=0 if question.planned == needed else needed,
        notes=tuple(notes),
        detectable=tuple(
            (
                f"{each['weeks']} week{'' if each['weeks'] == 1 else 's'}",
                f"{number(100.0 * each['lift'])}\N{NO-BREAK SPACE}%",
            )
            for each in answer.detectable or ()
            if each["lift"] is not None
        ),
    )


def refused_plan(message: str, faults: Mapping[str, str]) -> PlanView:
    """Return why there are no numbers."""
    return PlanView(message if message or faults else "", _every(faults))


def plan_field(path: str) -> str:
    """Return the field for a path of the API; empty if no field of a plan has this path."""
    return _FIELD_OF_PATH.get(path, "")


def _every(faults: Mapping[str, str]) -> dict[str, str]:
    return {name: faults.get(name, "") for name in FIELDS}


def _values(given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for name, each in zip(FIELDS, (*PLAN, DAILY), strict=True):
        text = given.get(name, "").strip()
        if not text:
            continue
        try:
            values[name] = value_of(each.kind, text)
        except FieldValueError as error:
            faults[name] = str(error)
    if values.get(DAILY.name, 1) < 1:
        faults[DAILY.name] = "Enter a whole number of at least 1."
    return values, faults
