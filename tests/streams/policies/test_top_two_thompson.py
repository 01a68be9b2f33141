import numpy as np
import pytest

from streams.policies.base import Arm
from streams.policies.thompson_sampling import ThompsonSampling
from streams.policies.top_two_thompson import TopTwoThompson


def binary(*pairs):
    return [Arm(units, float(successes), 0.0, True, 1 / len(pairs)) for units, successes in pairs]


def test_shares_follow_from_the_probabilities_to_be_best():
    """By hand from a = P(best): first at odds 1/2, else another in proportion to its a."""
    arms = binary((40, 8), (25, 7), (35, 5))
    a, b, c = ThompsonSampling().shares(arms)

    assert TopTwoThompson().shares(arms) == pytest.approx(
        (
            a / 2 * (1 + b / (1 - b) + c / (1 - c)),
            b / 2 * (1 + a / (1 - a) + c / (1 - c)),
            c / 2 * (1 + a / (1 - a) + b / (1 - b)),
        ),
        abs=1e-9,
    )


def test_shares_are_those_of_the_draws_they_stand_for():
    """100,000 runs of Russo's algorithm, seed 5; 0.008 is over five standard errors: < 1e-5."""
    arms = binary((40, 8), (25, 7), (35, 5))
    generator = np.random.default_rng(5)

    def best_of_a_draw(size):
        means = [generator.beta(1 + arm.total, 1 + arm.units - arm.total, size) for arm in arms]
        return np.argmax(means, axis=0)

    played = best_of_a_draw(100_000)
    again = generator.random(played.size) < 0.5
    first = played.copy()
    while (same := again & (played == first)).any():
        played[same] = best_of_a_draw(int(same.sum()))

    observed = np.bincount(played, minlength=3) / played.size
    assert TopTwoThompson().shares(arms) == pytest.approx(observed, abs=0.008)


@pytest.mark.parametrize("successes", [50, 90, 400])
def test_two_arms_are_split_evenly_however_sure_one_is(successes):
    shares = TopTwoThompson().shares(binary((500, 50), (500, successes)))

    assert shares == pytest.approx((0.5, 0.5))


def test_half_stays_with_the_likeliest_challenger_of_a_certain_winner():
    """P(best) of the challengers is below the error of the quadrature, and their order is not."""
    shares = TopTwoThompson().shares(binary((10**6, 900_000), (10**4, 900), (10**4, 100)))

    assert shares == pytest.approx((0.5, 0.5, 0.0), abs=1e-9)


def test_challengers_change_little_where_the_quadrature_ends():
    """Around the threshold the ratio of tiny probabilities gives way to a plain one."""
    near = TopTwoThompson().shares(binary((1_000, 170), (1_000, 80), (1_000, 80)))
    beyond = TopTwoThompson().shares(binary((1_000, 260), (1_000, 80), (1_000, 80)))

    assert near == pytest.approx(beyond, abs=1e-6)


def test_prior_counts():
    strong = TopTwoThompson(prior_alpha=50, prior_beta=50).shares(binary((3, 3), (3, 0), (3, 0)))
    weak = TopTwoThompson().shares(binary((3, 3), (3, 0), (3, 0)))

    assert 1 / 3 < strong[0] < weak[0]
