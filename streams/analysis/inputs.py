"""First stage of an evaluation: the inputs, read from the definition and the tally."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from streams.analysis.binary_once import read_once
from streams.analysis.contrasts import Traffic
from streams.analysis.metric_input import MetricInput, SingleInput
from streams.analysis.primary_periods import PrimaryPeriods
from streams.analysis.ratios import RatioInput
from streams.experiments.definition import ExperimentConfig
from streams.experiments.lifecycle import Experiment
from streams.experiments.promotion_state import Phase
from streams.model.quantities import ALLOCATION_TOTAL
from streams.policies.arms import arms_of
from streams.policies.base import Arm, Policy
from streams.policies.bayesian_ab import BayesianAB
from streams.stats.direction import Direction
from streams.tallies.cell import Tally, VariantTally


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Variants that are compared with one another under one split of the units.

    Attributes:
        variants: Their tallies, in which a unit of a binary metric counts once.
        control: Index of the control among them.
        arms: The variants as the policy sees them, before any mirroring.
        traffic: How the units were split.
        metrics: What is analysed, in order of the names.
    """

    variants: tuple[VariantTally, ...]
    control: int
    arms: tuple[Arm, ...]
    traffic: Traffic
    metrics: Mapping[str, MetricInput]

    @property
    def others(self) -> list[int]:
        """Indices of all variants but the control."""
        return [index for index in range(len(self.variants)) if index != self.control]


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Inputs of an evaluation.

    Attributes:
        experiment: Definition and lifecycle.
        tally: The sum of the newest cells.
        trial: The variants of the definition.
        promoted: The promoted winner and the control, by what was counted since the conclusion;
            None without a promotion.
    """

    experiment: Experiment
    tally: Tally
    trial: Group
    promoted: Group | None

    @property
    def config(self) -> ExperimentConfig:
        """Configuration of the experiment."""
        return self.experiment.definition.config

    @property
    def is_mirrored(self) -> bool:
        """Whether policies, which maximise, see minus the primary metric."""
        return self.config.spec(self.config.primary_metric).direction is Direction.DECREASE

    @property
    def policy(self) -> Policy:
        """The policy, for the arms as it sees them."""
        policy = self.experiment.definition.policy
        return policy.mirrored() if self.is_mirrored else policy

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms as the policy sees them."""
        arms = self.trial.arms
        return tuple(arm.mirrored() for arm in arms) if self.is_mirrored else arms

    @property
    def duration_ms(self) -> int:
        """Time from the start, or from the first event after it, to the newest event."""
        # Events dated before the start do not make an experiment older.
        begun_at_ms = max(self.tally.first_at_ms, self.experiment.started_at_ms or 0)
        return max(self.tally.last_at_ms - begun_at_ms, 0)


def read(experiment: Experiment, tally: Tally) -> Inputs:
    """Read what an evaluation needs.

    Args:
        experiment: Definition and lifecycle.
        tally: Sum of the newest cells. Of indices beyond the variants of the definition, those
            since the conclusion are read for a promoted winner; others are left out.
    """
    return Inputs(experiment, tally, _trial(experiment, tally), _promoted(experiment, tally))


def _trial(experiment: Experiment, tally: Tally) -> Group:
    definition = experiment.definition
    config = definition.config
    variants = _counted(config, tally, range(len(definition.variants)))
    names = {config.primary_metric, *config.secondary_metrics, *config.guardrail_metrics}
    names.update(*(variant.metrics for variant in variants))
    periods = PrimaryPeriods.read(config, variants, tally.last_at_ms)
    metrics = _metrics(config, variants, names, periods)
    arms = metrics[config.primary_metric].arms(definition.weights)
    # The floor without automatic promotion, as that setting may change while units arrive.
    traffic = Traffic.of(config.parameters, arms, variants)
    return Group(variants, definition.control_index, arms, traffic, metrics)


def _promoted(experiment: Experiment, tally: Tally) -> Group | None:
    """Return the promoted winner and the control, as variants of an experiment of their own.

    It began with the conclusion, under weights that do not move, and does not depend on what was
    seen before: units are split afresh (`promoted_draw`). After a roll-back it is what was counted
    until then, and what belongs to that and came late.
    """
    promotion = experiment.promotion
    if promotion is None:
        return None
    definition = experiment.definition
    config = definition.config
    indices = [
        experiment.logged_index(index, Phase.PROMOTED)
        for index in (promotion.variant, definition.control_index)
    ]
    variants = _counted(config, tally, indices)
    share = promotion.control_weight / ALLOCATION_TOTAL
    arms = arms_of(variants, config.primary_metric, (1.0 - share, share))
    traffic = Traffic.of(BayesianAB(min_allocation=0.0), arms, variants)
    metrics = _metrics(config, variants, config.guardrail_metrics, None)
    return Group(variants, 1, arms, traffic, metrics)


def _counted(
    config: ExperimentConfig, tally: Tally, indices: Sequence[int]
) -> tuple[VariantTally, ...]:
    return tuple(read_once(config, [tally.variants.get(i, VariantTally()) for i in indices]))


def _metrics(
    config: ExperimentConfig,
    variants: Sequence[VariantTally],
    names: Collection[str],
    periods: PrimaryPeriods | None,
) -> dict[str, MetricInput]:
    return {
        name: SingleInput.read(
            config, name, variants, periods if name == config.primary_metric else None
        )
        if config.spec(name).components is None
        else RatioInput.read(config, name, variants)
        for name in sorted(names)
    }
