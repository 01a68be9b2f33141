"""Comparisons of the primary metric: the variants with the control, the leader with all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.analysis.contrasts import MetricContrasts
from streams.analysis.primary_readings import pairwise_errors, primary_readings
from streams.experiments.config import ExperimentConfig
from streams.experiments.statistics.undefined_sequence import (
    UndefinedSequence,
    UndefinedSequenceCode,
)
from streams.stats.alternative import Alternative
from streams.stats.arrays import FloatArray
from streams.stats.direction import Direction
from streams.stats.sequential.comparison import Intervals, both_sides
from streams.stats.sequential.contrasts import Contrast
from streams.stats.sequential.multiplicity import Tried


@dataclass(frozen=True, slots=True, eq=False)
class Leads:
    """Lead of the leader over each other variant, in the direction of the metric.

    Attributes:
        leader: The leader.
        others: The other variants; the arrays are in their order.
        intervals: Ends of the confidence sequences of the leads.
        p_values: Always-valid p-values of "the leader equals the other", or of "it is not better".
        errors: Significance levels for these p-values.
        tails_seen: Whether a lower end exists.
        variance: Information so far (`Contrast.variance`).
    """

    leader: int
    others: tuple[int, ...]
    intervals: Intervals
    p_values: FloatArray
    errors: FloatArray
    tails_seen: NDArray[np.bool_]
    variance: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PrimaryComparisons:
    """Comparisons of the primary metric, by the deciding boundaries.

    Attributes:
        sequence: Ends of the confidence sequences of "variant - control", of all but the control.
        undefined: Reason why each of them lacks an end; None if it has both.
        p_values: P-values of "equal to the control", or of "not better than the control" with a
            one-sided alternative, for the same variants; not yet corrected.
        contrasts: Contrasts of "variant - control", of the same variants.
        leads: Comparisons of the leader.
    """

    sequence: Intervals
    undefined: tuple[UndefinedSequence | None, ...]
    p_values: FloatArray
    contrasts: Contrast
    leads: Leads


def compare_primary(
    config: ExperimentConfig,
    contrasts: MetricContrasts,
    direction: Direction,
    leader: int,
    control: int,
    others: Sequence[int],
    tried: Tried,
) -> PrimaryComparisons:
    """Compare the variants by the primary metric.

    Args:
        config: Configuration of the experiment.
        contrasts: The metric.
        direction: Its direction of improvement.
        leader: The leader.
        control: The control.
        others: All other variants than the control.
        tried: Variants that the error is divided among, at least these.
    """
    count, alternative = len(others), config.alternative
    behind = [index for index in range(count + 1) if index != leader]
    errors = np.concatenate(
        [
            pairwise_errors(config, others, control, control, tried),
            pairwise_errors(config, behind, leader, control, tried),
        ]
    )
    ends = [leader] * count, behind
    if direction is Direction.DECREASE:
        ends = ends[1], ends[0]
    # All at once: for few numbers the cost of an operation is constant.
    compared = contrasts.contrast([*others, *ends[0]], [*[control] * count, *ends[1]])
    found = both_sides(compared, alternative.of_one_side(errors), primary_readings(config))
    ahead = found.below if direction is Direction.DECREASE else found.above
    is_two_sided = alternative is Alternative.TWO_SIDED
    sequence = Intervals(found.intervals.lower[:count], found.intervals.upper[:count])
    return PrimaryComparisons(
        sequence,
        _undefined(
            sequence, compared.has_lower & compared.has_upper, is_known=contrasts.is_comparable
        ),
        (found.two_sided if is_two_sided else ahead)[:count],
        compared.take(slice(count)),
        Leads(
            leader,
            tuple(behind),
            Intervals(found.intervals.lower[count:], found.intervals.upper[count:]),
            (found.two_sided if is_two_sided else found.above)[count:],
            errors[count:],
            compared.has_lower[count:] | (not contrasts.is_comparable),
            compared.variance[count:],
        ),
    )


def _undefined(
    sequence: Intervals, tails_seen: NDArray[np.bool_], *, is_known: bool
) -> tuple[UndefinedSequence | None, ...]:
    """Return the reason why each sequence lacks an end; None if it has both.

    Args:
        sequence: The sequences.
        tails_seen: Whether enough values are observed for both ends.
        is_known: Whether it is known which units could be assigned to both variants.
    """
    has_both = (np.isfinite(sequence.lower) & np.isfinite(sequence.upper)).tolist()
    if all(has_both):
        return (None,) * len(has_both)
    return tuple(
        None
        if is_whole
        else UndefinedSequence(
            UndefinedSequenceCode.ELIGIBILITY_UNKNOWN
            if not is_known
            else UndefinedSequenceCode.NOT_ENOUGH_YET
            if are_seen
            else UndefinedSequenceCode.TAILS_UNSEEN
        )
        for is_whole, are_seen in zip(has_both, tails_seen.tolist(), strict=False)
    )
