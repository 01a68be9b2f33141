"""Regression adjustment: by hand, and against ordinary least squares."""

from __future__ import annotations

import numpy as np
import pytest

from streams.stats.arrays import FloatArray
from streams.stats.regression_adjustment import CovariateSums, coefficients, squared_deviations


def sums_of(groups: list[tuple[FloatArray, FloatArray]]) -> CovariateSums:
    """Return the sums of (covariates, values) of each variant."""
    centred = [(c - c.mean(axis=0), x - x.mean()) for c, x in groups]
    return CovariateSums(
        np.array([c.sum(axis=0) for c, _ in groups]),
        np.array([c.T @ c for c, _ in centred]),
        np.array([c.T @ x for c, x in centred]),
    )


def test_the_coefficients_are_those_of_least_squares_with_an_intercept_for_each_variant() -> None:
    random = np.random.default_rng(1)
    groups = []
    for n, mean in ((40, 0.0), (70, 3.0)):
        c = random.normal(mean, (1.0, 5.0, 0.1), (n, 3))
        groups.append((c, mean + c @ (0.5, -2.0, 7.0) + random.normal(size=n)))
    sums = sums_of(groups)
    theta = coefficients(sums)
    covariates = np.vstack([c for c, _ in groups])
    design = np.column_stack([np.repeat([1.0, 0.0], (40, 70)), np.repeat([0.0, 1.0], (40, 70))])
    values = np.concatenate([x for _, x in groups])
    whole = np.column_stack([design, covariates])
    found, (residual,), *_ = np.linalg.lstsq(whole, values, rcond=None)
    assert theta == pytest.approx(found[2:])
    of_values = np.array([((x - x.mean()) ** 2).sum() for _, x in groups])
    assert squared_deviations(sums, theta, of_values).sum() == pytest.approx(residual)


def test_what_does_not_vary_explains_nothing_and_doubles_share() -> None:
    random = np.random.default_rng(2)
    c = random.normal(size=100)
    x = 3.0 * c + random.normal(size=100)
    whole = np.column_stack([c, 2.0 * c, np.ones(100)])
    theta = coefficients(sums_of([(whole[:50], x[:50]), (whole[50:], x[50:])]))
    alone = coefficients(sums_of([(whole[:50, :1], x[:50]), (whole[50:, :1], x[50:])]))
    assert theta[2] == 0.0
    assert whole @ theta == pytest.approx(c * alone[0])
