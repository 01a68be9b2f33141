"""Every field of the form that creates an experiment, and how its text becomes JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from streams.policies.registry import POLICIES
from streams.stats.kinds import MetricKind

_DAY_S = 86_400
_HUNDRED = 100.0

_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
"""A number with separators of thousands."""

_EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
"""A number with one separator of thousands, or with a decimal comma."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field.

    Attributes:
        name: Its JSON name, below the place of its group.
        label: Its label.
        kind: `text`, `area`, `number`, `integer`, `percent`, `days`, `time`, `check`, `choice`,
            `lines` or `json`.
        hint: Further words.
        choices: Values and labels of a choice.
        default: What an empty form begins with.
        is_required: Whether its group is invalid without it.
    """

    name: str
    label: str
    kind: str = "text"
    hint: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    default: str = ""
    is_required: bool = False


_POLICIES = {
    "bayesian_ab": "fixed shares (A/B test)",
    "thompson_sampling": "Thompson sampling",
    "top_two_thompson": "top-two Thompson sampling",
    "ucb": "upper confidence bound",
    "epsilon_greedy": "epsilon-greedy",
    "lin_ts": "contextual: linear Thompson sampling",
    "lin_ucb": "contextual: linear UCB",
}
"""Labels of policies; a policy without one is shown by its type."""


def _choices(*values: str, empty: str | None = None) -> tuple[tuple[str, str], ...]:
    first = () if empty is None else (("", empty),)
    return (*first, *((value, value.replace("_", " ")) for value in values))


WHAT = (
    Field("name", "Name", is_required=True),
    Field("key", "Key", hint="By which programs ask for it; lower-case letters, digits, . - _"),
    Field("description", "Description", "area"),
    Field("owner", "Owner", hint="Who is asked about it"),
    Field("tags", "Tags", "lines", "One per line"),
    Field(
        "unit",
        "Who is randomized",
        "choice",
        choices=(("user", "users"), ("session", "sessions"), ("impression", "impressions")),
        default="user",
    ),
)

POLICY = (
    Field(
        "type",
        "How traffic is shared",
        "choice",
        choices=tuple((each, _POLICIES.get(each, each.replace("_", " "))) for each in POLICIES),
        default="bayesian_ab",
    ),
    Field("parameters.minAllocation", "Smallest share of a variant", "percent"),
    Field("parameters.priorAlpha", "Prior: units with a value", "number"),
    Field("parameters.priorBeta", "Prior: units without", "number"),
    Field(
        "parameters.earlyStoppingThreshold", "Probability to stop early (fixed shares)", "number"
    ),
    Field("parameters", "Further parameters of the policy", "json", 'As JSON: {"epsilon": 0.1}'),
    Field("minSampleSize", "Units before a variant is judged", "integer", default="100"),
    Field(
        "significanceThreshold", "Confidence a winner needs", "number", "0.5 to 1", default="0.95"
    ),
    Field(
        "alternative",
        "What is tested",
        "choice",
        choices=(
            ("two_sided", "any variant may win"),
            ("better", "only one that beats the control"),
        ),
        default="two_sided",
    ),
    Field("negligibleDifference", "Difference that does not matter", "percent", "Of the mean"),
    Field("autoPromoteWinner", "Ship a certain winner automatically", "check"),
    Field("maxExpectedLoss", "Largest expected loss of that winner", "percent", "Of its mean"),
    Field("minDuration", "Shortest duration before", "days", "Empty: whole weeks"),
    Field("controlShare", "Share the control keeps afterwards", "percent", "0 to 50"),
    Field("periods.halfLife", "A unit counts half after", "days"),
    Field("periods.delayed", "Count delayed conversions in part", "check"),
    Field("periods.stratified", "Compare within periods", "check"),
)

PLAN = (
    Field("plan.baseline", "Mean of the control", "number", "Of a rate: 0.1 for 10 %"),
    Field("plan.lift", "Lift to be found", "percent", "Of that mean"),
    Field("plan.deviation", "Standard deviation of a unit", "number", "Not of a rate"),
    Field(
        "plan.units",
        "Planned units of each variant",
        "integer",
        "With them the plan is a part of the experiment",
    ),
)

DAILY = Field("daily", "Units a day", "integer", "For the days alone: it is not sent")
"""Field of the form that is not part of a definition."""

WHO = (
    Field("trafficAllocation", "Share of units that take part", "percent", default="100"),
    Field(
        "targeting",
        "Rule for requests",
        "json",
        'As JSONLogic: {"==": [{"var": "device"}, "mobile"]}',
    ),
    Field("layer.key", "Layer", hint="Experiments of a layer have no unit in common"),
    Field("layer.range.0", "Part of the layer: from", "number", "0 to 1"),
    Field("layer.range.1", "Part of the layer: to", "number"),
    Field("overrides", "Overrides for people who test", "lines", "One per line: unit = variant"),
    Field(
        "ignoredUnits", "Ids that are no unit", "lines", "One per line, besides the default list"
    ),
    Field(
        "exposure",
        "A unit counts from",
        "choice",
        choices=(
            ("assignment", "its assignment"),
            ("event", "its first exposure, which is reported"),
        ),
        default="assignment",
    ),
    Field("valueField", "Field of the configuration that is the flag's value"),
)

WHEN = (
    Field("schedule.startAt", "Start", "time", "UTC; empty: by hand"),
    Field("schedule.endAt", "End", "time", "UTC"),
    Field("schedule.holdOn.guardrail", "Hold the ramp when a guardrail is harmed", "check"),
    Field(
        "schedule.holdOn.sampleRatio", "Hold the ramp when counts do not match the split", "check"
    ),
    Field(
        "attributionWindow",
        "Observations count for",
        "days",
        "Days after the assignment; 0: no limit",
    ),
    Field(
        "conversionWindow",
        "A unit can convert for",
        "days",
        "Days after its first assignment; 0: no limit",
    ),
)

VARIANT = (
    Field("name", "Name", is_required=True),
    Field("weight", "Share of the traffic", "percent", "Fixed shares alone; all or none"),
    Field("config", "Configuration", "json", "As JSON; callers get it with an assignment"),
)

METRIC = (
    Field("name", "Name", is_required=True),
    Field(
        "role",
        "Role",
        "choice",
        choices=(
            ("primary", "decides"),
            ("secondary", "compared"),
            ("guardrail", "must not be harmed"),
            ("part", "part of a ratio"),
        ),
        default="secondary",
    ),
    Field(
        "kind",
        "Kind",
        "choice",
        choices=_choices(*MetricKind, empty="inferred"),
    ),
    Field(
        "direction",
        "Should",
        "choice",
        choices=_choices("increase", "decrease"),
        default="increase",
    ),
)

METRIC_MORE = (
    Field("toleratedHarm", "Guardrail: tolerated harm", "percent"),
    Field(
        "mode",
        "Guardrail: before a promotion",
        "choice",
        choices=_choices("harm", "non_inferiority", empty="by default"),
    ),
    Field("margin", "Guardrail: harm to rule out", "percent"),
    Field("numerator", "Ratio: numerator"),
    Field("denominator", "Ratio: denominator"),
    Field("percentile", "Quantile", "number", "0.5 to 1"),
    Field(
        "counting",
        "Several observations",
        "choice",
        choices=_choices("unique", "sum", empty="by default"),
    ),
    Field("cap", "Largest value of a unit", "number"),
    Field("winsorize", "Cap at the percentile", "number", "0.5 to 1, such as 0.99"),
    Field("floor", "Smallest value of a unit", "number"),
    Field("minValue", "Smallest observation", "number"),
    Field("maxValue", "Largest observation", "number"),
    Field("conversionWindow", "A unit can convert for", "days"),
    Field("conversionDelay", "Observations count after", "days"),
    Field(
        "onlyMature",
        "Compare",
        "choice",
        choices=(("", "units whose window is over"), ("false", "all units")),
    ),
    Field("prior.alpha", "Prior: units with a value", "number"),
    Field("prior.beta", "Prior: units without", "number"),
    Field("prior.events", "Prior: events", "number"),
    Field("prior.eventUnits", "Prior: units of the events", "number"),
    Field("prior.mean", "Prior: mean", "number"),
    Field("prior.variance", "Prior: variance", "number"),
    Field("prior.units", "Prior: units the mean weighs", "number"),
    Field("prior.degrees", "Prior: units the variance weighs", "number"),
)

DIMENSION = (
    Field("name", "Attribute", hint="device, location or features.NAME", is_required=True),
    Field("values", "Values", hint="Separated by commas", is_required=True),
)
COVARIATE = (
    Field("name", "Name", hint="Its key in the features of a request", is_required=True),
    Field("minimum", "Smallest", "number", is_required=True),
    Field("maximum", "Largest", "number", is_required=True),
)
RAMP = (
    Field("after", "After", "days", "Days after the start", is_required=True),
    Field("trafficAllocation", "Share of units", "percent", is_required=True),
)


class FieldValueError(ValueError):
    """A text that does not match the type of its field; the message describes a valid one."""


def value_of(kind: str, text: str) -> Any:
    """Return the JSON value of a text that is not empty.

    Raises:
        FieldValueError: it is not of that kind.
    """
    return _READERS[kind](text)


def _number(text: str) -> float | int:
    plain = "".join(text.split()).removesuffix("%")
    if _EITHER.fullmatch(plain):
        either = f"{plain.replace(',', '')} or {plain.replace(',', '.')}"
        raise FieldValueError(f"Enter {either}: with the comma it may be either.")
    is_grouped = _GROUPED.fullmatch(plain) is not None
    try:
        value = float(plain.replace(",", "" if is_grouped else "."))
    except ValueError:
        raise FieldValueError("Enter a number.") from None
    value = _finite(value)
    return int(value) if value.is_integer() and abs(value) < 1e15 else value  # noqa: PLR2004


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise FieldValueError("Enter a finite number.")
    return value


def _integer(text: str) -> int:
    plain = "".join(text.split())
    # Of a whole number, a comma before three digits can only separate thousands.
    value = _number(plain.replace(",", "") if _GROUPED.fullmatch(plain) else plain)
    if not isinstance(value, int):
        raise FieldValueError("Enter a whole number.")
    return value


def _percent(text: str) -> float:
    return round(_number(text) / _HUNDRED, 12)


def _days(text: str) -> int:
    return round(_finite(_number(text) * _DAY_S))


def _time(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise FieldValueError("Enter a date and a time.") from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return int(at.timestamp() * 1000)


def _json(text: str) -> Any:
    try:
        value = orjson.loads(text)
        orjson.dumps(value)  # so deeply nested that it could not be sent
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        raise FieldValueError(f"This is not JSON: {error}.") from None
    return value


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


_READERS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "area": str,
    "choice": str,
    "number": _number,
    "integer": _integer,
    "percent": _percent,
    "days": _days,
    "time": _time,
    "check": lambda _: True,
    "json": _json,
    "lines": _lines,
}
