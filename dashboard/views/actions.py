"""Commands that are offered for an experiment, each with its effect."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.views.facts import ExperimentFacts
from dashboard.views.text import listed, percent

FEWEST_ACTIVE = 2
"""Variants that must stay active: of so many none is stopped, and the experiment is concluded."""


@dataclass(frozen=True, slots=True)
class Action:
    """A command.

    Attributes:
        name: Its place in the address.
        label: Its button.
        effect: What it does to users.
        statistics: What it does to the statistics.
        undo: How to undo it.
        is_main: Whether it is what the recommendation asks for.
        is_danger: Whether it takes something away from users.
    """

    name: str
    label: str
    effect: str
    statistics: str
    undo: str
    is_main: bool = False
    is_danger: bool = False


def actions(facts: ExperimentFacts) -> list[Action]:
    """Return the commands that an experiment takes now, the recommended one first."""
    match facts.stats.status:
        case "draft":
            found = [_start(facts), _archive(is_draft=True)]
        case "running":
            found = [*_until_the_conclusion(facts), _pause()]
        case "paused":
            found = [*_until_the_conclusion(facts), _resume(facts)]
        case "concluded":
            found = [_archive(is_draft=False)]
            if _is_shipped(facts):
                found.insert(0, _rollback(facts))
        case _:
            found = []
    return sorted(found, key=lambda each: not each.is_main)


def _until_the_conclusion(facts: ExperimentFacts) -> list[Action]:
    """Return the commands of an experiment that has been started and not concluded."""
    may_stop = len(facts.active) > FEWEST_ACTIVE
    found = [_ship(facts), _conclude(facts, may_stop=may_stop), _ramp(facts)]
    if may_stop:
        found.append(_stop_variant(facts))
    if len(facts.active) < len(facts.names):
        found.append(_reactivate_variant(facts))
    return found


def _start(facts: ExperimentFacts) -> Action:
    return Action(
        "start",
        "Start",
        f"{_traffic(facts)} of the {facts.units} get one of {listed(facts.names)}; "
        f"all others get {facts.control_name}.",
        "Counting begins. Metrics, priors and the plan cannot be changed any more.",
        "Pause it, or conclude it without a winner.",
        is_main=True,
    )


def _ship(facts: ExperimentFacts) -> Action:
    units, control = facts.units, facts.control_name
    return Action(
        "ship",
        "Ship a winner",
        f"All {units} get the variant that you choose, unless you keep a share of "
        f"them with {control}.",
        "The experiment ends, and its report is kept. With a control share, "
        "guardrails are watched further.",
        f"Roll it back: all {units} get {control} again. It cannot be started again.",
        is_main=facts.stats.recommended_action == "conclude_winner",
    )


def _conclude(facts: ExperimentFacts, *, may_stop: bool) -> Action:
    wanted = facts.stats.recommended_action
    return Action(
        "conclude",
        "Conclude without a winner",
        f"All {facts.units} get {facts.control_name}, unless you say otherwise.",
        "The experiment ends, and its report is kept.",
        "None: create another experiment.",
        is_main=wanted == "conclude_no_difference" or (wanted == "stop_guardrail" and not may_stop),
        is_danger=True,
    )


def _ramp(facts: ExperimentFacts) -> Action:
    return Action(
        "ramp",
        "Change traffic",
        f"Now {_traffic(facts)} of the {facts.units} take part. Those who take part stay in, "
        "whether you raise or lower it.",
        "None: shares of variants stay as they are.",
        "Set the former share again.",
    )


def _stop_variant(facts: ExperimentFacts) -> Action:
    return Action(
        "stop-variant",
        "Stop a variant",
        f"The variant is no longer assigned; {facts.units} who had it see another one.",
        "It is compared with the control by the time in which both ran, and cannot win.",
        "Reactivate it.",
        is_main=facts.stats.recommended_action == "stop_guardrail",
        is_danger=True,
    )


def _reactivate_variant(facts: ExperimentFacts) -> Action:
    return Action(
        "reactivate-variant",
        "Reactivate a variant",
        f"New {facts.units} get the variant again.",
        "It is compared by the units that come from now on and those from before.",
        "Stop it again.",
    )


def _pause() -> Action:
    return Action(
        "pause",
        "Pause",
        "No units are assigned: callers get no variant, and show their default.",
        "Observations of earlier assignments still count.",
        "Resume it.",
        is_danger=True,
    )


def _resume(facts: ExperimentFacts) -> Action:
    return Action(
        "resume",
        "Resume",
        f"{_traffic(facts)} of the {facts.units} are assigned again.",
        "Counting goes on where it stopped.",
        "Pause it again.",
        is_main=True,
    )


def _rollback(facts: ExperimentFacts) -> Action:
    return Action(
        "rollback",
        "Roll back",
        f"All {facts.units} get {facts.control_name} at once.",
        "The report of the conclusion stays.",
        "None: create another experiment to ship the variant again.",
        is_main=facts.stats.recommended_action == "stop_guardrail",
        is_danger=True,
    )


def _archive(*, is_draft: bool) -> Action:
    return Action(
        "archive",
        "Archive",
        (
            "Nothing: it was never started."
            if is_draft
            else "It serves no variant any more: callers show what they show by default."
        ),
        "Its report stays readable; late observations are refused after a while.",
        "None.",
        is_danger=not is_draft,
    )


def _traffic(facts: ExperimentFacts) -> str:
    return percent(float(facts.experiment.config.get("trafficAllocation", 1.0)))


def _is_shipped(facts: ExperimentFacts) -> bool:
    experiment = facts.experiment
    if experiment.promotion is not None:
        return experiment.promotion.rolled_back_at is None
    served = experiment.served
    return served is not None and served.variant_id != facts.stats.variants[facts.control].id


def action_named(facts: ExperimentFacts, name: str) -> Action | None:
    """Return a command that the experiment takes now, by its name."""
    return next((each for each in actions(facts) if each.name == name), None)
