import pytest

from benchmarks.simulation.mismatch import alarms
from benchmarks.simulation.traffic import Traffic, Weights


@pytest.mark.statistical
@pytest.mark.parametrize("weights", [Weights.EVEN, Weights.THOMPSON])
def test_units_that_arrive_as_assigned_raise_no_alarm(weights):
    """200 looks, 400 experiments at 5 %: more than 42 alarms would have probability 3e-6."""
    traffic = Traffic((0.1, 0.1, 0.1), weights, looks=200)

    assert alarms(traffic, 400, seed=20260606, alpha=0.05).raised.events <= 42


@pytest.mark.statistical
@pytest.mark.parametrize("weights", [Weights.EVEN, Weights.TOP_TWO])
def test_a_lost_tenth_of_a_variant_is_seen(weights):
    """Of 40,000 units one of two variants loses 10 %: 10 standard errors, so that none is missed.

    An alarm needs about 5; a miss would be a deviation of 5 more, with probability 3e-7 each.
    """
    traffic = Traffic((0.1, 0.1), weights, looks=100, units_per_look=400)
    seen = alarms(traffic, 50, seed=20260607, kept=(1.0, 0.9))

    assert seen.raised.events == 50
    assert seen.median_units < 30_000
