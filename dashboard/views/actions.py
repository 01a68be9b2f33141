"""Commands that are offered for an experiment, each with its effect."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.views.facts import Facts
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


def actions(facts: Facts) -> list[Action]:
    """Return the commands that an experiment takes now, the recommended one first."""
    status, names = facts.stats.status, facts.names
    units, control = facts.units, facts.control_name
    traffic = percent(float(facts.experiment.config.get("trafficAllocation", 1.0)))
    wanted = facts.stats.recommended_action
    may_stop = len(facts.active) > FEWEST_ACTIVE
    found: list[Action] = []
    if status == "draft":
        found.append(
            Action(
                "start",
                "Start",
                f"{traffic} of the {units} get one of {listed(names)}; all others get {control}.",
                "Counting begins. Metrics, priors and the plan cannot be changed any more.",
                "Pause it, or conclude it without a winner.",
                is_main=True,
            )
        )
    if status in {"running", "paused"}:
        found.extend(
            (
                Action(
                    "ship",
                    "Ship a winner",
                    f"All {units} get the variant that you choose, unless you keep a share of "
                    f"them with {control}.",
                    "The experiment ends, and its report is kept. With a control share, "
                    "guardrails are watched further.",
                    f"Roll it back: all {units} get {control} again. It cannot be started again.",
                    is_main=wanted == "conclude_winner",
                ),
                Action(
                    "conclude",
                    "Conclude without a winner",
                    f"All {units} get {control}, unless you say otherwise.",
                    "The experiment ends, and its report is kept.",
                    "None: create another experiment.",
                    is_main=wanted == "conclude_no_difference"
                    or (wanted == "stop_guardrail" and not may_stop),
                    is_danger=True,
                ),
                Action(
                    "ramp",
                    "Change traffic",
                    f"Now {traffic} of the {units} take part. Those who take part stay in, "
                    "whether you raise or lower it.",
                    "None: shares of variants stay as they are.",
                    "Set the former share again.",
                ),
            )
        )
        if may_stop:
            found.append(
                Action(
                    "stop-variant",
                    "Stop a variant",
                    f"The variant is no longer assigned; {units} who had it see another one.",
                    "It is compared with the control by the time in which both ran, and cannot "
                    "win.",
                    "Reactivate it.",
                    is_main=wanted == "stop_guardrail",
                    is_danger=True,
                )
            )
        if len(facts.active) < len(names):
            found.append(
                Action(
                    "reactivate-variant",
                    "Reactivate a variant",
                    f"New {units} get the variant again.",
                    "It is compared by the units that come from now on and those from before.",
                    "Stop it again.",
                )
            )
    if status == "running":
        found.append(
            Action(
                "pause",
                "Pause",
                "No units are assigned: callers get no variant, and show their default.",
                "Observations of earlier assignments still count.",
                "Resume it.",
                is_danger=True,
            )
        )
    if status == "paused":
        found.append(
            Action(
                "resume",
                "Resume",
                f"{traffic} of the {units} are assigned again.",
                "Counting goes on where it stopped.",
                "Pause it again.",
                is_main=True,
            )
        )
    if status == "concluded" and _is_shipped(facts):
        found.append(
            Action(
                "rollback",
                "Roll back",
                f"All {units} get {control} at once.",
                "The report of the conclusion stays.",
                "None: create another experiment to ship the variant again.",
                is_main=wanted == "stop_guardrail",
                is_danger=True,
            )
        )
    if status in {"draft", "concluded"}:
        found.append(
            Action(
                "archive",
                "Archive",
                (
                    "Nothing: it was never started."
                    if status == "draft"
                    else "It serves no variant any more: callers show what they show by default."
                ),
                "Its report stays readable; late observations are refused after a while.",
                "None.",
                is_danger=status == "concluded",
            )
        )
    return sorted(found, key=lambda each: not each.is_main)


def _is_shipped(facts: Facts) -> bool:
    experiment = facts.experiment
    if experiment.promotion is not None:
        return experiment.promotion.rolled_back_at is None
    served = experiment.served
    return served is not None and served.variant_id != facts.stats.variants[facts.control].id


def action_named(facts: Facts, name: str) -> Action | None:
    """Return a command that the experiment takes now, by its name."""
    return next((each for each in actions(facts) if each.name == name), None)
