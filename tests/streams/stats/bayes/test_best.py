import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from streams.stats.bayes.best import best
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.posteriors.normal import NormalPosterior


def betas(*pairs):
    return BetaPosterior(*(np.array(column, dtype=float) for column in zip(*pairs, strict=True)))


def beats(a, b):
    """P(b > a) in closed form, for whole parameters.

    Source: Miller (2015), "Formulas for Bayesian A/B Testing", equation 6.
    """
    i = np.arange(b[0])
    terms = (
        special.betaln(a[0] + i, a[1] + b[1])
        - np.log(b[1] + i)
        - special.betaln(1 + i, b[1])
        - special.betaln(*a)
    )
    return float(np.exp(terms).sum())


def test_two_uniform_arms_worked_by_hand():
    """E max of two uniforms is 2/3, so each loses 2/3 - 1/2."""
    result = best(betas((1, 1), (1, 1)))

    assert result.probability == pytest.approx([0.5, 0.5], abs=1e-12)
    assert result.expected_loss == pytest.approx([1 / 6, 1 / 6], abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((1, 1), (2, 1)),
        ((11, 91), (16, 86)),
        ((1_000, 9_000), (1_050, 8_950)),
        ((2, 10_000), (5, 10_000)),
        ((1, 1), (500, 3)),
    ],
)
def test_two_arms_agree_with_the_closed_form(a, b):
    mean_a, mean_b = a[0] / sum(a), b[0] / sum(b)
    loss_a = mean_b * beats(a, (b[0] + 1, b[1])) - mean_a * beats((a[0] + 1, a[1]), b)

    result = best(betas(a, b))

    assert result.probability[1] == pytest.approx(beats(a, b), abs=1e-9)
    assert result.expected_loss[0] == pytest.approx(loss_a, abs=1e-9)


def test_sharp_arm_against_a_flat_one():
    """P(uniform > X) = 1 - E X, and E (U - X)+ = E (1 - X)^2 / 2, whatever the scale of X."""
    a, b = 1e6, 1e8
    mean = a / (a + b)
    variance = mean * (1 - mean) / (a + b + 1)

    result = best(betas((a, b), (1, 1)))

    assert result.probability == pytest.approx([mean, 1 - mean], abs=1e-11)
    assert result.expected_loss[0] == pytest.approx(((1 - mean) ** 2 + variance) / 2, abs=1e-11)


@pytest.mark.parametrize(
    "pairs",
    [
        [(0.5, 0.5), (0.5, 100.0), (2.0, 3.0)],
        [(0.2, 0.3), (0.1, 0.1)],
        [(3.0, 4.0), (30.0, 40.0), (300.0, 400.0), (2.0, 1.0)],
    ],
)
def test_arms_agree_with_adaptive_quadrature(pairs):
    arms = [stats.beta(*pair) for pair in pairs]

    result = best(betas(*pairs))

    for index, pair in enumerate(pairs):
        others = [arm for other, arm in enumerate(arms) if other != index]

        def integrand(logit, pair=pair, others=others):
            x = special.expit(logit)
            log_density = pair[0] * special.log_expit(logit) + pair[1] * special.log_expit(-logit)
            below = np.prod([other.cdf(x) for other in others])
            return np.exp(log_density - special.betaln(*pair)) * below

        expected = sum(
            integrate.quad(integrand, left, left + 20, epsabs=1e-9, limit=500)[0]
            for left in range(-300, 300, 20)
        )
        assert result.probability[index] == pytest.approx(expected, abs=1e-7)


def test_normal_arms_agree_with_adaptive_quadrature():
    location, scale, degrees = [0.0, 0.5, -3.0], [1.0, 0.01, 40.0], [3.0, 900.0, 5.0]
    arms = [stats.t(*arm) for arm in zip(degrees, location, scale, strict=True)]

    result = best(NormalPosterior(*map(np.array, (location, scale, degrees))))

    for index, arm in enumerate(arms):
        others = [other for other in arms if other is not arm]
        expected, _ = integrate.quad(
            lambda u, arm=arm, others=others: np.prod([o.cdf(arm.ppf(u)) for o in others]),
            0,
            1,
            epsabs=1e-10,
            limit=2_000,
            points=[float(arm.cdf(0.46)), float(arm.cdf(0.54))],
        )
        assert result.probability[index] == pytest.approx(expected, abs=1e-6)


def test_two_equal_normals_have_the_known_expected_maximum():
    """E max of two standard normals is 1 / sqrt(pi)."""
    arms = NormalPosterior(np.zeros(2), np.ones(2), np.full(2, 1e9))

    assert best(arms).expected_loss == pytest.approx([1 / np.sqrt(np.pi)] * 2, abs=1e-7)


def test_agrees_with_bayesian_testing():
    """Printed by `bayesian-testing` 0.10.0, BinaryDataTest, 4,000,000 simulations, seed 52."""
    arms = BetaPosterior.observed([50, 75, 40], [950, 1_125, 860], prior_alpha=0.5, prior_beta=0.5)

    result = best(arms)

    assert result.probability == pytest.approx([0.0982398, 0.8740818, 0.0276785], abs=1e-3)
    assert result.expected_loss == pytest.approx([0.0130091, 0.0006, 0.0185162], abs=2e-5)


@pytest.mark.parametrize("n_arms", [2, 3, 80, 256])
@pytest.mark.parametrize("pair", [(1, 1), (0.01, 0.01), (1e6, 1e8), (2, 1e9)])
def test_identical_arms_share_equally(n_arms, pair):
    result = best(betas(*[pair] * n_arms))

    assert result.probability == pytest.approx(np.full(n_arms, 1 / n_arms), abs=1e-12)
    assert np.ptp(result.expected_loss) == pytest.approx(0.0, abs=1e-12)


def test_two_best_of_three_share_when_the_third_is_hopeless():
    result = best(betas((900, 100), (900, 100), (1, 10_000)))

    assert result.probability == pytest.approx([0.5, 0.5, 0.0], abs=1e-12)
    assert result.expected_loss[2] == pytest.approx(0.9, abs=0.02)


def test_single_arm_is_best():
    result = best(betas((3, 4)))

    assert result.probability.tolist() == [1.0]
    assert result.expected_loss == pytest.approx([0.0], abs=1e-9)


def test_expected_loss_keeps_its_digits_far_from_zero():
    """Two means near a million with the scale 1: the loss is 1 / sqrt(pi) still."""
    arms = NormalPosterior(np.full(2, 1e6), np.ones(2), np.full(2, 1e9))

    assert best(arms).expected_loss == pytest.approx([1 / np.sqrt(np.pi)] * 2, abs=1e-7)


pairs = st.lists(st.tuples(st.floats(0.05, 1e7), st.floats(0.05, 1e7)), min_size=2, max_size=6)


@settings(max_examples=60)
@given(pairs, st.randoms(use_true_random=False))
def test_order_of_the_arms_does_not_matter(arms, random):
    order = list(range(len(arms)))
    random.shuffle(order)

    plain, shuffled = best(betas(*arms)), best(betas(*[arms[index] for index in order]))

    assert shuffled.probability == pytest.approx(plain.probability[order], abs=1e-9)
    assert shuffled.expected_loss == pytest.approx(plain.expected_loss[order], abs=1e-9)


@settings(max_examples=60)
@given(pairs)
def test_probabilities_sum_to_one_and_losses_are_not_negative(arms):
    result = best(betas(*arms))

    assert result.probability.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.all(result.probability >= 0.0)
    assert np.all(result.expected_loss >= 0.0)


@settings(max_examples=60)
@given(pairs, st.floats(1.0, 1e4))
def test_more_successes_make_an_arm_more_likely_the_best(arms, successes):
    (alpha, beta), *others = arms

    before = best(betas((alpha, beta), *others)).probability[0]
    after = best(betas((alpha + successes, beta), *others)).probability[0]

    assert after >= before - 1e-9


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0.5, 1e7), st.floats(0.5, 1e7)), min_size=2, max_size=2))
def test_two_arms_of_any_size_agree_with_the_distribution_functions(arms):
    """An independent route: P(a > b) = E F_b(a) over 20,001 even quantiles of a, error 1e-4."""
    a, b = arms
    quantiles = special.betaincinv(*a, (np.arange(20_001) + 0.5) / 20_001)

    expected = special.betainc(*b, quantiles).mean()

    assert best(betas(a, b)).probability[0] == pytest.approx(expected, abs=2e-3)


def test_same_bits_every_time():
    arms = betas(*[(index + 1.5, 3_000 - 7 * index) for index in range(40)])

    first, second = best(arms), best(arms)

    assert first.probability.tobytes() == second.probability.tobytes()
    assert first.expected_loss.tobytes() == second.expected_loss.tobytes()
