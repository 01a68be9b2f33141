"""Obstacles to automatic promotion.

A recommendation is reviewed by a person, an automatic promotion is not, so its conditions are
stricter.
"""

from __future__ import annotations

import math
from enum import StrEnum

from streams.analysis.decision import smallest_lead
from streams.experiments.config import ExperimentConfig
from streams.experiments.lifecycle import Status
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.evidence import Evidence
from streams.experiments.statistics.recommendation import RecommendedAction

LARGEST_SWING = 0.5
"""Assumed upper bound of the effect of days beyond whole weeks, as a share of the mean."""

_MS_PER_S = 1_000
_MS_PER_DAY = 86_400_000
_MS_PER_WEEK = 7 * _MS_PER_DAY


class Obstacle(StrEnum):
    """Obstacle to a promotion."""

    NOT_RUNNING = "NOT_RUNNING"
    """It is a draft, paused, or has ended."""
    SAMPLE_RATIO_MISMATCH = "SAMPLE_RATIO_MISMATCH"
    """Observed counts deviate from the configured split."""
    DEDUPLICATION_FULL = "DEDUPLICATION_FULL"
    """Events were not counted, because the deduplication memory was full."""
    UNITS_IN_SEVERAL_VARIANTS = "UNITS_IN_SEVERAL_VARIANTS"
    """Too many units were assigned to more than one variant."""
    KIND_CONTRADICTED = "KIND_CONTRADICTED"
    """A declared metric has values that are not of its kind."""
    GUARDRAIL_TRIPPED = "GUARDRAIL_TRIPPED"
    """A variant harms a guardrail metric by more than is tolerated."""
    GUARDRAIL_UNPROVEN = "GUARDRAIL_UNPROVEN"
    """Harm of the leader to a guardrail metric is not ruled out at its margin."""
    MIN_SAMPLE_SIZE = "MIN_SAMPLE_SIZE"
    """A variant has fewer units than `min_sample_size`."""
    MIN_DURATION = "MIN_DURATION"
    """Its events do not span the duration required by `has_lasted`."""
    TAILS_UNSEEN = "TAILS_UNSEEN"
    """The values of the primary metric are too skewed to compare means with so few units."""
    NO_WINNER = "NO_WINNER"
    """The sequential test has not been passed."""
    EXPECTED_LOSS = "EXPECTED_LOSS"
    """The expected loss of the winner is above `max_expected_loss` of its mean."""


def obstacles(snapshot: Snapshot) -> tuple[Obstacle, ...]:
    """Return the obstacles to promoting a winner; empty if it is due.

    It is a pure function of the snapshot with times of events, so a replay promotes when the
    workers did.

    Args:
        snapshot: The snapshot; one without evidence has an obstacle.
    """
    experiment, evidence = snapshot.experiment, snapshot.evidence
    config, active = experiment.definition.config, experiment.definition.active
    is_winner = (
        snapshot.recommended_action is RecommendedAction.CONCLUDE_WINNER
        and snapshot.winner is not None
    )
    if evidence is None:
        return (Obstacle.NO_WINNER,)
    loss, miscounts = evidence.relative_loss, evidence.miscounts
    lead = _relative_lead(snapshot, evidence) if is_winner else math.inf
    holds = {
        Obstacle.NOT_RUNNING: experiment.status is not Status.RUNNING,
        Obstacle.SAMPLE_RATIO_MISMATCH: evidence.sample_ratio.is_mismatch,
        Obstacle.DEDUPLICATION_FULL: miscounts.is_memory_full,
        Obstacle.UNITS_IN_SEVERAL_VARIANTS: miscounts.is_in_several_variants,
        Obstacle.KIND_CONTRADICTED: any(each.contradiction for each in snapshot.metrics.values()),
        Obstacle.GUARDRAIL_TRIPPED: any(each.is_tripped for each in evidence.guardrails),
        Obstacle.GUARDRAIL_UNPROVEN: any(
            each.is_proven is False
            for each in evidence.guardrails
            if each.variant == evidence.leader
        ),
        Obstacle.MIN_SAMPLE_SIZE: min(evidence.compared_units[index] for index in active)
        < config.min_sample_size,
        Obstacle.MIN_DURATION: not has_lasted(config, evidence.duration_ms, lead),
        Obstacle.TAILS_UNSEEN: not all(each.tails_seen for each in evidence.comparisons),
        Obstacle.NO_WINNER: not is_winner,
        Obstacle.EXPECTED_LOSS: loss is None or loss > config.max_expected_loss,
    }
    return tuple(obstacle for obstacle, is_there in holds.items() if is_there)


def has_lasted(config: ExperimentConfig, duration_ms: int, lead: float = math.inf) -> bool:
    """Return whether an experiment has lasted long enough for a promotion.

    With `min_duration`, at least that long. Without, whole weeks, at least one: users behave
    differently at the weekend, and a variant that is better on five days may be worse on two. A
    promotion happens on the days after a complete week. The started part of the next week is then
    overrepresented, so the lead must exceed an effect of `LARGEST_SWING` in that part only.

    Args:
        config: The configuration.
        duration_ms: Time from the start, or from the first event after it, to the newest event.
        lead: Lower end of the smallest lead, as a share of the leader's mean.

    Examples:
        >>> from streams.experiments.definition import parse_definition
        >>> variants = [{"name": "A", "isControl": True}, {"name": "B"}]
        >>> config = {"name": "Hero", "type": "bayesian_ab", "primaryMetric": "click"}
        >>> unstated = parse_definition(config, variants).config
        >>> [has_lasted(unstated, round(days * 86_400_000)) for days in (0.1, 6.9, 7.5, 8, 14.2)]
        [False, False, True, False, True]
        >>> [has_lasted(unstated, round(days * 86_400_000), 0.01) for days in (7, 7.1, 7.5)]
        [True, True, False]
        >>> stated = parse_definition(config | {"minDuration": 0}, variants).config
        >>> has_lasted(stated, 8 * 86_400_000)
        True
    """
    if config.min_duration is not None:
        return duration_ms >= config.min_duration * _MS_PER_S
    weeks, excess_ms = divmod(duration_ms, _MS_PER_WEEK)
    if not weeks or excess_ms >= _MS_PER_DAY:
        return False
    return lead >= LARGEST_SWING * excess_ms / duration_ms


def _relative_lead(snapshot: Snapshot, evidence: Evidence) -> float:
    """Return the lower end of the smallest lead over the leader's mean; infinite without a mean."""
    lead, _ = smallest_lead(evidence.comparisons)
    mean = snapshot.variants[evidence.leader].mean
    return lead / abs(mean) if mean else math.inf
