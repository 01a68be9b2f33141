"""First stage of an evaluation: the inputs, read from the definition and the tally."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.analysis.counted_units import CountedUnits
from streams.analysis.group import Group, GroupPlan
from streams.analysis.traffic import Traffic, TrafficPlan
from streams.analysis.trial_plans import trial_plans
from streams.experiments.config import ExperimentConfig
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.exposure import Exposure
from streams.experiments.lifecycle import Experiment
from streams.experiments.promotion_state import Phase
from streams.model.quantities import ALLOCATION_TOTAL
from streams.policies.base import Arm, Policy
from streams.policies.bayesian_ab import BayesianAB
from streams.stats.direction import Direction
from streams.stats.sequential.multiplicity import Tried
from streams.tallies.cell import Tally, VariantTally


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Inputs of an evaluation.

    Attributes:
        experiment: Definition and lifecycle.
        tally: The sum of the newest cells.
        policy: The policy for `arms`.
        arms: The active variants as arms of the policy: mirrored if the primary metric should
            decrease, because policies maximise.
        is_mirrored: Whether policy and arms are mirrored.
        trial: The active variants, which are compared.
        split: Split of the units of all variants.
        stopped: Groups of the control and a stopped variant, by the index of the latter.
        promoted: The promoted winner and the control, by counts since the conclusion; None without
            a promotion.
    """

    experiment: Experiment
    tally: Tally
    policy: Policy
    arms: tuple[Arm, ...]
    is_mirrored: bool
    trial: Group
    split: Traffic
    stopped: Mapping[int, Group]
    promoted: Group | None

    @property
    def config(self) -> ExperimentConfig:
        """Configuration of the experiment."""
        return self.experiment.definition.config

    @property
    def variants(self) -> tuple[VariantTally, ...]:
        """Tallies of all variants, in the order of the definition."""
        found = dict(zip(self.trial.indices, self.trial.variants, strict=True))
        found |= {index: group.variants[1] for index, group in self.stopped.items()}
        return tuple(found[index] for index in sorted(found))

    @property
    def tried(self) -> Tried:
        """The variants that are or were compared with the control, including stopped ones."""
        experiment = self.experiment
        return Tried(experiment.n_started - 1, len(experiment.definition.variants) - 1)

    @property
    def is_by_exposure(self) -> bool:
        """Whether a unit counts from its first exposure, and not from its assignment."""
        return self.config.exposure is Exposure.EVENT

    @property
    def duration_ms(self) -> int:
        """Time from the start, or from the first event after it, to the newest event."""
        # Events dated before the start do not make an experiment older.
        begun_at_ms = max(self.tally.first_at_ms, self.experiment.started_at_ms or 0)
        return max(self.tally.last_at_ms - begun_at_ms, 0)


def read(experiment: Experiment, tally: Tally) -> Inputs:
    """Read the inputs of an evaluation.

    Args:
        experiment: Definition and lifecycle.
        tally: Sum of the newest cells. Among indices beyond the variants of the definition, only
            those of a promoted winner are read.
    """
    definition = experiment.definition
    config, policy = definition.config, definition.policy
    is_mirrored = config.spec(config.primary_metric).direction is Direction.DECREASE
    plans, promoted = trial_plans(experiment, tally), _promoted(experiment)
    chosen = [plans.compared, *plans.stopped.values()]
    if promoted is not None:
        chosen.append(promoted)
    units = CountedUnits.read(
        tally,
        {index for plan in chosen for index in plan.indices},
        {config.maturity_s(name) for plan in chosen for name in plan.names},
        plans.start,
    )
    groups = {plan.indices: Group.read(config, units, plan) for plan in chosen}
    trial = groups[plans.compared.indices]
    split = trial.traffic
    if plans.stopped:
        split = Traffic.of(plans.all.traffic, plans.all.chosen(units.by_window[0]))
    arms = _arms(policy, trial, config.primary_metric, definition)
    if is_mirrored:
        policy, arms = policy.mirrored(), tuple(arm.mirrored() for arm in arms)
    return Inputs(
        experiment,
        tally,
        policy,
        arms,
        is_mirrored,
        trial,
        split,
        {index: groups[plan.indices] for index, plan in plans.stopped.items()},
        None if promoted is None else groups[promoted.indices],
    )


def _arms(
    policy: Policy, group: Group, metric: str, definition: ExperimentDefinition
) -> tuple[Arm, ...]:
    """Return the arms of a group."""
    primary = group.metrics[metric]
    samples = primary.all_samples
    if policy.compares_means:
        samples = primary.for_policy(group.traffic)
    weights = definition.weights
    return primary.arms(samples, [weights[index] for index in group.indices])


def _promoted(experiment: Experiment) -> GroupPlan | None:
    """Return the plan of the promoted winner and the control; None without a promotion.

    They form a separate experiment, which began at the conclusion under constant weights. It is
    independent of earlier data: units are split afresh (`promoted_draw`). After a roll-back it
    includes the counts until then, and their late values.
    """
    promotion, definition = experiment.promotion, experiment.definition
    if promotion is None:
        return None
    share = promotion.control_weight / ALLOCATION_TOTAL
    return GroupPlan(
        indices=tuple(
            experiment.logged_index(index, Phase.PROMOTED)
            for index in (promotion.variant, definition.control_index)
        ),
        control=1,
        traffic=TrafficPlan(BayesianAB(min_allocation=0.0), (1.0 - share, share)),
        names=frozenset(definition.config.guardrail_metrics),
        is_trial=False,
    )
