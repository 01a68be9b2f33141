"""Sentences for the reasons of recommendations: rendered from code and evidence, never stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from streams.analysis.decision import smallest_lead, threshold_of, worst_harm
from streams.experiments.promotion_state import Promotion
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.evidence import Evidence, Guardrail
from streams.experiments.statistics.metric_model import MetricModel
from streams.experiments.statistics.recommendation import ReasonCode
from streams.model.decimals import stated, stated_bound, stated_least, stated_probability
from streams.model.errors import counted
from streams.model.quantities import ALLOCATION_TOTAL
from streams.stats.direction import Direction
from streams.stats.families.registry import FAMILIES

T = TypeVar("T")


def reason(snapshot: Snapshot) -> str:
    """Return one sentence for the reason code of a snapshot, with the numbers of its evidence."""
    return _SENTENCES[snapshot.reason_code](_Facts(snapshot))


class _Facts:
    """The values that sentences name."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.experiment = snapshot.experiment
        self.config = self.experiment.definition.config
        self.names = [variant.name for variant in self.experiment.definition.variants]
        self.control = self.names[self.experiment.definition.control_index]
        self.metric = self.config.primary_metric

    @property
    def evidence(self) -> Evidence:
        return _given(self._snapshot.evidence)

    @property
    def leader(self) -> str:
        return self.names[self.evidence.leader]

    @property
    def primary(self) -> MetricModel:
        return self._snapshot.metrics[self.metric]

    @property
    def measure(self) -> str:
        return FAMILIES[self.primary.kind].measure(self.metric)

    @property
    def promotion(self) -> Promotion:
        return _given(self.experiment.promotion)

    @property
    def promoted(self) -> str:
        return self.names[self.promotion.variant]

    @property
    def chosen(self) -> str:
        return self.names[_given(self.experiment.winner)]

    @property
    def failure(self) -> str:
        return _given(self._snapshot.failure).message


def _given(value: T | None) -> T:
    if value is None:
        raise ValueError("the snapshot lacks what its reason code implies")
    return value


def _mismatch(facts: _Facts) -> str:
    ratio = facts.evidence.sample_ratio
    known = [
        (abs(each - 1.0), index, each)
        for index, each in enumerate(ratio.ratios)
        if each is not None
    ]
    _, index, units = max(known)
    return (
        f"Sample ratio mismatch: observed counts deviate from the configured split; "
        f"{facts.names[index]} has {stated(units, 3)} times the expected number of units, which "
        f"happens by chance in less than one of {1.0 / max(ratio.p_value, 1e-12):,.0f} "
        f"experiments. Look for lost or repeated impressions; until then nothing is concluded."
    )


def _memory_full(facts: _Facts) -> str:
    found = facts.evidence.miscounts
    return (
        f"Not counted: {counted(found.unremembered_units, 'assignment')} and "
        f"{counted(found.unremembered_observations, 'observation')}, because the deduplication "
        f"memory was full: give the workers more of it; until then nothing is concluded."
    )


def _several_variants(facts: _Facts) -> str:
    return (
        f"More than one variant was assigned to "
        f"{counted(facts.evidence.miscounts.units_in_several_variants, 'unit')}: check what "
        f"assigns them; until then nothing is concluded."
    )


def _contradicted(facts: _Facts) -> str:
    found = _given(facts.primary.contradiction)
    what = found.described(facts.names[found.variant])
    return f"{facts.metric} is {what}: check what sends it; until then nothing is concluded."


def _harm(facts: _Facts, worst: Guardrail | None) -> str:
    found = _given(worst)
    harm = "" if found.harm is None else f" by {stated(found.harm, 2)} of its mean"
    return (
        f"{facts.names[found.variant]} makes {found.metric} worse than {facts.control}{harm}; "
        f"{stated(found.tolerated_harm, 2)} is tolerated, and the risk of a false alarm stays "
        f"below {stated_bound(facts.evidence.error, 3)} however often you look."
    )


def _too_few_units(facts: _Facts) -> str:
    least = facts.config.min_sample_size
    index, units = next(
        (index, units) for index, units in enumerate(facts.evidence.units) if units < least
    )
    return f"{facts.names[index]} has {units:,} of the {counted(least, 'unit')} it needs."


def _too_few_mature(facts: _Facts) -> str:
    least = max(facts.config.min_sample_size, 1)
    index, units = next(
        (index, units) for index, units in enumerate(facts.evidence.compared_units) if units < least
    )
    window_s = _given(facts.evidence.maturity).window
    return (
        f"{facts.names[index]} has {counted(units, 'unit')} whose conversion window of "
        f"{window_s:,} s is over, of the {least:,} it needs; others may still have a value of "
        f"{facts.metric}."
    )


def _tails_unseen(facts: _Facts) -> str:
    found = facts.evidence
    lacking = [
        (needed / max(units, 1), index)
        for index, (units, needed) in enumerate(
            zip(found.compared_units, found.units_needed, strict=True)
        )
    ]
    share, index = max(lacking)
    if share <= 1.0:
        what = "the variants differ too much in how skew their values are"
    else:
        what = (
            f"{facts.names[index]} has {counted(found.compared_units[index], 'unit')}, and values "
            f"as skew as its own need {found.units_needed[index]:,}"
        )
    return (
        f"Means of {facts.metric} cannot be compared yet, as rare large values may be missing: "
        f"{what}. A cap makes the comparison exact."
    )


def _winner(facts: _Facts) -> str:
    found = facts.evidence
    lead, closest = smallest_lead(found.comparisons)
    is_less = facts.primary.direction is Direction.DECREASE
    return (
        f"{facts.leader} beats every other variant: it is {'below' if is_less else 'ahead of'} "
        f"{facts.names[closest]} by at least {stated_least(lead, 3)} {facts.measure}, and the risk "
        f"of a wrong winner stays below {stated_bound(found.error, 3)} however often you look; the "
        f"expected loss of choosing it is {stated(found.expected_loss, 2)}."
    )


def _uncertain(facts: _Facts) -> str:
    _, closest = smallest_lead(facts.evidence.comparisons)
    return (
        f"{facts.leader} leads, but it is not yet safe to say that it beats "
        f"{facts.names[closest]}: a result that may be looked at every moment needs more evidence "
        f"than one looked at once."
    )


def _futile(facts: _Facts) -> str:
    plan, outlook = _given(facts.config.plan), _given(facts.evidence.outlook)
    return (
        f"If a variant were better by the planned {stated(plan.lift * 100.0, 3)} %, it would now "
        f"be found with a probability of {stated_probability(_given(outlook.conditional_power))}: "
        f"going on is futile."
    )


def _no_difference(facts: _Facts) -> str:
    return (
        f"No variant differs from {facts.leader} by more than "
        f"{stated(facts.config.negligible_share * 100.0, 3)} % of its {facts.measure}."
    )


def _promoted(facts: _Facts) -> str:
    share = facts.promotion.control_weight / ALLOCATION_TOTAL
    return (
        f"{facts.promoted} was promoted; {facts.control} keeps {stated(share, 2)} of the units "
        f"until the experiment is archived."
    )


def _promoted_harmful(facts: _Facts) -> str:
    harm = _harm(facts, worst_harm(_given(facts.evidence.since_conclusion).guardrails))
    return f"Since it was promoted, {harm} Roll it back."


_SENTENCES: Mapping[ReasonCode, Callable[[_Facts], str]] = {
    ReasonCode.NOT_STARTED: lambda _: "The experiment has not been started.",
    ReasonCode.SAMPLE_RATIO_MISMATCH: _mismatch,
    ReasonCode.DEDUPLICATION_FULL: _memory_full,
    ReasonCode.UNITS_IN_SEVERAL_VARIANTS: _several_variants,
    ReasonCode.KIND_CONTRADICTED: _contradicted,
    ReasonCode.GUARDRAIL_TRIPPED: lambda facts: _harm(facts, worst_harm(facts.evidence.guardrails)),
    ReasonCode.MIN_SAMPLE_SIZE: _too_few_units,
    ReasonCode.TOO_FEW_MATURE: _too_few_mature,
    ReasonCode.TAILS_UNSEEN: _tails_unseen,
    ReasonCode.WINNER: _winner,
    ReasonCode.NO_DIFFERENCE: _no_difference,
    ReasonCode.FUTILE: _futile,
    ReasonCode.PROBABILITY_BEST: lambda facts: (
        f"{facts.leader} leads and is the best with probability "
        f"{stated_probability(facts.evidence.probability_best)}; a winner needs "
        f"{stated(threshold_of(facts.config) * 100.0, 6)}%."
    ),
    ReasonCode.ELIGIBILITY_UNKNOWN: lambda _: (
        "Variants are not compared: not every unit could be assigned to all of them (eligible sets "
        "or a weight of 0), and for so many variants or metrics it is not kept which two it could "
        "be assigned to."
    ),
    ReasonCode.LEAD_UNCERTAIN: _uncertain,
    ReasonCode.CONTROL_LEADS: lambda facts: (
        f"{facts.control}, the control, leads; only a variant that is better than it can win."
    ),
    ReasonCode.ARCHIVED_UNSTARTED: lambda _: (
        "The experiment was archived without having been started."
    ),
    ReasonCode.CONCLUDED: lambda facts: f"The experiment was concluded with {facts.chosen}.",
    ReasonCode.CONCLUDED_WITHOUT_WINNER: lambda _: "The experiment was concluded without a winner.",
    ReasonCode.PROMOTED: _promoted,
    ReasonCode.PROMOTED_HARMFUL: _promoted_harmful,
    ReasonCode.ROLLED_BACK: lambda facts: (
        f"{facts.promoted} was promoted and rolled back: {facts.control} is shown again."
    ),
    ReasonCode.EVALUATION_FAILED: lambda facts: facts.failure,
    ReasonCode.SNAPSHOT_TOO_LARGE: lambda facts: facts.failure,
}
