"""Readings of the comparisons of the primary metric, and the plan they follow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from streams.experiments.config import ExperimentConfig
from streams.experiments.measurement_plan import bounds_of
from streams.experiments.unit_kind import UnitKind
from streams.stats.arrays import FloatArray
from streams.stats.sequential.comparison import (
    UNPLANNED_RATES,
    Readings,
    pairwise_error,
    planned_readings,
    unplanned_readings,
)
from streams.stats.sequential.planned_information import PlannedInformation

FEWEST_PLANNED_EVENTS = 100.0
"""Planned conversions of both variants below which a plan is not made use of: a sum of so few is
not Gaussian enough for early stopping, and the sequence then has all of the error. Of values with
floor and cap it is the largest ones that count, as many as would vary as much."""


def information_in_use(config: ExperimentConfig) -> float | None:
    """Return the planned information; None without a plan that is large enough to make use of.

    Of amounts without a bound, the values that are needed are counted, so it is always in use.
    """
    information, plan = config.planned_information, config.plan
    if information is None or plan is None:
        return None
    bounds = bounds_of(config, config.primary_metric)
    events = math.inf if plan.deviation is not None else information
    if bounds is not None:
        events = information / (bounds[1] - bounds[0]) ** 2
    return None if events < FEWEST_PLANNED_EVENTS else information


def planned_reading(config: ExperimentConfig) -> PlannedInformation | None:
    """Return how the comparisons are read within the plan; None without one that is in use."""
    information, plan = information_in_use(config), config.plan
    if information is None or plan is None:
        return None
    # Impressions continue coming while others convert. Users and sessions may all be there on the
    # first day, unless they are compared once their window is over, each with all of its value.
    primary = config.primary_metric
    is_over = config.unit is UnitKind.IMPRESSION or config.maturity_s(primary) > 0
    share = 0.0 if is_over else plan.share_of_mean(config.spec(primary).model_kind)
    return PlannedInformation(information, share)


def primary_readings(config: ExperimentConfig) -> Readings:
    """Return how the comparisons of the primary metric are read."""
    planned, plan = planned_reading(config), config.plan
    if plan is None:
        return UNPLANNED_RATES
    spec = config.spec(config.primary_metric)
    kind, direction = spec.model_kind, spec.direction
    # Values less what covariates explain are no longer 0 or 1, and cannot be bet on.
    rates = None if config.covariates else plan.rates(kind, direction)
    if planned is None:
        return unplanned_readings(rates)
    return planned_readings(planned, rates, plan.drift(kind, direction))


def planned_share(config: ExperimentConfig) -> tuple[PlannedInformation, float] | None:
    """Return the reading within the plan and its share of the error; None without one in use."""
    for each in primary_readings(config):
        if isinstance(each.reading, PlannedInformation):
            return each.reading, each.share
    return None


def pairwise_errors(
    config: ExperimentConfig, variants: Sequence[int], leader: int, control: int, n_arms: int
) -> FloatArray:
    """Return the error of the leader against each of the other variants, as it is published.

    Args:
        config: Configuration of the experiment; its alternative says of which sides the error is.
        variants: The others.
        leader: The leader.
        control: The control.
        n_arms: Variants that the error is of, stopped ones too.
    """
    alpha = 1.0 - config.significance_threshold
    return np.array(
        [
            pairwise_error(
                alpha,
                n_arms,
                with_control=control in (leader, index),
                alternative=config.alternative,
            )
            for index in variants
        ]
    )
