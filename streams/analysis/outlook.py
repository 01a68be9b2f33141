"""Outlook of a running experiment: its power now and at the planned end.

Power is computed for the deciding boundary, over all looks, with information as the clock. The rate
of information, and the amount that a lift needs, are estimated from the units of the experiment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np
from scipy import special

from streams.analysis.inputs import Inputs
from streams.analysis.metric_analysis import Analysis, MetricAnalysis
from streams.analysis.primary_readings import (
    information_in_use,
    pairwise_errors,
    planned_share,
)
from streams.experiments.statistics.outlook import Outlook
from streams.stats.alternative import Alternative
from streams.stats.arrays import FloatArray
from streams.stats.direction import Direction
from streams.stats.sequential.centres import RANGE_EVENTS
from streams.stats.sequential.confidence_sequences import (
    PLANNED_EVENTS,
    PLANNED_UNITS,
    asymptotic_radius,
    error_of_both_sides,
)
from streams.stats.sequential.contrasts import Contrast
from streams.stats.sequential.planned_information import PlannedInformation
from streams.stats.sequential.power import needed_drift

DETECTABLE_POWER = 0.8
"""Power for the minimum detectable lift."""

_LARGEST_DRIFT = 1e6
_LONGEST_MS = 1e15  # 30,000 years

_MOST_VARIANTS = 16
"""Variants up to which the conditional power is computed: every one is compared with every other.
"""


def outlook_of(inputs: Inputs, analysis: Analysis) -> Outlook:
    """Return the outlook of the experiment by its primary metric."""
    trial, config, primary = inputs.trial, inputs.config, analysis.primary
    contrast = analysis.against_control
    if primary.model.direction is Direction.DECREASE:
        contrast = contrast.reversed()
    mean = abs(primary.samples[trial.control].mean)
    of_control = pairwise_errors(config, trial.others, trial.control, trial.control, inputs.tried)
    error = float(config.alternative.of_one_side(of_control).max())
    found, plan = planned_share(config), config.plan
    if found is None or plan is None or information_in_use(config) is None:
        beyond = special.ndtri(DETECTABLE_POWER) * contrast.standard_error
        reach = _half_width(contrast, error) + beyond
        return Outlook(detectable=_relative(float(reach.max()), mean))
    planned, share = found
    spec = config.spec(config.primary_metric)
    expected = plan.difference / plan.drift(spec.model_kind, spec.direction)
    time = planned.progress(contrast)
    # One standard deviation of the sum at the planned end, as a difference of means: from the data
    # or, before any variation, from the plan.
    is_known = (time > 0.0) & np.isfinite(contrast.standard_error) & (contrast.standard_error > 0.0)
    measured = np.where(is_known, contrast.standard_error, 0.0) * np.sqrt(time)
    # A larger lift is certain to be detected.
    worth = np.maximum(np.where(is_known, measured, expected), plan.difference / _LARGEST_DRIFT)
    drift = plan.difference / worth
    errors = np.full_like(time, share * error)
    height = float(planned.levels(contrast, errors).max())
    now = np.minimum(time, 1.0)
    least = float(now.min())
    needed = needed_drift(height, least, DETECTABLE_POWER) if least > 0.0 else math.inf
    at_end = needed_drift(height, 1.0, DETECTABLE_POWER)
    largest = float(worth.max())
    # Units assigned within the last conversion window are not compared yet.
    window_ms = 1_000 * primary.model.maturity
    gathered_ms = max(inputs.duration_ms - window_ms, 0)
    return Outlook(
        detectable=_relative(needed * largest, mean),
        detectable_at_end=_relative(at_end * largest, mean or abs(plan.baseline)),
        power=float(planned.power(contrast, errors, drift, now).min()),
        power_at_end=float(planned.power(contrast, errors, drift, 1.0).min()),
        conditional_power=_conditional_power(inputs, primary, planned, share, float(drift.min())),
        remaining_ms=_remaining_ms(gathered_ms, least),
    )


def _conditional_power(
    inputs: Inputs,
    primary: MetricAnalysis,
    planned: PlannedInformation,
    share: float,
    drift: float,
) -> float | None:
    """Return the largest conditional power of any variant, if it is better by the lift.

    The horizon is the end of the plan or, after that, twice the information so far.
    """
    count = len(primary.samples)
    if count > _MOST_VARIANTS:
        return None
    pairs = list(permutations(range(count), 2))
    first, second = ([pair[place] for pair in pairs] for place in (0, 1))
    compared = _oriented(primary, first, second)
    config, control, tried = inputs.config, inputs.trial.control, inputs.tried
    errors = np.concatenate(
        [
            pairwise_errors(
                config, [each for each in range(count) if each != index], index, control, tried
            )
            for index in range(count)
        ]
    )
    of_one_side = config.alternative.of_one_side(errors)
    found = planned.conditional_power(compared, share * of_one_side, drift)
    of_each: FloatArray = found.reshape(count, count - 1).min(axis=1)
    if config.alternative is Alternative.BETTER:
        of_each = np.delete(of_each, control)
    return float(of_each.max())


def _oriented(primary: MetricAnalysis, better: Sequence[int], worse: Sequence[int]) -> Contrast:
    """Return the contrasts of "the first is better than the second"."""
    if primary.model.direction is Direction.DECREASE:
        return primary.contrasts.contrast(worse, better)
    return primary.contrasts.contrast(better, worse)


def _remaining_ms(duration_ms: int, progress: float) -> int | None:
    if progress <= 0.0:
        return None
    return round(min(duration_ms * (1.0 - progress) / progress, _LONGEST_MS))


def _half_width(contrast: Contrast, error: float) -> FloatArray:
    """Return the half width of the sequence, of a bounded one by the normal mixture beside it."""
    clock, narrowest = contrast.time, float(PLANNED_UNITS)
    if contrast.is_bounded:
        squares, narrowest = contrast.squares, PLANNED_EVENTS
        if contrast.values is not None:  # centred near their mean
            squares, narrowest = contrast.variance * contrast.squares_of_even, RANGE_EVENTS
        clock = squares / (contrast.max_decrement * contrast.max_decrement)
    known = np.where(clock > 0.0, clock, 1.0)
    radius = np.sqrt(known) * asymptotic_radius(known, error_of_both_sides(error), narrowest)
    return np.where(clock > 0.0, radius * contrast.standard_error, np.inf)


def _relative(difference: float, mean: float) -> float | None:
    return difference / mean if mean > 0.0 and math.isfinite(difference) else None
