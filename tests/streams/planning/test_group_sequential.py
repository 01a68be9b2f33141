"""Sizes of tests with planned looks, against tables and against simulated tests."""

import numpy as np
import pytest

from streams.model.errors import InvalidParameterError
from streams.planning.fixed import Design
from streams.planning.group_sequential import group_sequential
from streams.stats.sequential.group_sequential import Spending

OBRIEN_FLEMING, POCOCK = Spending


@pytest.mark.parametrize(
    ("spending", "ratio"),
    [(OBRIEN_FLEMING, 1.023), (POCOCK, 1.192)],
)
def test_five_looks_with_a_power_of_90_per_cent(spending, ratio):
    """Ratios are those of Lan and DeMets' functions; with O'Brien and Fleming's own boundaries

    it is 1.026, and with Pocock's 1.207 (Jennison and Turnbull 2000, tables 2.4 and 2.2).
    """
    found = group_sequential(100_000, Design(power=0.9), 5, spending)

    assert found.per_variant / 100_000 == pytest.approx(ratio, abs=0.001)
    assert found.looks[-1].stopped == pytest.approx(0.9)


@pytest.mark.parametrize("spending", Spending)
@pytest.mark.parametrize("n_variants", [2, 4])
def test_simulated_tests_of_that_size_have_that_power_and_that_length(spending, n_variants):
    """20,000 paths: standard errors are 0.003 and 0.25 %; five of them fail once in a million."""
    design = Design(n_variants=n_variants, power=0.8)
    found = group_sequential(10_000, design, 4, spending)
    rng = np.random.default_rng(23)
    error = 0.05 / (n_variants - 1)
    fixed = {0.05: 1.959964 + 0.841621, 0.05 / 3: 2.393980 + 0.841621}[error]
    drift = fixed * np.sqrt(found.per_variant / 10_000)
    times = np.array([0.25, 0.5, 0.75, 1.0])
    steps = rng.normal(0.25 * drift, 0.5, size=(20_000, 4)).cumsum(axis=1)
    crossed = np.abs(steps / np.sqrt(times)) >= [look.critical for look in found.looks]
    stopped = crossed.any(axis=1)
    last = np.where(stopped, crossed.argmax(axis=1), 3)

    assert stopped.mean() == pytest.approx(0.8, abs=0.015)
    assert (times[last] * found.per_variant).mean() == pytest.approx(found.expected, rel=0.015)


def test_more_looks_cost_units_at_most_and_save_them_on_average():
    few, many = (group_sequential(10_000, Design(), n, OBRIEN_FLEMING) for n in (2, 10))

    assert 10_000 < few.per_variant < many.per_variant < 11_000
    assert many.expected < few.expected < 10_000
    assert [look.units for look in few.looks] == [-(-few.per_variant // 2), few.per_variant]


@pytest.mark.parametrize("n_looks", [1, 201])
def test_a_number_of_looks_that_cannot_be_is_refused(n_looks):
    with pytest.raises(InvalidParameterError):
        group_sequential(100, Design(), n_looks, POCOCK)
