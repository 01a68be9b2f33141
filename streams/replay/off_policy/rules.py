"""The policy that is asked about, as a function of what is known: shares in a context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from streams.analysis.evaluate import evaluate
from streams.experiments.contextual import scorer_of
from streams.experiments.lifecycle import Experiment
from streams.model.errors import InputError, InvalidParameterError
from streams.model.quantities import ALLOCATION_TOTAL
from streams.model.vectors import Vector
from streams.policies.contextual.base import ContextualPolicy
from streams.tallies.cell import Tally

WEIGHT_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """Behaviour of a policy between two updates.

    Attributes:
        shares: Shares of the variants in a context; they sum to 1.
        predict: Mean value of each variant in a context, by the policy's model; None if it has
            none, and then its shares are the same in every context.
    """

    shares: Callable[[Vector], Sequence[float]]
    predict: Callable[[Vector], Sequence[float]] | None = None


Weigh = Callable[[Tally], PolicyRule]
"""Gives the rule for a tally."""


def fixed(weights: Sequence[float]) -> Weigh:
    """Return the policy that always gives these shares.

    Args:
        weights: >= 0, sum to 1.

    Raises:
        InvalidParameterError: they are not.
    """
    total = sum(weights)
    if not weights or min(weights) < 0.0 or not abs(total - 1.0) <= WEIGHT_TOLERANCE:
        raise InvalidParameterError("weights", tuple(weights), ">= 0 and sum to 1")
    shares = tuple(weight / total for weight in weights)
    return lambda _: PolicyRule(lambda _: shares)


def policy_of(experiment: Experiment, logged: Experiment | None = None) -> Weigh:
    """Return the policy of an experiment, as its worker runs it.

    Args:
        experiment: With the policy.
        logged: The one whose log it is to be replayed over; None for the same.

    Raises:
        InputError: it decides by features, and those in the log are others or none
            (`FEATURES_DIFFER`).
    """
    # Of the units of the log, each could have the variants of its time.
    experiment = replace(experiment, definition=experiment.definition.reactivated, roster=None)
    policy = experiment.definition.config.parameters
    if isinstance(policy, ContextualPolicy):
        known = (logged or experiment).definition.config.parameters
        if not isinstance(known, ContextualPolicy) or known.features != policy.features:
            message = f"{policy.type} decides by features that the log of the experiment lacks: "
            message += "it has those that were declared when units were assigned"
            raise InputError("FEATURES_DIFFER", message, "parameters.features")
        return lambda tally: _contextual(experiment, policy, tally)
    if not policy.adaptive:
        return fixed(_shares(experiment, Tally()))

    def weigh(tally: Tally) -> PolicyRule:
        shares = _shares(experiment, tally)
        return PolicyRule(lambda _: shares)

    return weigh


def _contextual(experiment: Experiment, policy: ContextualPolicy, tally: Tally) -> PolicyRule:
    model = evaluate(experiment, tally, ()).model
    assert model is not None  # noqa: S101 - a contextual policy publishes one
    scorer = scorer_of(policy, model)
    config = experiment.definition.config
    sign = config.spec(config.primary_metric).direction.sign

    def predict(vector: Vector) -> list[float]:
        means: list[float] = (sign * scorer.means(vector)).tolist()
        return means

    def shares(vector: Vector) -> list[float]:
        return [weight / ALLOCATION_TOTAL for weight in scorer.weights(vector)]

    return PolicyRule(shares, predict)


def _shares(experiment: Experiment, tally: Tally) -> tuple[float, ...]:
    weights = evaluate(experiment, tally, ()).allocation.weights
    return tuple(weight / ALLOCATION_TOTAL for weight in weights)
