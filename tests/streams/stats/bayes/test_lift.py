import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from streams.model.errors import InvalidParameterError
from streams.stats.bayes.best import best
from streams.stats.bayes.lift import Lift, _Lines, _Pairs, lifts_vs_control
from streams.stats.direction import Direction
from streams.stats.numerics.tabulated import TabulatedPosteriors
from streams.stats.posteriors.base import Posteriors
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.posteriors.gamma import GammaPosterior
from streams.stats.posteriors.mirrored import oriented
from streams.stats.posteriors.normal import NormalPosterior
from tests.streams.stats.single_metric import lift_vs_control

NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)
LEVELS = np.concatenate(
    (
        [1e-15],
        np.logspace(-14, -2, 150),
        np.linspace(0.01, 0.99, 800)[1:-1],
        1 - np.logspace(-2, -14, 150),
    )
)


def below(arm, control, scale, shift):
    """P(arm <= scale * control + shift), by 8 nodes between every two of 2,200 quantiles.

    Another route to the same number: closed-form distribution functions, panels from both arms.
    """
    values = control.ppf(LEVELS)
    crossings = (arm.ppf(LEVELS) - shift) / scale
    inside = crossings[(crossings > values[0]) & (crossings < values[-1])]
    edges = np.unique(np.concatenate((values, inside)))
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    points = middle[:, None] + half[:, None] * NODES
    masses = half[:, None] * WEIGHTS * control.pdf(points)
    return float((masses * arm.cdf(scale * points + shift)).sum())


def betas(a, b):
    arms = BetaPosterior(*(np.array(pair, dtype=float) for pair in zip(a, b, strict=True)))
    return arms, stats.beta(*a), stats.beta(*b)


def gammas(a, b):
    arms = GammaPosterior(*(np.array(pair, dtype=float) for pair in zip(a, b, strict=True)))
    return arms, stats.gamma(a[0], scale=1 / a[1]), stats.gamma(b[0], scale=1 / b[1])


def students(a, b):
    arms = NormalPosterior(*(np.array(pair, dtype=float) for pair in zip(a, b, strict=True)))
    return arms, stats.t(a[2], a[0], a[1]), stats.t(b[2], b[0], b[1])


CASES = [
    betas((11, 91), (16, 86)),
    betas((1, 1), (1, 1)),
    betas((1, 100), (2, 100)),
    betas((0.5, 1_000), (5, 1_000)),
    betas((1, 20), (50, 950)),
    betas((50, 950), (1, 20)),
    betas((2, 1e4), (5e5, 1e8)),
    betas((500, 3), (1, 1)),
    betas((101_362, 73.3), (10_942, 3_216)),  # narrower in logarithms, and wider in logits
    betas((4_088, 5.1), (463_913, 0.7)),
    betas((1e6, 1e8), (1.01e6, 1e8)),
    gammas((1, 1), (1, 1)),
    gammas((0.5, 1), (3, 2)),
    gammas((1e4, 1e3), (3, 1)),
    gammas((29.138, 0.8974), (0.699, 0.1617)),  # as wide as the other, and in logarithms a tenth
    students((10, 1, 30), (11, 2, 50)),
    students((10, 0.01, 300), (11, 2, 5)),
    students((10, 0.3, 3), (11, 0.1, 3)),
    students((10, 1, 1e5), (0, 3, 1e4)),
    students((1e6, 1, 1e4), (1e6 + 1, 1, 1e4)),
]


@pytest.mark.parametrize(("arms", "control", "arm"), CASES)
def test_every_probability_agrees_with_quadrature_over_closed_forms(arms, control, arm):
    """Ends of the intervals are checked as probabilities: 2.5 % must lie outside, to 3e-6."""
    result = lift_vs_control(arms, 0)

    assert result.probability_better[1] == pytest.approx(1 - below(arm, control, 1, 0), abs=1e-6)
    for end, level in ((result.difference_lower, 0.025), (result.difference_upper, 0.975)):
        assert below(arm, control, 1.0, end[1]) == pytest.approx(level, abs=3e-6)
    for end, level in ((result.relative_lower, 0.025), (result.relative_upper, 0.975)):
        assert below(arm, control, 1.0 + end[1], 0.0) == pytest.approx(level, abs=3e-6)


def test_two_uniform_arms_worked_by_hand():
    """The difference is triangular, P(d <= -x) = (1 - x)^2 / 2; the ratio has P(r <= x) = x / 2."""
    result = lift_vs_control(betas((1, 1), (1, 1))[0], 0)

    assert result.probability_better[1] == pytest.approx(0.5, abs=1e-9)
    assert result.expected_loss[1] == pytest.approx(1 / 6, abs=1e-7)
    assert result.difference_lower[1] == pytest.approx(np.sqrt(0.05) - 1, abs=1e-5)
    assert result.difference_upper[1] == pytest.approx(1 - np.sqrt(0.05), abs=1e-5)
    assert result.relative_lower[1] == pytest.approx(0.05 - 1, abs=1e-5)
    assert result.relative_upper[1] == pytest.approx(1 / 0.05 - 1, rel=1e-4)


@pytest.mark.parametrize(
    "pairs", [[(11, 91), (16, 86)], [(1_000, 9_000), (1_050, 8_950)], [(2, 10_000), (5, 10_000)]]
)
def test_losses_agree_with_the_closed_form(pairs):
    """E (a - b)+ = m_a P(a' > b) - m_b P(a > b'), primes with one success more.

    Source: Miller (2015), "Formulas for Bayesian A/B Testing", equation 6, for P.
    """

    def beats(a, b):
        i = np.arange(b[0])
        return float(
            np.exp(
                special.betaln(a[0] + i, a[1] + b[1])
                - np.log(b[1] + i)
                - special.betaln(1 + i, b[1])
                - special.betaln(*a)
            ).sum()
        )

    a, b = pairs
    loss = a[0] / sum(a) * beats(b, (a[0] + 1, a[1])) - b[0] / sum(b) * beats((b[0] + 1, b[1]), a)

    result = lift_vs_control(betas(a, b)[0], 0)

    assert result.probability_better[1] == pytest.approx(beats(a, b), abs=1e-7)
    assert result.expected_loss[1] == pytest.approx(loss, abs=1e-8)


@pytest.mark.parametrize("direction", Direction)
def test_two_arms_agree_with_best(direction):
    arms = GammaPosterior.observed([30, 41], [100, 110])

    result, expected = (
        lift_vs_control(arms, 0, direction=direction),
        best(oriented(arms, direction)),
    )

    assert result.probability_better[1] == pytest.approx(expected.probability[1], abs=1e-7)
    assert result.expected_loss[1] == pytest.approx(expected.expected_loss[1], abs=1e-8)


def test_agrees_with_gbstats_on_proportions():
    """Printed by `gbstats` 0.8.0, whose posteriors are normal: 1,000 of 20,000, 1,120 of 21,000.

    `EffectBayesianABTest(ProportionStatistic, ProportionStatistic, difference_type="absolute")`;
    the second risk is that of the treatment. At these sizes normal and Beta are 1e-3 apart.
    """
    arms = BetaPosterior.observed([1_000, 1_120], [19_000, 19_880])

    more, less = lift_vs_control(arms, 0), lift_vs_control(arms, 0, direction=Direction.DECREASE)

    assert more.probability_better[1] == pytest.approx(0.9363397, abs=1e-3)
    assert more.difference[1] == pytest.approx(0.0033333, abs=1e-5)
    assert more.difference_lower[1] == pytest.approx(-0.00095143, abs=1e-5)
    assert more.difference_upper[1] == pytest.approx(0.00761810, abs=1e-5)
    assert more.expected_loss[1] == pytest.approx(6.053934e-05, rel=0.01)
    assert less.probability_better[1] == pytest.approx(0.0636603, abs=1e-3)
    assert less.expected_loss[1] == pytest.approx(0.00339387, rel=0.01)


def test_agrees_with_gbstats_on_means():
    """Printed by `gbstats` 0.8.0, SampleMeanStatistic; it has no prior and normal posteriors."""
    arms = NormalPosterior.observed(
        [5_000, 5_100],
        [50_500, 52_000],
        [560_000 - 50_500**2 / 5_000, 580_000 - 52_000**2 / 5_100],
    )

    more, less = lift_vs_control(arms, 0), lift_vs_control(arms, 0, direction=Direction.DECREASE)

    assert more.probability_better[1] == pytest.approx(0.9377082, abs=1e-3)
    assert more.difference[1] == pytest.approx(0.0960784, abs=1e-4)
    assert more.difference_lower[1] == pytest.approx(-0.0265341, abs=2e-4)
    assert more.difference_upper[1] == pytest.approx(0.2186910, abs=2e-4)
    assert more.expected_loss[1] == pytest.approx(0.00168881, rel=0.01)
    assert less.expected_loss[1] == pytest.approx(0.0977672, rel=0.01)
    # Its relative interval is by the delta method, ours is that of the ratio.
    assert more.relative_lower[1] == pytest.approx(-0.0026862, abs=1e-4)
    assert more.relative_upper[1] == pytest.approx(0.0217117, abs=1e-4)


def test_control_is_level_with_itself():
    result = lift_vs_control(BetaPosterior.observed([5, 9, 7], [95, 91, 93]), 1)

    assert result.probability_better[1] == 0.5
    rest = (
        result.expected_loss,
        result.difference,
        result.difference_lower,
        result.difference_upper,
        result.relative,
        result.relative_lower,
        result.relative_upper,
    )
    assert [column[1] for column in rest] == [0.0] * 7


def test_nothing_is_said_in_per_cent_of_a_control_that_may_be_zero():
    arms = NormalPosterior(np.array([0.5, 2.0]), np.array([1.0, 1.0]), np.array([30.0, 30.0]))

    result = lift_vs_control(arms, 0)

    assert np.isnan([result.relative, result.relative_lower, result.relative_upper]).all()
    assert result.difference[1] == 1.5
    assert np.isfinite(result.difference_lower[1])


def test_line_that_does_not_rise_asks_for_the_arm_alone():
    """P(arm <= 0 * control + d) is the arm's distribution function, and 0 or 1 beyond it."""
    arms, _, arm = students((10, 1, 30), (11, 2, 50))
    pairs = _Pairs(TabulatedPosteriors.of(arms), 0)
    shifts = np.array([-1e9, 10.0, 1e9])

    zeros, ones = np.zeros(3, dtype=int), np.ones(3, dtype=int)

    found = pairs._outer_below(_Lines(zeros, ones, np.zeros(3), shifts))

    assert found == pytest.approx(arm.cdf(shifts), abs=1e-6)


def test_rates_that_are_almost_surely_almost_zero_have_intervals():
    """Quartiles of 1e-300: no machine number differs from 0 by them, and no digit is promised."""
    result = lift_vs_control(betas((0.001, 1e9), (0.001, 1e9))[0], 0)

    assert 0.0 < result.probability_better[1] < 1.0
    assert -1e-9 < result.difference_lower[1] <= 0.0 <= result.difference_upper[1] < 1e-9


def test_single_arm_has_nothing_to_be_compared_with():
    assert lift_vs_control(BetaPosterior.observed([5], [9]), 0).probability_better.tolist() == [0.5]


METRICS: list[Posteriors] = [
    BetaPosterior.observed([5, 90, 71], [95, 910, 830]),
    GammaPosterior.observed([300, 41, 280], [1_000, 110, 900]),
    NormalPosterior.observed([300, 410, 280], [900, 1_210, 800], [2_500, 3_300, 2_400]),
    NormalPosterior(np.array([0.1, 0.2, 0.3]), np.ones(3), np.full(3, 30.0)),  # without a ratio
    BetaPosterior(np.array([0.5, 3.0, 2.0]), np.array([1_000.0, 1_000.0, 1_000.0])),  # corners
    BetaPosterior.observed([500, 900, 710], [950, 910, 830]),
]


def test_several_metrics_at_once_have_what_each_has_alone():
    """Their grids may be finer in company, so digits beyond the stated error may differ."""
    directions = [Direction.INCREASE, Direction.DECREASE] * 3

    together = lifts_vs_control(TabulatedPosteriors.of(*METRICS), 1, directions=directions)

    for found, posteriors, direction in zip(together, METRICS, directions, strict=True):
        alone = lift_vs_control(posteriors, 1, direction=direction)
        assert found.probability_better == pytest.approx(alone.probability_better, abs=3e-6)
        for name in Lift.__slots__[1:]:
            scale = alone.difference_upper.max() - alone.difference_lower.min()
            if name.startswith("relative"):
                scale /= abs(posteriors.means[1])
            expected = getattr(alone, name)
            assert getattr(found, name) == pytest.approx(expected, abs=1e-4 * scale, nan_ok=True)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(len(METRICS))))
def test_order_of_the_metrics_does_not_matter_to_the_bit(order):
    directions = [Direction.INCREASE] * len(METRICS)

    plain, permuted = (
        lifts_vs_control(TabulatedPosteriors.of(*metrics), 0, directions=directions)
        for metrics in (METRICS, [METRICS[index] for index in order])
    )

    for found, index in zip(permuted, order, strict=True):
        for name in Lift.__slots__:
            assert getattr(found, name).tobytes() == getattr(plain[index], name).tobytes()


parameters = st.tuples(st.floats(0.5, 1e6), st.floats(0.5, 1e6))


@settings(max_examples=50, deadline=None)
@given(parameters, parameters, st.floats(0.5, 0.999))
def test_intervals_contain_what_they_say(a, b, level):
    arms, _, _ = betas(a, b)

    result = lift_vs_control(arms, 0, level=level)
    narrower = lift_vs_control(arms, 0, level=level - 0.1)

    assert result.difference_lower[1] <= narrower.difference_lower[1] + 1e-9
    assert result.difference_upper[1] >= narrower.difference_upper[1] - 1e-9
    assert result.relative_lower[1] >= -1.0
    # Difference and ratio are on the same side of the tie.
    below_tie = result.difference_upper[1] < 0.0
    assert below_tie == (result.relative_upper[1] < 0.0) or (abs(result.difference_upper[1]) < 1e-6)


@settings(max_examples=50, deadline=None)
@given(parameters, parameters)
def test_exchanging_arm_and_control_turns_all_round(a, b):
    arms, _, _ = betas(a, b)

    there, back = lift_vs_control(arms, 0), lift_vs_control(arms, 1)

    assert back.probability_better[0] == pytest.approx(1 - there.probability_better[1], abs=2e-6)
    width = there.difference_upper[1] - there.difference_lower[1]
    assert back.difference_lower[0] == pytest.approx(-there.difference_upper[1], abs=1e-4 * width)
    assert 1 + back.relative_lower[0] == pytest.approx(1 / (1 + there.relative_upper[1]), rel=1e-3)
    assert back.expected_loss[0] - there.expected_loss[1] == pytest.approx(
        there.difference[1], abs=1e-6
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(parameters, min_size=3, max_size=5), st.randoms(use_true_random=False))
def test_order_of_the_other_arms_does_not_matter(pairs, random):
    order = list(range(1, len(pairs)))
    random.shuffle(order)
    order.insert(0, 0)
    alpha, beta = (np.array(column) for column in zip(*pairs, strict=True))

    plain = lift_vs_control(BetaPosterior(alpha, beta), 0)
    shuffled = lift_vs_control(BetaPosterior(alpha[order], beta[order]), 0)

    assert shuffled.probability_better == pytest.approx(plain.probability_better[order], abs=1e-6)
    assert shuffled.difference_lower == pytest.approx(plain.difference_lower[order], abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(parameters, parameters, st.floats(1.0, 1e4))
def test_more_successes_make_an_arm_better(a, b, successes):
    before = lift_vs_control(betas(a, b)[0], 0)
    after = lift_vs_control(betas(a, (b[0] + successes, b[1]))[0], 0)

    assert after.probability_better[1] >= before.probability_better[1] - 1e-6


def test_same_bits_every_time():
    arms = BetaPosterior.observed([5, 9, 7], [95, 91, 93])

    first, second = lift_vs_control(arms, 0), lift_vs_control(arms, 0)

    assert first.difference_lower.tobytes() == second.difference_lower.tobytes()
    assert first.expected_loss.tobytes() == second.expected_loss.tobytes()


@pytest.mark.parametrize(("control", "level"), [(-1, 0.9), (2, 0.9), (0, 0.0), (0, 1.0)])
def test_what_cannot_be_is_refused(control, level):
    with pytest.raises(InvalidParameterError):
        lift_vs_control(BetaPosterior.observed([5, 9], [95, 91]), control, level=level)
