"""What to do with an experiment: a rule over the evidence that may be asked at every moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from streams.analysis.contrasts import MIN_UNITS_WITH_VALUE
from streams.analysis.evidence import NEGLIGIBLE_DIFFERENCE
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import (
    Evidence,
    GuardrailFinding,
    MetricModel,
    RecommendedAction,
)
from streams.model.quantities import ALLOCATION_TOTAL
from streams.policies.bayesian_ab import BayesianAB
from streams.stats.direction import Direction
from streams.stats.kinds import MetricKind


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why; the fields are those of `Snapshot`."""

    winner: int | None
    recommended_action: RecommendedAction
    reason: str


def decide(experiment: Experiment, primary: MetricModel, evidence: Evidence) -> Verdict:
    """Return what to do with an experiment.

    While it is running or paused, the first of these that holds:

    1. `investigate`: units do not arrive as they were shared out, some could not be remembered or
       are in several variants, or values of the primary metric are not of the declared kind.
       Nothing is concluded from such data.
    2. `stop_guardrail`: a variant harms a guardrail metric by more than is tolerated, by
       always-valid p-values that hold for all guardrails and variants together.
    3. `conclude_winner`: every variant has `min_sample_size` units; the leader's P(best) reaches
       `significance_threshold` (and under `bayesian_ab` the `early_stopping_threshold`); and the
       confidence sequence of its lead over each other variant lies above 0.
    4. `conclude_no_difference`: all those sequences lie within `NEGLIGIBLE_DIFFERENCE` of the
       leader's mean.
    5. `continue`.

    The sequences bound the probability that the rule *ever* names a variant that is not strictly
    better than all others by 1 - significance_threshold (`pairwise_error`), in spite of any number
    of looks and of an allocation that moves. P(best) alone, looked at again and again, would err
    far more often.

    Once it is concluded there is nothing to be decided, but whether a promoted winner may stay:
    `stop_guardrail` when it harms a guardrail metric by what came since, with an error of its own
    of 1 - significance_threshold.

    Args:
        experiment: The experiment.
        primary: How its primary metric was read.
        evidence: What was found.
    """
    match experiment.status:
        case Status.DRAFT:
            return _go_on("The experiment has not been started.")
        case Status.CONCLUDED | Status.ARCHIVED:
            return _after(experiment, evidence)
        case Status.RUNNING | Status.PAUSED:
            rule = _Rule(experiment, primary, evidence)
            return rule.alarm() or rule.obstacle() or rule.comparison()
        case _:
            assert_never(experiment.status)


class _Rule:
    """The rule for an experiment that has begun and not ended."""

    def __init__(self, experiment: Experiment, primary: MetricModel, evidence: Evidence) -> None:
        self._config = experiment.definition.config
        self._control = experiment.definition.control_index
        self._names = [variant.name for variant in experiment.definition.variants]
        self._primary = primary
        self._evidence = evidence

    def alarm(self) -> Verdict | None:
        """Return what must be done whatever the primary metric says; None if nothing must."""
        ratio = self._evidence.sample_ratio
        if ratio.is_mismatch:
            return Verdict(None, RecommendedAction.INVESTIGATE, self._mismatch())
        miscounted = self._miscounted()
        if miscounted is not None:
            return Verdict(None, RecommendedAction.INVESTIGATE, miscounted)
        contradiction = self._primary.contradiction
        if contradiction is not None:
            name, variant = self._primary.name, self._names[contradiction.variant]
            what = (
                f"{name} is a ratio, but its denominator is not above 0 in {variant}"
                if self._primary.kind is MetricKind.RATIO
                else f"{name} was declared {self._config.spec(name).kind}, but {variant} has a "
                f"value that is none"
            )
            reason = f"{what}: find out who sends it; until then nothing is concluded."
            return Verdict(None, RecommendedAction.INVESTIGATE, reason)
        worst = _worst(self._evidence.guardrails)
        if worst is None:
            return None
        reason = _harmed(worst, self._names, self._control, self._evidence.error)
        return Verdict(None, RecommendedAction.STOP_GUARDRAIL, reason)

    def obstacle(self) -> Verdict | None:
        """Return what stands in the way of any conclusion, cheapest first; None if nothing does."""
        least = self._config.min_sample_size
        for name, units in zip(self._names, self._evidence.units, strict=True):
            if units < least:
                return _go_on(f"{name} has {units:,} of the {least:,} units it needs.")
        if self._primary.kind is MetricKind.BINARY:
            return None
        for name, units in zip(self._names, self._evidence.units_with_value, strict=True):
            if units < MIN_UNITS_WITH_VALUE:
                return _go_on(
                    f"{name} has a value of {self._primary.name} from {units} units; "
                    f"{MIN_UNITS_WITH_VALUE} are needed to compare means."
                )
        return None

    def comparison(self) -> Verdict:
        """Return what follows from the leader's lead."""
        found = self._evidence
        leader, metric = self._names[found.leader], self._measure()
        lead, closest = min(
            (-float("inf") if each.lower is None else each.lower, each.variant)
            for each in found.comparisons
        )
        other, threshold = self._names[closest], self._threshold()
        is_likely = found.probability_best >= threshold
        if is_likely and lead > 0.0:
            is_less = self._primary.direction is Direction.DECREASE
            return Verdict(
                found.leader,
                RecommendedAction.CONCLUDE_WINNER,
                f"{leader} beats every other variant: it is {'below' if is_less else 'ahead of'} "
                f"{other} by at least {lead:.3g} {metric}, and the risk of a wrong winner "
                f"stays below {found.error:.3g} however often you look; the expected loss of "
                f"choosing it is {found.expected_loss:.2g}.",
            )
        if all(
            each.lower is not None
            and each.upper is not None
            and -found.negligible < each.lower
            and each.upper < found.negligible
            for each in found.comparisons
        ):
            return Verdict(
                None,
                RecommendedAction.CONCLUDE_NO_DIFFERENCE,
                f"No variant differs from {leader} by more than {NEGLIGIBLE_DIFFERENCE:.0%} of its "
                f"{metric}.",
            )
        if not is_likely:
            return _go_on(
                f"{leader} leads and is the best with probability {found.probability_best:.1%}; a "
                f"winner needs {threshold:.1%}."
            )
        return _go_on(
            f"{leader} leads, but it is not yet safe to say that it beats {other}: a result that "
            f"may be looked at every moment needs more evidence than one looked at once."
        )

    def _measure(self) -> str:
        is_ratio = self._primary.kind is MetricKind.RATIO
        return self._primary.name if is_ratio else f"{self._primary.name} per unit"

    def _threshold(self) -> float:
        policy = self._config.parameters
        if isinstance(policy, BayesianAB):
            return max(self._config.significance_threshold, policy.early_stopping_threshold)
        return self._config.significance_threshold

    def _miscounted(self) -> str | None:
        """Return what is wrong with the counts, if it is too much to conclude anything."""
        found = self._evidence.miscounts
        if found.is_memory_full:
            return (
                f"{found.unremembered_units:,} assignments and {found.unremembered_observations:,} "
                f"observations were not counted, because the memory that tells them from repeated "
                f"ones was full: give the workers more of it; until then nothing is concluded."
            )
        if found.is_crossed:
            return (
                f"{found.crossed_units:,} units were assigned to more than one variant: find out "
                f"who assigns them; until then nothing is concluded."
            )
        return None

    def _mismatch(self) -> str:
        ratio = self._evidence.sample_ratio
        known = [
            (abs(each - 1.0), index, each)
            for index, each in enumerate(ratio.ratios)
            if each is not None
        ]
        _, index, units = max(known)
        return (
            f"Units do not arrive as they were shared out: {self._names[index]} has {units:.3g} "
            f"times those it should have, which happens by chance in less than one of "
            f"{1.0 / max(ratio.p_value, 1e-12):,.0f} experiments. Look for lost or repeated "
            f"impressions; until then nothing is concluded."
        )


def _worst(found: Sequence[GuardrailFinding]) -> GuardrailFinding | None:
    """Return what is most certainly harmed; None if nothing is."""
    tripped = [each for each in found if each.is_tripped]
    return min(tripped, key=lambda each: (each.p_value, each.variant, each.metric), default=None)


def _harmed(worst: GuardrailFinding, names: Sequence[str], control: int, error: float) -> str:
    harm = "" if worst.harm is None else f" by {worst.harm:.2g} of its mean"
    return (
        f"{names[worst.variant]} makes {worst.metric} worse than {names[control]}{harm}; "
        f"{worst.tolerated_harm:.2g} is tolerated, and the risk of a false alarm stays below "
        f"{error:.3g} however often you look."
    )


def _after(experiment: Experiment, evidence: Evidence) -> Verdict:
    """Return what to do with an experiment that has ended."""
    definition, promotion = experiment.definition, experiment.promotion
    names = [variant.name for variant in definition.variants]
    found = evidence.since_conclusion
    is_promoted = promotion is not None and not promotion.is_rolled_back
    worst = None if found is None or not is_promoted else _worst(found.guardrails)
    if worst is None or experiment.status is Status.ARCHIVED:
        return Verdict(experiment.winner, RecommendedAction.CONTINUE, _ending(experiment, names))
    harm = _harmed(worst, names, definition.control_index, evidence.error)
    reason = f"Since it was promoted, {harm} Roll it back."
    return Verdict(experiment.winner, RecommendedAction.STOP_GUARDRAIL, reason)


def _ending(experiment: Experiment, names: Sequence[str]) -> str:
    promotion = experiment.promotion
    if experiment.concluded_at_ms is None:
        return "The experiment was archived without having been started."
    if experiment.winner is None:
        return "The experiment was concluded without a winner."
    if promotion is None:
        return f"The experiment was concluded with {names[experiment.winner]}."
    control = names[experiment.definition.control_index]
    if promotion.is_rolled_back:
        return f"{names[promotion.variant]} was promoted and rolled back: {control} is shown again."
    share = promotion.control_weight / ALLOCATION_TOTAL
    return (
        f"{names[promotion.variant]} was promoted; {control} keeps {share:.2g} of the units until "
        f"the experiment is archived."
    )


def _go_on(reason: str) -> Verdict:
    return Verdict(None, RecommendedAction.CONTINUE, reason)
