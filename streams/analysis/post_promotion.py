"""Does a promoted winner do harm? What came since the conclusion says so, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

from streams.analysis.binary_once import read_once
from streams.analysis.contrasts import Traffic
from streams.analysis.guardrails import find_harm
from streams.analysis.metric_analysis import model_metric
from streams.experiments.lifecycle import Experiment
from streams.experiments.promotion_state import Phase
from streams.experiments.snapshot import SinceConclusion
from streams.model.quantities import ALLOCATION_TOTAL
from streams.policies.arms import arms_of
from streams.policies.bayesian_ab import BayesianAB
from streams.tallies.cell import Tally, VariantTally

_PROMOTED, _CONTROL = 0, 1


def since_conclusion(experiment: Experiment, tally: Tally) -> SinceConclusion | None:
    """Return how a promoted winner does beside the control share; None where there is none.

    The two are compared as in an experiment of their own, which began with the conclusion under
    weights that do not move. Its p-values hold at every look, together for all guardrails, and do
    not depend on what was seen before: units are shared out afresh (`promoted_draw`). After a
    roll-back it is what was found until then, and what belongs to that and came late.

    Args:
        experiment: Definition and lifecycle.
        tally: What was counted, of all phases.
    """
    promotion = experiment.promotion
    if promotion is None:
        return None
    definition = experiment.definition
    config = definition.config
    variants = read_once(
        config,
        [
            tally.variants.get(experiment.logged_index(index, Phase.PROMOTED), VariantTally())
            for index in (promotion.variant, definition.control_index)
        ],
    )
    share = promotion.control_weight / ALLOCATION_TOTAL
    arms = arms_of(variants, config.primary_metric, (1.0 - share, share))
    traffic = Traffic.of(BayesianAB(min_allocation=0.0), arms, variants)
    found = find_harm(
        config,
        [model_metric(config, traffic, variants, name) for name in config.guardrail_metrics],
        _CONTROL,
        [_PROMOTED],
        1.0 - config.significance_threshold,
    )
    return SinceConclusion(
        variant=promotion.variant,
        units=round(arms[_PROMOTED].units),
        control_units=round(arms[_CONTROL].units),
        guardrails=tuple(replace(each, variant=promotion.variant) for each in found),
    )
