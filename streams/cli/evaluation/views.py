"""What another policy would have earned, as a table, a sentence and JSON."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from streams.cli.tables import share, table_of
from streams.evaluation.estimators import Estimate
from streams.evaluation.report import SWITCH_THRESHOLD, Evaluation
from streams.experiments.lifecycle import Experiment

FEW_EFFECTIVE_UNITS = 100.0
"""Below, intervals by the central limit theorem are too narrow to be believed."""

NOTE = (
    "Intervals are 95 % confidence intervals by the central limit theorem, for one look; the last "
    "two estimates may be biased by their model."
)

LEARNS = (
    "The policy knew at every moment what this log knew. Of a variant that was rarely assigned it "
    "learned little, and so kept asking for it, where a run of its own would have found out."
)


def evaluation_view(
    experiment: Experiment, found: Evaluation, size: int, unmatched: int, is_fixed: bool
) -> RenderableType:
    """Return estimates, variants, diagnostics and one sentence.

    Args:
        experiment: With the policy asked about.
        found: What it would have earned.
        size: Units between two allocations.
        unmatched: Observations left out.
        is_fixed: Whether fixed shares were asked about instead of the policy.
    """
    metric = experiment.definition.config.primary_metric
    parts: list[RenderableType] = [
        Text.assemble(
            (experiment.definition.config.name, "bold"),
            f" ({experiment.id}): {_asked(experiment, size, is_fixed)} over {found.n_units:,} "
            f"units, {metric} per unit",
        ),
        _estimates(found),
        _variants(experiment, found),
        Text.assemble((_verdict(found, metric), "bold")),
        Text(_trust(found)),
    ]
    if unmatched:
        parts.append(
            Text(
                f"{unmatched:,} observations are of assignments that are not in the log: left out."
            )
        )
    if experiment.definition.config.parameters.adaptive and not is_fixed:
        parts.append(Text(LEARNS))
    return Group(*parts, Text(NOTE, "dim"))


def evaluation_json(
    experiment: Experiment, found: Evaluation, size: int, unmatched: int, is_fixed: bool
) -> dict[str, Any]:
    """Return the same as a JSON object; the arguments are those of `evaluation_view`."""
    config = experiment.definition.config
    names = ("earned", "dr", "snipw", "ipw", "dm", "switch_dr", "gain")
    return {
        "experimentId": experiment.id,
        "metric": config.primary_metric,
        "policy": None if is_fixed else config.type,
        "parameters": None
        if is_fixed
        else config.parameters.model_dump(by_alias=True, mode="json"),
        "unitsPerAllocation": size,
        "units": found.n_units,
        "unmatchedObservations": unmatched,
        "estimates": {
            {"switch_dr": "switchDr"}.get(name, name): _estimate_json(getattr(found, name))
            for name in names
        },
        "effectiveUnits": found.diagnostics.effective_units,
        "largestWeight": found.diagnostics.largest_weight,
        "meanWeight": _estimate_json(found.diagnostics.mean_weight),
        "switched": found.n_switched,
        "variants": [
            {
                "id": experiment.variant_id(index),
                "name": variant.name,
                "assigned": found.assigned[index],
                "share": found.shares[index],
                "mean": _finite(found.means[index]),
            }
            for index, variant in enumerate(experiment.definition.variants)
        ],
    }


def _asked(experiment: Experiment, size: int, is_fixed: bool) -> str:
    if is_fixed:
        return "fixed shares"
    policy = experiment.definition.config.parameters
    if not policy.adaptive:
        return policy.type
    chosen = policy.model_dump(exclude_none=True)
    written = ", ".join(f"{name} {value}" for name, value in chosen.items())
    return f"{policy.type} ({written}), allocated anew every {size:,} units,"


def _estimates(found: Evaluation) -> RenderableType:
    table = table_of("", ">estimate", ">95 % interval", ">against earned")
    rows = (
        ("earned, as it was assigned", found.earned),
        ("doubly robust", found.dr),
        ("self-normalised weights", found.snipw),
        ("inverse propensity weights", found.ipw),
        ("direct method", found.dm),
        (f"doubly robust, weights to {SWITCH_THRESHOLD:g}", found.switch_dr),
    )
    for name, estimate in rows:
        style = "bold" if estimate is found.dr else None
        change = "" if estimate is found.earned else _change(estimate.value, found.earned.value)
        table.add_row(Text(name), *_cells(estimate), change, style=style)
    return table


def _variants(experiment: Experiment, found: Evaluation) -> RenderableType:
    table = table_of("variant", ">assigned", "as it was", "policy", ">mean")
    rows = zip(
        experiment.definition.variants, found.assigned, found.shares, found.means, strict=True
    )
    for variant, assigned, part, mean in rows:
        table.add_row(
            Text(variant.name),
            f"{assigned:,}",
            share(assigned / found.n_units),
            share(part),
            _number(mean),
        )
    return table


def _verdict(found: Evaluation, metric: str) -> str:
    """Return what a product manager takes away."""
    gain, units = found.gain, found.n_units
    if not gain.is_known:
        return "One unit tells nothing."
    change = _change(found.dr.value, found.earned.value)
    sentence = (
        f"It would have earned {found.dr.value * units:,.0f} {metric} instead of "
        f"{found.earned.value * units:,.0f}{f' ({change})' if change else ''}; the difference per "
        f"unit is {gain.value:.3g} [{gain.lower:.3g}, {gain.upper:.3g}]"
    )
    if gain.lower > 0.0:
        return f"{sentence}: it is better."
    if gain.upper < 0.0:
        return f"{sentence}: it is worse."
    return f"{sentence}: this log cannot tell them apart."


def _trust(found: Evaluation) -> str:
    """Return how far the weights carry, and what is wrong with them if something is."""
    known = found.diagnostics
    told = f"Tells as much as {known.effective_units:,.0f} units of the policy's own"
    weights = f"largest weight {known.largest_weight:.3g}, mean {known.mean_weight.value:.3f}"
    lines = [f"{told}; {weights}."]
    if known.effective_units < FEW_EFFECTIVE_UNITS:
        lines.append(
            f"Fewer than {FEW_EFFECTIVE_UNITS:g} such units: do not believe the intervals."
        )
    if known.mean_weight.is_known and not (
        known.mean_weight.lower <= 1.0 <= known.mean_weight.upper
    ):
        lines.append(
            "The mean weight should be 1: the policy asks for what was hardly ever tried, or the "
            "logged propensities are not those of the assignments."
        )
    return "\n".join(lines)


def _cells(estimate: Estimate) -> tuple[str, str]:
    if not estimate.is_known:
        return _number(estimate.value), ""
    return _number(estimate.value), f"[{estimate.lower:.3g}, {estimate.upper:.3g}]"


def _change(value: float, base: float) -> str:
    if not math.isfinite(value) or base <= 0.0:
        return ""
    return f"{value / base - 1.0:+.1%}"


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.4g}"


def _estimate_json(estimate: Estimate) -> dict[str, float | None]:
    return {name: _finite(getattr(estimate, name)) for name in ("value", "lower", "upper")}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
