import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from streams.model.errors import InvalidParameterError
from streams.stats.bayes.best import best
from streams.stats.posteriors.base import Posteriors
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.posteriors.normal import NormalPosterior, NormalPrior
from streams.stats.posteriors.revenue import RevenuePosterior
from streams.stats.sample import Sample


def sampled(values, without):
    values = np.asarray(values, dtype=float)
    everyone = np.concatenate((values, np.zeros(without)))
    return Sample(
        len(everyone),
        len(values),
        values.sum(),
        ((everyone - everyone.mean()) ** 2).sum() if len(everyone) else 0.0,
        ((values - values.mean()) ** 2).sum() if len(values) else 0.0,
    )


ARMS = [sampled([20, 50, 90, 30], 96), sampled([40, 40, 75, 10, 60, 35], 144), sampled([], 30)]


def test_mean_and_variance_are_those_of_share_times_value():
    """Exact moments of independent Beta and t variables, against the moments by quadrature."""
    prior = NormalPrior(mean=45.0, variance=600.0)
    arms = RevenuePosterior.observed(ARMS, prior_alpha=1, prior_beta=20, prior=prior)
    shares = BetaPosterior.observed([4, 6, 0], [96, 144, 30], prior_alpha=1, prior_beta=20)
    values = NormalPosterior.observed(
        [4, 6, 0], [190, 260, 0], [s.value_squared_deviations for s in ARMS], prior=prior
    )

    for index in range(3):
        share = stats.beta(shares.alpha[index], shares.beta[index])
        value = stats.t(values.degrees[index], values.location[index], values.scale[index])
        second = (share.var() + share.mean() ** 2) * (value.var() + value.mean() ** 2)
        # Over the coordinate, with steps of 0.003: the rule converges faster than any power.
        points = np.linspace(arms.support()[0][index], arms.support()[1][index], 20_001)
        masses = arms.density(points)[index] * (points[1] - points[0])
        assert masses.sum() == pytest.approx(1.0, abs=1e-9)
        assert arms.means[index] == pytest.approx(share.mean() * value.mean(), rel=1e-12)
        assert (masses * np.exp(points)).sum() == pytest.approx(arms.means[index], rel=1e-6)
        if value.args[0] > 4:  # with 3 degrees the square has a tail beyond the support
            assert (masses * np.exp(2 * points)).sum() == pytest.approx(second, rel=1e-3)


def test_shape_is_exact_for_rare_gamma_values_of_known_spread():
    """A Gamma share over a Gamma variable is a scaled beta-prime variable."""
    arms = RevenuePosterior(BetaPosterior(np.array([7.0]), np.array([12.0])), np.array([0.5]))
    reference = stats.betaprime(7, 12, scale=np.exp(0.5))
    points = reference.ppf([0.01, 0.3, 0.9])

    assert arms.density(np.log(points))[0] == pytest.approx(reference.pdf(points) * points)
    assert arms.quantiles(0.9)[0] == pytest.approx(reference.ppf(0.9))
    assert arms.means[0] == pytest.approx(reference.mean())
    assert arms.values(arms.coordinates(points)) == pytest.approx(points)


def test_agrees_with_bayesian_testing():
    """Printed by `bayesian-testing` 0.10.0, DeltaNormalDataTest, 4,000,000 simulations, seed 52.

    Its posterior is Beta times t, simulated; ours has the same mean and variance, and another
    shape between: probabilities are 0.01 apart and interval ends 0.05, of a width of 1.5. The
    means it prints are 51 / 1,001 * 50 and so on, where a Beta(51, 951) variable has 51 / 1,002.
    """
    arms = RevenuePosterior.observed(
        [
            Sample(1_000, 50, 2_500, 0, 150_000 - 2_500**2 / 50),
            Sample(1_200, 75, 3_600, 0, 210_000 - 3_600**2 / 75),
            Sample(900, 40, 2_300, 0, 160_000 - 2_300**2 / 40),
        ],
        prior_alpha=1,
        prior_beta=1,
        prior=NormalPrior(mean=50.0, variance=1_000.0, units=1.0, degrees=3.0),
    )

    result = best(arms)

    assert arms.means == pytest.approx([2.54745, 3.03913, 2.60821], abs=4e-3)
    assert result.probability == pytest.approx([0.1361645, 0.6718982, 0.1919372], abs=0.01)
    assert result.expected_loss == pytest.approx([0.6084068, 0.1161578, 0.5478488], abs=0.01)
    assert arms.quantiles(0.025) == pytest.approx([1.8494403, 2.3484756, 1.8155642], abs=0.05)
    assert arms.quantiles(0.975) == pytest.approx([3.3582296, 3.8204009, 3.5493918], abs=0.05)


def test_purchases_of_another_arm_move_no_mean():
    """4 buyers of 100 spend 190: half a buyer more and half a unit without, at 47.5 each.

    With the mean of all buyers for a prior, one of a million moved 0.52 to 10.3.
    """
    alone = RevenuePosterior.observed(ARMS[:1])

    assert alone.means == pytest.approx([4.5 / 101 * 47.5])
    for other in (sampled([1_000_000], 0), sampled([], 100_000), sampled([0.01] * 50, 9)):
        beside = RevenuePosterior.observed([ARMS[0], other])
        assert beside.means[0] == alone.means[0]
        assert beside.quantiles(0.025)[0] == alone.quantiles(0.025)[0]
        assert beside.quantiles(0.975)[0] == alone.quantiles(0.975)[0]


def test_one_amount_has_an_interval_above_zero():
    """Half a buyer more of both kinds: 50 * 1.5 / 2; read as continuous it was -109 to 209."""
    arm = RevenuePosterior.observed([sampled([50], 0)])

    assert arm.means == pytest.approx([37.5])
    assert 0.0 < arm.quantiles(0.025)[0] < 10.0
    assert 100.0 < arm.quantiles(0.975)[0] < 500.0


def test_amounts_of_zero_say_nothing_of_what_is_paid():
    arms = RevenuePosterior.observed([sampled([0, 0], 8), ARMS[0]])

    assert arms.means[0] == pytest.approx(2.5 / 11 * 47.5)


def test_an_arm_without_a_unit_is_one_buyer_at_the_share_and_value_of_all():
    """10 buyers of 280: one more in 28; values 45 on average."""
    no_units = RevenuePosterior.observed([*ARMS, Sample(0, 0, 0, 0, 0)]).means[3]

    assert no_units == pytest.approx(10 / 280 * 45)


def test_intervals_of_few_skewed_purchases_hold_better_than_those_of_t():
    """10 log-normal purchases (sigma 1) by 2 % of the units: 90.0 % against 83.7 %, measured.

    600 samples of both: the difference has a standard error of 0.011, so less than 0.03 has the
    probability 4e-4, and less than 86.5 % one of 6e-4.
    """
    rng = np.random.default_rng(19)
    truth, covered = 0.02 * np.exp(0.5), np.zeros(2)
    for _ in range(300):
        arms = []
        for _ in range(2):
            values = rng.lognormal(0.0, 1.0, rng.binomial(500, 0.02))
            arms.append(sampled(values, 500 - len(values)))
        plain = NormalPosterior.observed(
            [arm.units for arm in arms],
            [arm.total for arm in arms],
            [arm.squared_deviations for arm in arms],
        )
        both: list[Posteriors] = [RevenuePosterior.observed(arms), plain]
        for index, arm in enumerate(both):
            covered[index] += (
                (arm.quantiles(0.025) <= truth) & (truth <= arm.quantiles(0.975))
            ).sum()
    revenue, plain_t = covered / 600

    assert revenue >= 0.865
    assert revenue - plain_t >= 0.03


amounts = st.lists(st.integers(1, 10_000), max_size=6)


@settings(max_examples=50, deadline=None)
@given(st.lists(amounts, min_size=2, max_size=4), st.sampled_from([1e-3, 7.0, 1e4]))
def test_currency_changes_no_probability(parts, factor):
    arms = [sampled(part, 20) for part in parts]
    scaled = [sampled([amount * factor for amount in part], 20) for part in parts]

    if any(len(part) for part in parts):
        assert best(RevenuePosterior.observed(scaled)).probability == pytest.approx(
            best(RevenuePosterior.observed(arms)).probability, abs=1e-6
        )


@settings(max_examples=50, deadline=None)
@given(st.lists(amounts, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_order_of_the_arms_does_not_matter(parts, random):
    order = list(range(len(parts)))
    random.shuffle(order)
    arms = [sampled(part, 20) for part in parts]

    plain = best(RevenuePosterior.observed(arms)).probability
    shuffled = best(RevenuePosterior.observed([arms[index] for index in order])).probability

    assert shuffled == pytest.approx(plain[order], abs=1e-8)


def test_nothing_seen_leaves_arms_level():
    nothing = [Sample(0, 0, 0, 0, 0)] * 3

    assert best(RevenuePosterior.observed(nothing)).probability == pytest.approx([1 / 3] * 3)


def test_negative_totals_are_no_revenue():
    with pytest.raises(InvalidParameterError):
        RevenuePosterior.observed([Sample(9, 2, -5, 3, 3), Sample(9, 2, 1, 3, 3)])


@pytest.mark.parametrize(("beta", "log_scale"), [(2.0, 0.0), (3.0, np.inf)])
def test_parameters_outside_their_domain_are_refused(beta, log_scale):
    with pytest.raises(InvalidParameterError):
        RevenuePosterior(BetaPosterior(np.ones(1), np.array([beta])), np.array([log_scale]))
