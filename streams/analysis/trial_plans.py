"""Which variants an evaluation compares: those that are active, by units that could get either.

A variant that is added has no units of before, and one that is stopped none of after. Two variants
are compared over the units that could be assigned to both (`streams.model.variant_weights`), so
over the time in which both ran; weights of receipts say when that was, and the declared ones
for units from before the first change. A stopped variant is out of all that is concluded, and is
described beside the control.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.analysis.counted_units import StartWeights
from streams.analysis.group import GroupPlan
from streams.analysis.traffic import TrafficPlan
from streams.experiments.lifecycle import Experiment
from streams.experiments.measurement_plan import plan_of
from streams.experiments.roster import fixed_weights, initial_roster
from streams.tallies.cell import Tally, VariantTally

_NO_UNITS = VariantTally()


@dataclass(frozen=True, slots=True, eq=False)
class TrialPlans:
    """Plans of the groups of variants that are read of the experiment itself.

    Attributes:
        compared: The active variants.
        stopped: The control beside each stopped variant, by the index of that.
        all: All variants; the same as `compared` if none is stopped.
        start: Weights of units whose receipts carry none; None if all weights are known.
    """

    compared: GroupPlan
    all: GroupPlan
    start: StartWeights | None
    stopped: dict[int, GroupPlan] = field(default_factory=dict)


def trial_plans(experiment: Experiment, tally: Tally) -> TrialPlans:
    """Return which variants are read, and how their units were split."""
    definition, roster = experiment.definition, experiment.roster
    config = definition.config
    if roster is None and not config.parameters.adaptive:
        # A draft with stopped variants is split as it would be if it started now.
        roster = initial_roster(definition, experiment.version)
    active, control = definition.active, definition.control_index
    weights = definition.weights
    every_index = range(len(definition.variants))
    excluded = _excluded(experiment, tally)
    initial: tuple[int, ...] = ()
    if roster is not None:
        initial = roster.weights
    elif any(tally.excluded) and not config.parameters.adaptive:
        initial = fixed_weights(definition)
    start = None
    if initial:
        start = StartWeights(initial, plan_of(definition, experiment.n_started))
    names = frozenset((config.primary_metric, *config.secondary_metrics, *config.guardrail_metrics))
    # Of a metric that only a stopped variant has, the others have 0.
    observed: frozenset[str] = frozenset()
    if len(active) < len(every_index):
        observed = observed.union(
            *(tally.variants.get(index, _NO_UNITS).metrics for index in every_index)
        )

    def plan(indices: Sequence[int]) -> GroupPlan:
        is_partial = len(indices) < len(definition.variants)
        return GroupPlan(
            indices=tuple(indices),
            control=list(indices).index(control),
            traffic=TrafficPlan(
                # With the floor without automatic promotion, as that setting may change meanwhile.
                config.parameters,
                tuple(weights[index] for index in indices),
                tuple(excluded[index] for index in indices) if any(excluded) else (),
                None
                if roster is None or not roster.smallest
                else tuple(roster.smallest[index] for index in indices),
                len(definition.variants),
                _units(tally, every_index) if is_partial else None,
            ),
            names=names,
            is_trial=True,
            observed=observed,
            is_partial=is_partial,
            has_changed=roster is not None,
        )

    compared = plan(active)
    if not compared.is_partial:
        return TrialPlans(compared, compared, start)
    stopped = {index: plan((control, index)) for index in every_index if index not in active}
    return TrialPlans(compared, plan(every_index), start, stopped)


def _excluded(experiment: Experiment, tally: Tally) -> list[int]:
    """Return the units that each variant could not have: of added ones, all from before as well."""
    n_variants, n_started = len(experiment.definition.variants), experiment.n_started
    found = [*tally.excluded[:n_started], *[0] * (n_started - len(tally.excluded))]
    units = _units(tally, range(n_variants))
    offered = [*tally.offered, *[0] * n_variants]
    return found + [max(units - offered[index], 0) for index in range(n_started, n_variants)]


def _units(tally: Tally, indices: Sequence[int]) -> int:
    return sum(max(tally.variants.get(index, _NO_UNITS).units, 0) for index in indices)
