import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.simulation.proportion import Proportion
from streams.model.errors import InvalidParameterError

counts = st.integers(1, 5_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, st.floats(0.5, 0.999))
def test_interval_is_that_of_scipy(count, level):
    events, repetitions = count
    result = stats.binomtest(events, repetitions).proportion_ci(level, method="exact")

    assert Proportion(events, repetitions).interval(level) == pytest.approx(
        (result.low, result.high), abs=1e-9
    )


def test_share_is_events_over_repetitions():
    assert Proportion(1, 4).share == 0.25


@pytest.mark.parametrize(("events", "repetitions"), [(-1, 1), (2, 1), (0, 0)])
def test_counts_outside_their_domain_are_refused(events, repetitions):
    with pytest.raises(InvalidParameterError):
        Proportion(events, repetitions)


def test_level_outside_its_domain_is_refused():
    with pytest.raises(InvalidParameterError):
        Proportion(1, 2).interval(1.0)
