"""Variants that take part, of an experiment whose variants have changed since its start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams.experiments.definition import ExperimentDefinition
from streams.model.published import Int32, Published
from streams.policies.arms import unseen_arms
from streams.policies.weights import allocate


@dataclass(frozen=True, slots=True)
class Roster(Published):
    """Initial state of an experiment whose variants have changed since.

    Receipts issued after a change carry the weights of all variants; earlier weights follow from
    this value.

    Attributes:
        n_started: Variants at the start: those that its measurement plan knows.
        weights: Integer weights at the start, of these variants; empty under an adaptive policy.
        smallest: Smallest weight above 0 that each variant has had, 0 for none; empty likewise.
        version: Version of the experiment right after the newest change. Fixed allocations carry
            it.
    """

    n_started: Int32
    weights: tuple[Int32, ...]
    smallest: tuple[Int32, ...]
    version: int


def fixed_weights(definition: ExperimentDefinition) -> tuple[int, ...]:
    """Return the integer weights of a fixed policy; those of stopped variants are 0.

    They sum to 65,536.
    """
    active = definition.active
    shares = [definition.weights[index] for index in active]
    weights = allocate(definition.policy, unseen_arms(shares))
    return spread(weights, active, len(definition.variants))


def spread(weights: Sequence[int], active: Sequence[int], n_variants: int) -> tuple[int, ...]:
    """Return the weights of all variants from those of the active ones.

    >>> spread((40_000, 25_536), (0, 2), 3)
    (40000, 0, 25536)
    """
    found = [0] * n_variants
    for index, weight in zip(active, weights, strict=True):
        found[index] = weight
    return tuple(found)


def changed_roster(
    roster: Roster | None, before: ExperimentDefinition, after: ExperimentDefinition, version: int
) -> Roster | None:
    """Return the roster after a change of a definition whose experiment has started.

    Args:
        roster: That before it; None if no variant had changed.
        before: The definition before the change.
        after: The definition after it; its variants begin with those of before.
        version: Version of the experiment right after the change.
    """
    is_same = (before.active, before.weights) == (after.active, after.weights)
    if is_same and len(before.variants) == len(after.variants):
        return roster
    if before.config.parameters.adaptive:
        return Roster(_started(roster, before), (), (), version)
    if roster is None:
        weights = fixed_weights(before)
        roster = Roster(len(before.variants), weights, weights, version)
    now = fixed_weights(after)
    had = (*roster.smallest, *[0] * (len(now) - len(roster.smallest)))
    smallest = tuple(
        min(weight, known) or max(weight, known) for weight, known in zip(now, had, strict=True)
    )
    return Roster(roster.n_started, roster.weights, smallest, version)


def initial_roster(definition: ExperimentDefinition, version: int) -> Roster | None:
    """Return the roster of an experiment that starts; None if all of its variants are active.

    Args:
        definition: The definition.
        version: Version of the experiment right after the start.
    """
    if len(definition.active) == len(definition.variants):
        return None
    weights = () if definition.config.parameters.adaptive else fixed_weights(definition)
    return Roster(len(definition.variants), weights, weights, version)


def _started(roster: Roster | None, definition: ExperimentDefinition) -> int:
    return len(definition.variants) if roster is None else roster.n_started
