"""Readings of the comparisons of the primary metric, with or without a plan."""

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
from streams.stats.sequential.multiplicity import Tried
from streams.stats.sequential.planned_information import PlannedInformation

FEWEST_PLANNED_EVENTS = 100.0
"""Planned conversions of both variants below which a plan is not used: the sum of fewer is not
Gaussian enough for early stopping, and the sequence then gets all of the error. For values with
floor and cap it is the number of largest values with the same variance."""


def information_in_use(config: ExperimentConfig) -> float | None:
    """Return the planned information; None without a sufficiently large plan.

    For unbounded amounts, the required values are planned, so a plan is always used.
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
    """Return the reading of comparisons within the plan; None without a plan in use."""
    information, plan = information_in_use(config), config.plan
    if information is None or plan is None:
        return None
    # Impressions keep arriving while others convert. Users and sessions may all arrive on the first
    # day, unless they are compared after their window, each with its full value.
    primary = config.primary_metric
    is_over = config.unit is UnitKind.IMPRESSION or config.maturity_s(primary) > 0
    share = 0.0 if is_over else plan.share_of_mean(config.spec(primary).model_kind)
    return PlannedInformation(information, share)


def primary_readings(config: ExperimentConfig) -> Readings:
    """Return the readings of the comparisons of the primary metric."""
    planned, plan = planned_reading(config), config.plan
    if plan is None:
        return UNPLANNED_RATES
    spec = config.spec(config.primary_metric)
    kind, direction = spec.model_kind, spec.direction
    # Adjusted values are no longer 0 or 1, and cannot be bet on.
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
    config: ExperimentConfig, variants: Sequence[int], leader: int, control: int, tried: Tried
) -> FloatArray:
    """Return the published error of the leader against each other variant.

    Args:
        config: Configuration of the experiment; its alternative determines the sides of the error.
        variants: The others.
        leader: The leader.
        control: The control.
        tried: Variants that the error is divided among, including stopped ones.
    """
    alpha = (1.0 - config.significance_threshold) * tried.share
    return np.array(
        [
            pairwise_error(
                alpha,
                tried.so_far + 1,
                with_control=control in (leader, index),
                alternative=config.alternative,
            )
            for index in variants
        ]
    )
