"""One-sided p-values: the mixture by its integral, beside the two-sided ones, and their error."""

import math

import numpy as np
import pytest
from scipy import integrate

from streams.stats.sequential.comparison import p_values
from streams.stats.sequential.confidence_sequences import PLANNED_UNITS, asymptotic_tuning
from streams.stats.sequential.contrasts import PlainSums, fixed_contrast
from streams.stats.sequential.one_sided import one_sided_p_values


def compared(units, totals, squares, largest):
    """Contrast of two variants with equal shares."""

    def sums(total, square):
        return PlainSums(*(np.array([float(x)]) for x in (units, total, square, 0.5, largest)))

    return fixed_contrast(*map(sums, totals, squares))


@pytest.mark.parametrize("totals", [(1_150.0, 1_000.0), (1_020.0, 1_000.0), (900.0, 1_000.0)])
def test_values_without_a_bound_are_read_by_the_half_normal_mixture(totals):
    """1 / p is the integral of 2 phi(l; 0, rho) exp(l z sqrt(t) - l^2 t / 2) over l >= 0."""
    contrast = compared(10_000, totals, (2_000.0, 2_000.0), math.inf)
    rho = math.sqrt(asymptotic_tuning(0.05, PLANNED_UNITS))
    (time,), (z,) = contrast.time, contrast.difference / contrast.standard_error
    mixture, _ = integrate.quad(
        lambda rate: (
            math.sqrt(2.0 / math.pi)
            / rho
            * math.exp(-rate * rate * (0.5 / rho**2 + 0.5 * time) + rate * z * math.sqrt(time))
        ),
        0.0,
        10.0 * rho,
        epsabs=1e-14,
        limit=500,
    )

    assert one_sided_p_values(contrast)[0] == pytest.approx(min(1.0, 1.0 / mixture), rel=1e-6)


def test_one_side_costs_half_of_two():
    """Halve p where the evidence is clear; 1 on the other side."""
    for largest in (1.0, math.inf):
        contrast = compared(10_000, (1_200.0, 1_000.0), (1_200.0, 1_000.0), largest)

        (one,), (two,) = one_sided_p_values(contrast), p_values(contrast)
        assert one == pytest.approx(two / 2.0, rel=0.01)
        assert one_sided_p_values(contrast.reversed()) == pytest.approx(1.0)


@pytest.mark.parametrize("largest", [1.0, math.inf])
def test_equal_rates_rarely_have_a_small_one_at_any_look(largest):
    """400 experiments, 100 looks, p <= 0.05: 5 % at most; over 9 % by chance in 1 of 2,000."""
    generator = np.random.default_rng(33)
    clicks = generator.binomial(200, 0.1, (2, 400, 100)).cumsum(axis=2).astype(np.float64)
    units = np.broadcast_to(200.0 * np.arange(1, 101), clicks[0].shape)
    share, bound = np.full_like(units, 0.5), np.full_like(units, largest)
    a, b = (PlainSums(units, each, each, share, bound) for each in clicks)

    errs = (one_sided_p_values(fixed_contrast(a, b)) <= 0.05).any(axis=1)

    assert errs.mean() <= 0.09
