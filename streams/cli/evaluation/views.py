"""Views of an off-policy evaluation: table, sentence and JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from streams.cli.numbers import number
from streams.cli.tables import share, table_of
from streams.experiments.lifecycle import Experiment
from streams.policies.contextual.base import ContextualPolicy
from streams.replay.off_policy.intervals import ValueEstimate
from streams.replay.off_policy.report import SWITCH_THRESHOLD, Evaluation

SHARE_ROUNDING = 1e-4
"""Relative error of the shares in receipts: some are rounded by up to 3e-5. A policy that is almost
the logged one has weights that vary by no more, and a mean that differs from 1 by it."""

FEW_EFFECTIVE_UNITS = 20.0
"""Below, no interval has been shown to cover as often as it says."""

NOTE = (
    "Intervals are 95 % confidence intervals for one look. The last two estimates trust their "
    "model: the direct method flatters what has learned from this log."
)

MAX_ROWS = 12
"""Variants shown."""

NEGLIGIBLE_LACK = 0.005
"""Share of choices that a run of the policy's own may lack without a word."""


@dataclass(frozen=True, slots=True)
class EvaluationQuery:
    """Arguments of an evaluation.

    Attributes:
        experiment: With the policy asked about.
        size: Units between two allocations.
        is_fixed: Whether fixed shares were asked about instead of the policy.
        is_own_run: Whether the policy learned from a separate run.
    """

    experiment: Experiment
    size: int
    is_fixed: bool
    is_own_run: bool

    @property
    def learns(self) -> bool:
        """Whether it is a policy that learns."""
        return self.experiment.definition.config.parameters.adaptive and not self.is_fixed


def evaluation_view(asked: EvaluationQuery, found: Evaluation, unmatched: int) -> RenderableType:
    """Return estimates, variants, diagnostics and one sentence.

    Args:
        asked: What was asked about.
        found: What it would have earned.
        unmatched: Observations left out.
    """
    experiment = asked.experiment
    metric = experiment.definition.config.primary_metric
    parts: list[RenderableType] = [
        Text.assemble(
            (experiment.definition.config.name, "bold"),
            f" ({experiment.id}): {_named(asked)} over {found.n_units:,} units, {metric} per unit",
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
    if asked.learns:
        parts.append(Text(_learned(asked, found)))
    return Group(*parts, Text(NOTE, "dim"))


def evaluation_json(asked: EvaluationQuery, found: Evaluation, unmatched: int) -> dict[str, Any]:
    """Return the same as a JSON object; the arguments are those of `evaluation_view`."""
    experiment, is_fixed = asked.experiment, asked.is_fixed
    config = experiment.definition.config
    names = ("earned", "dr", "snipw", "ipw", "dm", "switch_dr", "gain")
    return {
        "experimentId": experiment.id,
        "metric": config.primary_metric,
        "policy": None if is_fixed else config.type,
        "parameters": None
        if is_fixed
        else config.parameters.model_dump(by_alias=True, mode="json"),
        "unitsPerAllocation": asked.size,
        "units": found.n_units,
        "unmatchedObservations": unmatched,
        "learnedUnits": found.n_learned if asked.learns else 0,
        "lacking": found.lacking,
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


def _named(asked: EvaluationQuery) -> str:
    if asked.is_fixed:
        return "fixed shares"
    policy = asked.experiment.definition.config.parameters
    if not policy.adaptive:
        return policy.type
    chosen = policy.model_dump(exclude_none=True)
    if isinstance(policy, ContextualPolicy):
        chosen["features"] = " + ".join(feature.name for feature in policy.features)
    written = ", ".join(f"{name} {value}" for name, value in chosen.items())
    return f"{policy.type} ({written}), allocated anew every {asked.size:,} units,"


def _learned(asked: EvaluationQuery, found: Evaluation) -> str:
    """Return what the policy knew, which decides what the answer means."""
    if not asked.is_own_run:
        return (
            "The policy knew at every moment what this log knew: of a variant that was rarely "
            "assigned little, so it went on asking for it. With --run it learns on its own."
        )
    lacking = (
        ""
        if found.lacking < NEGLIGIBLE_LACK
        else f" The log lacks {found.lacking:.0%} of its choices; a shorter run lacks fewer."
    )
    return f"The policy learned from a separate run of {found.n_learned:,} units.{lacking}"


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
    """Return the variants, or those to which the policy gives most if there are many."""
    table = table_of("variant", ">assigned", "as it was", "policy", ">mean")
    names = [variant.name for variant in experiment.definition.variants]
    shown = sorted(range(len(names)), key=lambda index: -found.shares[index])[:MAX_ROWS]
    for index in sorted(shown):
        table.add_row(
            Text(names[index]),
            f"{found.assigned[index]:,}",
            share(found.assigned[index] / found.n_units),
            share(found.shares[index]),
            number(found.means[index], 4),
        )
    others = set(range(len(names))) - set(shown)
    if others:
        assigned = sum(found.assigned[index] for index in others)
        table.add_row(
            f"{len(others)} others",
            f"{assigned:,}",
            share(assigned / found.n_units),
            share(sum(found.shares[index] for index in others)),
            style="dim",
        )
    return table


def _verdict(found: Evaluation, metric: str) -> str:
    """Return what a product manager takes away."""
    gain, units = found.gain, found.n_units
    if not gain.is_known:
        return "One unit is not enough for an estimate."
    change = _change(found.dr.value, found.earned.value)
    sentence = (
        f"It would have earned {found.dr.value * units:,.0f} {metric} instead of "
        f"{found.earned.value * units:,.0f}{f' ({change})' if change else ''}; the difference per "
        f"unit is {number(gain.value)} [{number(gain.lower)}, {number(gain.upper)}]"
    )
    if gain.lower > 0.0:
        return f"{sentence}: it is better."
    if gain.upper < 0.0:
        return f"{sentence}: it is worse."
    return f"{sentence}: this log shows no difference."


def _trust(found: Evaluation) -> str:
    """Return how far the weights carry, and what is wrong with them if something is."""
    known = found.diagnostics
    size = f"Effective sample size: {known.effective_units:,.0f} units"
    weights = f"largest weight {number(known.largest_weight)}, mean {known.mean_weight.value:.3f}"
    lines = [f"{size}; {weights}."]
    if known.effective_units < FEW_EFFECTIVE_UNITS:
        lines.append(
            f"Fewer than {FEW_EFFECTIVE_UNITS:g} such units: do not believe the intervals."
        )
    elif not (found.dr.is_reliable and found.gain.is_reliable):
        lines.append(
            "Few large values decide, so larger ones may be missing: do not believe the intervals. "
            "A cap of the metric bounds them."
        )
    mean_weight = known.mean_weight
    is_one = mean_weight.lower - SHARE_ROUNDING <= 1.0 <= mean_weight.upper + SHARE_ROUNDING
    if mean_weight.is_known and not is_one:
        lines.append(
            "The mean weight should be 1: the policy asks for what was hardly ever tried, or the "
            "logged propensities are not those of the assignments."
        )
    return "\n".join(lines)


def _cells(estimate: ValueEstimate) -> tuple[str, str]:
    if not estimate.is_known:
        return number(estimate.value, 4), ""
    return number(estimate.value, 4), f"[{number(estimate.lower)}, {number(estimate.upper)}]"


def _change(value: float, base: float) -> str:
    if not math.isfinite(value) or base <= 0.0:
        return ""
    return f"{value / base - 1.0:+.1%}"


def _estimate_json(estimate: ValueEstimate) -> dict[str, float | bool | None]:
    ends = {name: _finite(getattr(estimate, name)) for name in ("value", "lower", "upper")}
    return {**ends, "isReliable": estimate.is_reliable}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
