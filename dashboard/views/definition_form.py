"""The form that creates an experiment: from fields to the JSON of the API, and back to faults."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboard.views import definition_fields as fields_of
from dashboard.views.definition_fields import Field, FieldValueError, value_of

MAX_ROWS = 256
MAX_TEXT = 20_000

GROUPS: Mapping[str, tuple[Field, ...]] = {
    "variants": fields_of.VARIANT,
    "metrics": (*fields_of.METRIC, *fields_of.METRIC_MORE),
    "dimensions": fields_of.DIMENSION,
    "covariates": fields_of.COVARIATE,
    "ramp": fields_of.RAMP,
}
"""Groups of rows, and the fields of a row."""

CONFIG = (
    *fields_of.WHAT,
    *fields_of.POLICY,
    *fields_of.PLAN,
    *fields_of.WHO,
    *fields_of.WHEN,
)

INITIAL: Mapping[str, str] = {
    **{f"config.{each.name}": each.default for each in CONFIG if each.default},
    "variants.0.name": "Control",
    "variants.1.name": "",
    "control": "0",
    "metrics.0.name": "",
    "metrics.0.role": "primary",
}
"""Fields of an empty form."""

_PLANNED = "plan.units"

_NAMED = re.compile(r"(variants|dimensions|covariates)\[(\d+)\](?:\.(.*))?$")
_RAMP = re.compile(r"config\.schedule\.ramp\[(\d+)\](?:\.(.*))?$")
_LISTED = re.compile(r"config\.(secondaryMetrics|guardrailMetrics)(?:\[(\d+)\])?$")


@dataclass(frozen=True, slots=True)
class Definition:
    """Contents of a form.

    Attributes:
        body: The JSON that is sent.
        faults: What is wrong, by the name of the field.
        metric_rows: Row of each metric, by its name.
    """

    body: dict[str, Any]
    faults: dict[str, str]
    metric_rows: dict[str, int] = field(default_factory=dict)


_ROWS = {
    "variants": "variant",
    "metrics": "metric",
    "dimensions": "dimension",
    "covariates": "covariate",
    "ramp": "step",
}
"""Words for one row of each group."""


def rows_of(given: Mapping[str, str], group: str) -> list[int]:
    """Return the numbers of the rows of a group, in order."""
    pattern = re.compile(rf"{group}\.(\d{{1,4}})\.")
    found = {int(match[1]) for name in given if (match := pattern.match(name))}
    return sorted(found)[:MAX_ROWS]


def changed_rows(given: Mapping[str, str], add: str, remove: str) -> dict[str, str]:
    """Return the fields with a row more at the end of a group, or without one."""
    found = dict(given)
    if add in GROUPS:
        rows = rows_of(given, add)
        number = rows[-1] + 1 if rows else 0
        for each in GROUPS[add]:
            found[f"{add}.{number}.{each.name}"] = each.default
    elif remove:
        found = {name: text for name, text in found.items() if not name.startswith(f"{remove}.")}
    return found


def definition(given: Mapping[str, str]) -> Definition:
    """Return the JSON of a form, and what cannot be read in it."""
    faults: dict[str, str] = {}
    config = _group(given, "config.", CONFIG, faults)
    _unite_parameters(config, faults)
    _unite_schedule(given, config, faults)
    if "units" not in config.get("plan", {}) and f"config.{_PLANNED}" not in faults:
        config.pop("plan", None)  # it was for the numbers beside the form
    layer = config.get("layer")
    if layer is not None and "range" in layer:
        layer["range"] = [layer["range"].get("0"), layer["range"].get("1")]
    if "ignoredUnits" in config:
        config["ignoredUnits"] = ["$default", *config["ignoredUnits"]]
    if "overrides" in config:
        config["overrides"] = _overrides(config["overrides"], faults)
    rows = _metrics(given, config, faults)
    dimensions = [
        _dimension(_group(given, f"dimensions.{row}.", GROUPS["dimensions"], faults))
        for row in rows_of(given, "dimensions")
    ]
    covariates = [
        _group(given, f"covariates.{row}.", GROUPS["covariates"], faults)
        for row in rows_of(given, "covariates")
    ]
    config |= {
        name: value
        for name, value in (("dimensions", dimensions), ("covariates", covariates))
        if value
    }
    control = given.get("control", "0")
    variants = []
    for row in rows_of(given, "variants"):
        variant = _group(given, f"variants.{row}.", GROUPS["variants"], faults)
        variants.append({**variant, "isControl": True} if str(row) == control else variant)
    return Definition({"config": config, "variants": variants}, faults, rows)


def label_of(name: str, given: Mapping[str, str]) -> str:
    """Return the label of a field, with its row where there may be several; empty if unknown.

    >>> label_of("config.plan.lift", {}), label_of("variants.4.name", {"variants.4.name": "A"})
    ('Lift to be found', 'Name, variant 1')
    """
    group, _, rest = name.partition(".")
    if group not in GROUPS:
        return next((each.label for each in CONFIG if f"config.{each.name}" == name), "")
    number, _, rest = rest.partition(".")
    rows = [str(row) for row in rows_of(given, group)]
    label = next((each.label for each in GROUPS[group] if each.name == rest), "")
    return (
        f"{label}, {_ROWS[group]} {rows.index(number) + 1}" if label and number in rows else label
    )


def field_of(path: str, given: Mapping[str, str], found: Definition) -> str:
    """Return the name of the field for a path of the API; empty if no field has this path."""
    named = _NAMED.match(path.removeprefix("config."))
    if named:
        group, index, rest = named[1], int(named[2]), named[3] or "name"
        numbers = rows_of(given, group)
        return _known(f"{group}.{numbers[index]}", rest, group) if index < len(numbers) else ""
    ramp = _RAMP.match(path)
    if ramp:
        numbers = rows_of(given, "ramp")
        index = int(ramp[1])
        return (
            _known(f"ramp.{numbers[index]}", ramp[2] or "after", "ramp")
            if index < len(numbers)
            else ""
        )
    if path == "config.primaryMetric":
        return _metric_field(found, str(found.body["config"].get("primaryMetric", "")), "role")
    listed = _LISTED.match(path)
    if listed:
        names = found.body["config"].get(listed[1], [])
        index = int(listed[2] or 0)
        return _metric_field(found, names[index] if index < len(names) else "", "role")
    if path.startswith("config.metrics."):
        rest = path.removeprefix("config.metrics.")
        for name in sorted(found.metric_rows, key=len, reverse=True):
            if rest == name or rest.startswith(f"{name}."):
                return _metric_field(
                    found, name, rest.removeprefix(name).removeprefix(".") or "name"
                )
        return ""
    return _config_field(path)


def curl(api_url: str, body: Mapping[str, Any]) -> str:
    """Return the command that sends a definition."""
    text = json.dumps(body, ensure_ascii=False)
    return (
        f"curl -X POST {shlex.quote(f'{api_url}/experiments')} \\\n"
        '  -H "Authorization: Bearer $API_KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(text)}"
    )


def pretty(body: Mapping[str, Any]) -> str:
    """Return a definition as people read it."""
    return json.dumps(body, ensure_ascii=False, indent=2)


def _group(
    given: Mapping[str, str], place: str, known: Sequence[Field], faults: dict[str, str]
) -> dict[str, Any]:
    """Return the JSON of the fields of a group that are not empty."""
    found: dict[str, Any] = {}
    # What is JSON as a whole comes first, and its parts are set in it.
    for each in sorted(known, key=lambda one: one.kind != "json"):
        text = given.get(f"{place}{each.name}", "")[:MAX_TEXT].strip()
        if not text:
            continue
        try:
            value = value_of(each.kind, text)
        except FieldValueError as error:
            faults[f"{place}{each.name}"] = str(error)
            continue
        *parents, last = each.name.split(".")
        at = found
        for parent in parents:
            inner = at.setdefault(parent, {})
            if not isinstance(inner, dict):
                break
            at = inner
        else:
            at[last] = value
    return found


def _unite_parameters(config: dict[str, Any], faults: dict[str, str]) -> None:
    if not isinstance(config.get("parameters", {}), dict):
        faults["config.parameters"] = "Enter a JSON object."
        del config["parameters"]


def _unite_schedule(
    given: Mapping[str, str], config: dict[str, Any], faults: dict[str, str]
) -> None:
    schedule = config.get("schedule", {})
    if "holdOn" in schedule:
        schedule["holdOn"] = [*schedule["holdOn"]]
    ramp = [_group(given, f"ramp.{row}.", GROUPS["ramp"], faults) for row in rows_of(given, "ramp")]
    if ramp:
        schedule["ramp"] = ramp
    if schedule:
        config["schedule"] = schedule


def _overrides(lines: list[str], faults: dict[str, str]) -> dict[str, str]:
    found = {}
    for line in lines:
        unit, equals, variant = line.rpartition("=")
        if not equals or not unit.strip() or not variant.strip():
            faults["config.overrides"] = "Enter lines as: unit = variant"
        found[unit.strip()] = variant.strip()
    return found


def _dimension(found: dict[str, Any]) -> dict[str, Any]:
    values = [each.strip() for each in str(found.get("values", "")).split(",")]
    return {**found, "values": [each for each in values if each]}


def _metrics(
    given: Mapping[str, str], config: dict[str, Any], faults: dict[str, str]
) -> dict[str, int]:
    rows: dict[str, int] = {}
    declared: dict[str, dict[str, Any]] = {}
    roles: dict[str, list[str]] = {"primary": [], "secondary": [], "guardrail": []}
    for row in rows_of(given, "metrics"):
        metric = _group(given, f"metrics.{row}.", GROUPS["metrics"], faults)
        name, role = metric.pop("name", ""), metric.pop("role", "secondary")
        if not name:
            faults[f"metrics.{row}.name"] = "Enter the name of the metric."
            continue
        if name in rows:
            faults[f"metrics.{row}.name"] = "This metric is declared above."
            continue
        if metric.pop("onlyMature", None) == "false":
            metric["onlyMature"] = False
        rows[name] = row
        roles.get(role, []).append(name)
        if metric != {"direction": "increase"}:
            declared[name] = metric
    for extra in roles["primary"][1:]:
        faults[f"metrics.{rows[extra]}.role"] = "One metric decides, and no more."
    if not roles["primary"] and rows:
        faults[f"metrics.{min(rows.values())}.role"] = "Choose the metric that decides."
    if roles["primary"]:
        config["primaryMetric"] = roles["primary"][0]
    for name, role in (("secondaryMetrics", "secondary"), ("guardrailMetrics", "guardrail")):
        if roles[role]:
            config[name] = roles[role]
    if declared:
        config["metrics"] = declared
    return rows


def _known(place: str, rest: str, group: str) -> str:
    names = [each.name for each in GROUPS[group]]
    rest = re.sub(r"\[\d+\]", "", rest)
    while rest not in names and "." in rest:
        rest = rest.rpartition(".")[0]
    return f"{place}.{rest if rest in names else names[0]}"


def _metric_field(found: Definition, name: str, rest: str) -> str:
    row = found.metric_rows.get(name)
    return "" if row is None else _known(f"metrics.{row}", rest, "metrics")


def _config_field(path: str) -> str:
    names = [f"config.{each.name}" for each in CONFIG]
    plain = re.sub(r"\[(\d+)\]", r".\1", path)
    while plain not in {"", "config"}:
        if plain in names:
            return plain
        below = next((name for name in names if name.startswith(f"{plain}.")), None)
        if below is not None:
            return below
        plain = plain.rpartition(".")[0]
    return ""
