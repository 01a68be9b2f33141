"""The headline of an experiment: what to do, why, and how often that would be wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dashboard.views.facts import ExperimentFacts, closest, worst
from dashboard.views.text import chance_of, count, number, percent, probability
from streams.experiments.statistics.evidence import Guardrail
from streams.experiments.statistics.recommendation import ReasonCode

GO, WAIT, STOP, ALARM, DONE = "go", "wait", "stop", "alarm", "done"
"""Tones: a winner; nothing to do yet; something to stop; faulty data; nothing to do any more."""

ICONS = {GO: "✔", WAIT: "◷", STOP: "✖", ALARM: "!", DONE: "■"}


@dataclass(frozen=True, slots=True)
class Headline:
    """Recommendation about an experiment.

    Attributes:
        verb: What to do, as a sentence.
        because: Its evidence, and its error.
        tone: One of `GO`, `WAIT`, `STOP`, `ALARM` and `DONE`.
    """

    verb: str
    because: str
    tone: str

    @property
    def icon(self) -> str:
        """Sign of the tone, beside its color."""
        return ICONS[self.tone]


def headline(facts: ExperimentFacts) -> Headline:
    """Return the headline of an experiment.

    For a reason that this release does not know, the sentence of the API is shown.
    """
    stats = facts.stats
    if stats.failure is not None:
        return Headline("Statistics are missing.", stats.failure.message, ALARM)
    build = _HEADLINES.get(stats.reason_code)
    if build is None or (facts.evidence is None and stats.reason_code in _NEEDS_EVIDENCE):
        return Headline("Keep it running.", stats.reason, WAIT)
    return build(facts)


def _not_started(facts: ExperimentFacts) -> Headline:
    return Headline("Start it.", f"No {facts.units} have been assigned yet.", WAIT)


def _too_few_units(facts: ExperimentFacts) -> Headline:
    evidence, least = facts.known, facts.min_sample_size
    index = min(facts.active, key=lambda each: evidence.units[each])
    return _keep(
        facts,
        f"{facts.names[index]} has {count(evidence.units[index])} of the {count(least)} "
        f"{facts.units} it needs before it can be judged.",
    )


def _too_few_mature(facts: ExperimentFacts) -> Headline:
    evidence, least = facts.known, max(facts.min_sample_size, 1)
    index = min(facts.active, key=lambda each: evidence.compared_units[each])
    return _keep(
        facts,
        f"{facts.names[index]} has {count(evidence.compared_units[index])} {facts.units} whose "
        f"conversion window is over, of the {count(least)} it needs; others may still convert.",
    )


def _improbable(facts: ExperimentFacts) -> Headline:
    evidence = facts.known
    return _keep(
        facts,
        f"{facts.names[evidence.leader]} is ahead, but with a chance of "
        f"{probability(1.0 - evidence.probability_best)} another variant is better; at most "
        f"{percent(1.0 - facts.winner_threshold)} is allowed.",
    )


def _uncertain(facts: ExperimentFacts) -> Headline:
    evidence = facts.known
    leader, found = facts.names[evidence.leader], closest(evidence.comparisons)
    if found is None or found.lower is None or found.upper is None:
        other = "the others" if found is None else facts.names[found.variant]
        because = f"{leader} looks better than {other}, but it is too early to be certain."
        return _keep(facts, because)
    range_ = facts.scale.interval(found.lower, found.upper)
    return _keep(
        facts,
        f"{leader} looks better, but its lead over {facts.names[found.variant]} may still be "
        f"anywhere from {range_}. Stopping now often picks a wrong winner.",
    )


def _control_leads(facts: ExperimentFacts) -> Headline:
    return _keep(
        facts,
        f"{facts.control_name}, the control, is ahead. Only a variant that is better than it can "
        "win.",
    )


def _tails(facts: ExperimentFacts) -> Headline:
    return _keep(
        facts,
        f"Rare large values of {facts.metric} may not have been seen yet, so its means cannot be "
        "compared. A cap on the metric makes the comparison exact.",
    )


def _eligibility(facts: ExperimentFacts) -> Headline:
    return _keep(
        facts,
        f"Variants are not compared: not every one of the {facts.units} could get all of them, "
        "and which two it could get is not kept for so many variants or metrics.",
    )


def _winner(facts: ExperimentFacts) -> Headline:
    evidence = facts.known
    leader, found = facts.names[evidence.leader], closest(evidence.comparisons)
    lead = ""
    if found is not None and found.lower is not None:
        amount = facts.scale.amount(found.lower)
        lead = f", {facts.names[found.variant]} by at least {amount}"
    beats = "It beats every other variant" if len(facts.active) > 2 else "It is better"  # noqa: PLR2004
    if len(facts.active) == 2 and found is not None:  # noqa: PLR2004 - a control and one variant
        beats = f"It beats {facts.names[found.variant]}"
        lead = lead.replace(f", {facts.names[found.variant]} by", " by")
    return Headline(f"Ship {leader}.", f"{beats}{lead}. {_wrong_winners(evidence.error)}", GO)


def _wrong_winners(error: float) -> str:
    return (
        f"At most {_out_of_100(error)} experiments ever name a wrong winner, however often you "
        "look."
    )


def _out_of_100(error: float) -> str:
    per_hundred = error * 100.0
    whole = round(per_hundred)
    if whole >= 1 and abs(per_hundred - whole) < 0.05:  # noqa: PLR2004
        return f"{whole} of 100"
    per_thousand = max(round(error * 1000.0), 1)
    return f"{per_thousand} of 1,000"


def _no_difference(facts: ExperimentFacts) -> Headline:
    evidence = facts.known
    of = "rate" if facts.scale.is_rate else "mean"
    return Headline(
        "Stop: the variants are equal in practice.",
        f"None differs from {facts.names[evidence.leader]} by more than "
        f"{percent(facts.negligible_share)} of its {of}. Choose by cost.",
        DONE,
    )


def _futile(facts: ExperimentFacts) -> Headline:
    evidence = facts.known
    plan = facts.experiment.config.get("plan") or {}
    power = None if evidence.outlook is None else evidence.outlook.conditional_power
    return Headline(
        "Stop: it would hardly find anything.",
        f"If a variant were better by the planned {percent(plan.get('lift'))}, it would still be "
        f"found with a chance of only {percent(power)}.",
        DONE,
    )


def _guardrail(facts: ExperimentFacts) -> Headline:
    evidence = facts.known
    found = worst(evidence.guardrails)
    if found is None:
        return Headline("Stop the harmful variant.", facts.stats.reason, STOP)
    return Headline(
        f"Stop {facts.names[found.variant]}.", _harm(facts, found, evidence.error), STOP
    )


def _promoted_harmful(facts: ExperimentFacts) -> Headline:
    evidence = facts.evidence
    since = None if evidence is None else evidence.since_conclusion
    found = None if since is None else worst(since.guardrails)
    if evidence is None or found is None:
        return Headline("Roll it back.", facts.stats.reason, STOP)
    harm = _harm(facts, found, evidence.error)
    return Headline(
        f"Roll {facts.names[found.variant]} back.", f"Since it was shipped: {harm}", STOP
    )


def _harm(facts: ExperimentFacts, found: Guardrail, error: float) -> str:
    worse = "worse" if found.harm is None else f"about {percent(found.harm)} worse"
    tolerated = (
        "none was tolerated"
        if found.tolerated_harm == 0
        else f"{percent(found.tolerated_harm)} was tolerated"
    )
    return (
        f"Its {found.metric} is {worse} than that of {facts.control_name}; {tolerated}. False "
        f"alarms: at most {_out_of_100(error)} experiments."
    )


def _mismatch(facts: ExperimentFacts) -> Headline:
    evidence = facts.known
    ratio = evidence.sample_ratio
    known = [(abs(each - 1.0), i, each) for i, each in enumerate(ratio.ratios) if each is not None]
    if not known:
        return _unusable(facts.stats.reason)
    _, index, times = max(known)
    return _unusable(
        f"{facts.names[index]} has {number(times)} times the {facts.units} it should have (by "
        f"chance: {chance_of(ratio.p_value)}). Look for lost or repeated assignments first."
    )


def _contradicted(facts: ExperimentFacts) -> Headline:
    primary = facts.primary
    found = None if primary is None else primary.contradiction
    if found is None:
        return _unusable(facts.stats.reason)
    what = found.described(facts.names[found.variant])
    return _unusable(f"{facts.metric} is {what}. Repair the data first.")


def _memory_full(facts: ExperimentFacts) -> Headline:
    evidence = facts.known
    found = evidence.miscounts
    return _unusable(
        f"{count(found.unremembered_units)} assignments and "
        f"{count(found.unremembered_observations)} observations were not counted, because the "
        "memory for duplicates was full. Give the workers more of it."
    )


def _several_variants(facts: ExperimentFacts) -> Headline:
    evidence = facts.known
    n = evidence.miscounts.units_in_several_variants
    return _unusable(
        f"{facts.n_units(n)} got more than one variant. Look at what assigns them first."
    )


def _unusable(because: str) -> Headline:
    return Headline("Do not use these results.", because, ALARM)


def _keep(facts: ExperimentFacts, because: str) -> Headline:
    if facts.stats.status == "paused":
        because = f"{because} No units are assigned until it is resumed."
        return Headline("It is paused.", because, WAIT)
    return Headline("Keep it running.", because, WAIT)


def _promoted(facts: ExperimentFacts) -> Headline:
    promotion = facts.experiment.promotion
    if promotion is None:
        return Headline("Shipped.", facts.stats.reason, DONE)
    name = facts.name_of(promotion.variant_id)
    by = "automatically" if promotion.is_automatic else "by hand"
    return Headline(
        f"{name} is shipped.",
        f"It was promoted {by}; {facts.control_name} keeps {percent(promotion.control_share)} of "
        f"the {facts.units}, and guardrails are watched, until the experiment is archived.",
        DONE,
    )


def _rolled_back(facts: ExperimentFacts) -> Headline:
    return Headline("Rolled back.", f"All {facts.units} get {facts.control_name} again.", DONE)


def _concluded(facts: ExperimentFacts) -> Headline:
    winner = facts.name_of(facts.experiment.winner_variant_id)
    served = facts.experiment.served
    if facts.stats.status == "archived" or served is None:
        return Headline(f"Concluded with {winner}.", "It assigns nothing any more.", DONE)
    return Headline(
        f"{facts.name_of(served.variant_id)} is shipped.",
        f"All {facts.units} get it until the experiment is archived.",
        DONE,
    )


def _without_winner(facts: ExperimentFacts) -> Headline:
    served = facts.experiment.served
    if served is None:
        return Headline("Concluded without a winner.", "It assigns nothing any more.", DONE)
    return Headline(
        "Concluded without a winner.",
        f"All {facts.units} get {facts.name_of(served.variant_id)} until it is archived.",
        DONE,
    )


def _unstarted(_: ExperimentFacts) -> Headline:
    return Headline("Archived.", "It was never started.", DONE)


_NEEDS_EVIDENCE = frozenset(
    {
        ReasonCode.MIN_SAMPLE_SIZE,
        ReasonCode.TOO_FEW_MATURE,
        ReasonCode.PROBABILITY_BEST,
        ReasonCode.LEAD_UNCERTAIN,
        ReasonCode.WINNER,
        ReasonCode.NO_DIFFERENCE,
        ReasonCode.FUTILE,
        ReasonCode.GUARDRAIL_TRIPPED,
        ReasonCode.SAMPLE_RATIO_MISMATCH,
        ReasonCode.DEDUPLICATION_FULL,
        ReasonCode.UNITS_IN_SEVERAL_VARIANTS,
    }
)

_HEADLINES: dict[str, Callable[[ExperimentFacts], Headline]] = {
    ReasonCode.NOT_STARTED: _not_started,
    ReasonCode.MIN_SAMPLE_SIZE: _too_few_units,
    ReasonCode.TOO_FEW_MATURE: _too_few_mature,
    ReasonCode.PROBABILITY_BEST: _improbable,
    ReasonCode.LEAD_UNCERTAIN: _uncertain,
    ReasonCode.CONTROL_LEADS: _control_leads,
    ReasonCode.TAILS_UNSEEN: _tails,
    ReasonCode.ELIGIBILITY_UNKNOWN: _eligibility,
    ReasonCode.WINNER: _winner,
    ReasonCode.NO_DIFFERENCE: _no_difference,
    ReasonCode.FUTILE: _futile,
    ReasonCode.GUARDRAIL_TRIPPED: _guardrail,
    ReasonCode.PROMOTED_HARMFUL: _promoted_harmful,
    ReasonCode.SAMPLE_RATIO_MISMATCH: _mismatch,
    ReasonCode.KIND_CONTRADICTED: _contradicted,
    ReasonCode.DEDUPLICATION_FULL: _memory_full,
    ReasonCode.UNITS_IN_SEVERAL_VARIANTS: _several_variants,
    ReasonCode.PROMOTED: _promoted,
    ReasonCode.ROLLED_BACK: _rolled_back,
    ReasonCode.CONCLUDED: _concluded,
    ReasonCode.CONCLUDED_WITHOUT_WINNER: _without_winner,
    ReasonCode.ARCHIVED_UNSTARTED: _unstarted,
}
