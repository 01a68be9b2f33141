import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from streams.stats.bayes.gaussian_best import gaussian_best


def test_two_values_in_closed_form():
    """P(a > b) = Phi((m_a - m_b) / sqrt(s_a^2 + s_b^2))."""
    for gap in (0.0, 0.5, 2.0, 6.0):
        for ratio in (0.01, 1.0, 30.0):
            probability = gaussian_best(np.array([gap, 0.0]), np.array([1.0, ratio]))

            expected = special.ndtr(gap / (1.0 + ratio * ratio) ** 0.5)
            assert probability == pytest.approx([expected, 1.0 - expected], abs=1.5e-5)


@pytest.mark.parametrize("seed", range(30))
def test_error_is_below_its_bound(seed):
    """Three to ten values of scales up to a thousandfold, against adaptive quadrature."""
    generator = np.random.default_rng(seed)
    n = int(generator.integers(3, 11))
    deviations = 10.0 ** generator.uniform(-3, 0, n)
    means = generator.normal(size=n) * deviations.mean()

    def density(x, arm):
        others = [k for k in range(n) if k != arm]
        below = stats.norm.cdf(x, means[others], deviations[others]).prod()
        return stats.norm.pdf(x, means[arm], deviations[arm]) * below

    breaks = means[:, None] + deviations[:, None] * np.array([-6, -2, 0, 2, 6])
    expected = [
        integrate.quad(
            density,
            means[arm] - 9 * deviations[arm],
            means[arm] + 9 * deviations[arm],
            args=(arm,),
            points=breaks.ravel(),
            limit=400,
        )[0]
        for arm in range(n)
    ]

    assert gaussian_best(means, deviations) == pytest.approx(expected, abs=1.5e-5)


@st.composite
def families(draw):
    n = draw(st.integers(1, 30))
    means = draw(st.lists(st.floats(-1e3, 1e3), min_size=n, max_size=n))
    deviations = draw(st.lists(st.floats(1e-6, 1e3), min_size=n, max_size=n))
    return np.array(means), np.array(deviations)


@given(families(), st.randoms(use_true_random=False))
def test_probabilities_sum_to_one_and_follow_their_values(family, random):
    means, deviations = family
    order = list(range(len(means)))
    random.shuffle(order)

    probability = gaussian_best(means, deviations)

    assert probability.sum() == pytest.approx(1.0)
    assert probability.min() >= 0.0
    assert gaussian_best(means[order], deviations[order]) == pytest.approx(
        probability[order], abs=1e-9
    )


@given(families(), st.floats(0.0, 100.0))
def test_who_rises_is_never_less_likely_the_best(family, rise):
    means, deviations = family
    raised = means.copy()
    raised[0] += rise

    assert gaussian_best(raised, deviations)[0] >= gaussian_best(means, deviations)[0] - 3e-5


@given(families(), st.sampled_from([2.0**-20, 0.25, 8.0, 2.0**20]))
def test_scale_does_not_matter(family, factor):
    means, deviations = family

    assert gaussian_best(factor * means, factor * deviations) == pytest.approx(
        gaussian_best(means, deviations), abs=1e-9
    )


def test_a_deviation_below_the_digits_of_its_mean_loses_no_probability():
    """1 for certain, beside 0 with the deviation 0.2: that is above 1 with Phi(-5) = 2.9e-7."""
    found = gaussian_best(np.array([1.0, 0.0]), np.array([1e-17, 0.2]))

    assert found[0] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.filterwarnings("error")
@given(
    st.lists(
        st.tuples(
            st.one_of(st.just(0.0), st.floats(-1e12, 1e12)),
            st.floats(-320.0, 12.0).map(lambda power: 10.0**power),
        ),
        min_size=2,
        max_size=2,
    )
)
def test_numbers_of_any_size_in_closed_form(pair):
    """No warning, and Phi of the difference over its deviation, to the digits of the means."""
    means, deviations = np.array(pair).T
    apart = float(np.hypot(*deviations))
    digits = 1e-11 * np.abs(means).max() / max(apart, 1e-323)

    found = gaussian_best(means, deviations)

    exact = special.ndtr(min(max(float(means[0] - means[1]) / max(apart, 1e-323), -40.0), 40.0))
    assert found.sum() == pytest.approx(1.0)
    assert found[0] == pytest.approx(exact, abs=3e-5 + min(digits, 0.6))
