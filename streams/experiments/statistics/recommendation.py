"""Recommendations to the author of an experiment, and the codes of their reasons."""

from __future__ import annotations

from enum import StrEnum


class RecommendedAction(StrEnum):
    """Recommendation to the author of an experiment."""

    CONTINUE = "continue"
    CONCLUDE_WINNER = "conclude_winner"
    CONCLUDE_NO_DIFFERENCE = "conclude_no_difference"
    STOP_GUARDRAIL = "stop_guardrail"
    """A variant harms a guardrail metric by more than is tolerated."""
    INVESTIGATE = "investigate"
    """The data are faulty, and nothing is concluded from them."""


class ReasonCode(StrEnum):
    """Stable code of the reason for a recommendation; the evidence has its numbers."""

    NOT_STARTED = "NOT_STARTED"
    SAMPLE_RATIO_MISMATCH = "SAMPLE_RATIO_MISMATCH"
    """Observed counts deviate from the configured split."""
    DEDUPLICATION_FULL = "DEDUPLICATION_FULL"
    """Too many events were not counted, because a deduplication memory was full."""
    UNITS_IN_SEVERAL_VARIANTS = "UNITS_IN_SEVERAL_VARIANTS"
    KIND_CONTRADICTED = "KIND_CONTRADICTED"
    """The primary metric has values that are not of its declared kind."""
    GUARDRAIL_TRIPPED = "GUARDRAIL_TRIPPED"
    MIN_SAMPLE_SIZE = "MIN_SAMPLE_SIZE"
    """A variant has fewer units than `min_sample_size`."""
    TOO_FEW_MATURE = "TOO_FEW_MATURE"
    """A variant has fewer units whose conversion window is over than `min_sample_size`."""
    TAILS_UNSEEN = "TAILS_UNSEEN"
    """The values of the primary metric are too skewed to compare means with so few units."""
    WINNER = "WINNER"
    """The leader beats every other variant."""
    NO_DIFFERENCE = "NO_DIFFERENCE"
    """No variant differs from the leader by more than is negligible."""
    FUTILE = "FUTILE"
    """The conditional power for the planned lift is too low."""
    PROBABILITY_BEST = "PROBABILITY_BEST"
    """P(best) of the leader is below the threshold."""
    ELIGIBILITY_UNKNOWN = "ELIGIBILITY_UNKNOWN"
    """Not all variants were eligible for all units, and eligibility is not kept by pair."""
    LEAD_UNCERTAIN = "LEAD_UNCERTAIN"
    """The confidence sequence of the lead does not exclude 0."""
    CONTROL_LEADS = "CONTROL_LEADS"
    """The control leads and cannot win: the test is one-sided."""
    ARCHIVED_UNSTARTED = "ARCHIVED_UNSTARTED"
    CONCLUDED = "CONCLUDED"
    """Concluded with a winner, which is no longer assigned."""
    CONCLUDED_WITHOUT_WINNER = "CONCLUDED_WITHOUT_WINNER"
    PROMOTED = "PROMOTED"
    """Concluded with a winner, which is assigned beside a control share."""
    PROMOTED_HARMFUL = "PROMOTED_HARMFUL"
    """The promoted winner trips a guardrail by the data since the conclusion."""
    ROLLED_BACK = "ROLLED_BACK"
    EVALUATION_FAILED = "EVALUATION_FAILED"
    """The statistics could not be computed."""
    SNAPSHOT_TOO_LARGE = "SNAPSHOT_TOO_LARGE"
    """The snapshot did not fit its topic."""
