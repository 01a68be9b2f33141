import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from streams.model.errors import InvalidParameterError
from streams.stats.bayes.best import best
from streams.stats.posteriors.mirrored import mirrored
from streams.stats.posteriors.normal import NormalPosterior, NormalPrior


def observed(*samples):
    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    return NormalPosterior.observed(
        [len(sample) for sample in arrays],
        [sample.sum() for sample in arrays],
        [((sample - sample.mean()) ** 2).sum() if len(sample) else 0.0 for sample in arrays],
    )


def test_two_units_worked_by_hand():
    """Values 1 and 3: mean 2, variance 2, three degrees at least."""
    arm = observed([1, 3])

    assert (arm.location.tolist(), arm.degrees.tolist()) == ([2.0], [3.0])
    assert arm.scale == pytest.approx([1.0])


def test_values_of_another_arm_move_no_mean_and_no_width():
    """Arms at 0.52 and at a million; before, the mean of both was every arm's prior."""
    control = [0.5, 0.54, 0.51, 0.53]
    alone = observed(control)

    for others in ([], [1e6], [1e6, -3.0]):
        beside = observed(control, others)
        for name in ("location", "scale", "degrees"):
            assert getattr(beside, name)[0] == getattr(alone, name)[0]
    assert observed([0], [6]).means.tolist() == [0.0, 6.0]
    assert observed([6.0] * 3, [1e6]).scale[0] == observed([6.0] * 3).scale[0]


@pytest.mark.parametrize("n", [4, 7, 30])
def test_intervals_are_those_of_the_t_test(n):
    sample = np.random.default_rng(n).normal(10.0, 2.0, n)
    arm = observed(sample, [1e9])

    expected = stats.ttest_1samp(sample, 0.0).confidence_interval(0.95)
    assert [arm.quantiles(0.025)[0], arm.quantiles(0.975)[0]] == pytest.approx([*expected])


def test_density_and_quantiles_are_those_of_student_t():
    arms = NormalPosterior(np.array([1.0, -3.0]), np.array([0.5, 2.0]), np.array([3.0, 1e7]))
    points = np.array([-4.0, 0.0, 1.3])

    for index in range(2):
        reference = stats.t(arms.degrees[index], arms.location[index], arms.scale[index])
        assert arms.density(points)[index] == pytest.approx(reference.pdf(points), rel=1e-7)
        assert arms.quantiles(0.975)[index] == pytest.approx(reference.ppf(0.975), rel=1e-9)
        assert reference.cdf(arms.support()[0][index]) < 1e-12


def test_nothing_is_known_without_units():
    arms = observed([], [], [])

    assert arms.means.tolist() == [0.0, 0.0, 0.0]
    assert best(arms).probability == pytest.approx([1 / 3] * 3, abs=1e-12)


def test_equal_values_give_a_proper_and_certain_posterior():
    arms = observed([5.0] * 100, [5.0] * 100, [6.0] * 100)

    assert np.all(arms.scale > 0.0)
    assert best(arms).probability[2] > 0.999


def test_constant_values_everywhere_leave_no_winner():
    assert best(observed([7.0] * 50, [7.0] * 50)).probability == pytest.approx([0.5, 0.5])


def test_posterior_approaches_the_t_interval_of_the_sample():
    sample = np.random.default_rng(3).normal(10.0, 2.0, 5_000)
    arm = observed(sample)

    interval = stats.t.interval(0.95, 4_999, sample.mean(), sample.std(ddof=1) / np.sqrt(5_000))
    assert [arm.quantiles(0.025)[0], arm.quantiles(0.975)[0]] == pytest.approx(interval, abs=1e-4)


samples = st.lists(st.integers(-100, 100), max_size=6)


@given(st.lists(samples, min_size=2, max_size=4), st.sampled_from([1e-3, 7.0, 1e6]))
def test_unit_of_measurement_changes_no_probability(arms, factor):
    """Down to the smallest variance, which is one of the measurement and not of the data."""
    spread = np.ptp([value for arm in arms for value in arm] or [0])
    scaled = [[value * factor for value in arm] for arm in arms]

    if spread:
        assert best(observed(*scaled)).probability == pytest.approx(
            best(observed(*arms)).probability, abs=1e-7
        )


@pytest.mark.parametrize(
    ("location", "scale", "degrees", "name"),
    [
        (float("nan"), 1, 3, "location"),
        (0, 0, 3, "scale"),
        (0, float("inf"), 3, "scale"),
        (0, 1, 2, "degrees"),
    ],
)
def test_parameters_outside_their_domain_are_refused(location, scale, degrees, name):
    with pytest.raises(InvalidParameterError) as caught:
        NormalPosterior(*(np.array([float(value)]) for value in (location, scale, degrees)))

    assert caught.value.path == name


@pytest.mark.parametrize(("units", "deviations"), [([-1], [0]), ([1], [-1])])
def test_negative_sums_are_refused(units, deviations):
    with pytest.raises(InvalidParameterError):
        NormalPosterior.observed(units, [0], deviations)


def test_one_unit_does_not_make_the_next_one_certain():
    """One value of 50: prior variance 50**2, so the 95 % interval of its mean is wide."""
    posteriors = NormalPosterior.observed([1, 0], [50, 0], [0, 0])
    lower, upper = posteriors.quantiles(0.025), posteriors.quantiles(0.975)

    assert lower[0] < 10
    assert upper[0] > 90
    assert lower[1] < lower[0]  # and less is known of a variant without units
    assert upper[1] > upper[0]


def test_equal_zeros_have_the_variance_of_nothing_seen():
    assert NormalPosterior.observed([2, 1], [0, 0], [0, 0]).scale[1] > 0.1


def test_update_with_a_stated_prior_worked_by_hand():
    """Murphy (2007), 85 to 89: mean 0 worth 1 unit, variance 2 worth 4; values 1, 2, 3 seen.

    The mean is 6 / 4; 4 units, 7 degrees; sum of squares 4 * 2 + 2 + 3 * 1 / 4 * 2**2 = 13.
    """
    prior = NormalPrior(mean=0.0, variance=2.0, units=1.0, degrees=4.0)

    arm = NormalPosterior.observed([3], [6], [2], prior=prior)

    assert arm.location.tolist() == [1.5]
    assert arm.degrees.tolist() == [7.0]
    assert arm.scale == pytest.approx([np.sqrt(13 / 7 / 4)])


def test_marginal_of_the_mean_is_that_of_normal_inverse_gamma():
    """The mean integrated over the variance, by quadrature: Student t to 1e-8."""
    prior = NormalPrior(mean=1.0, variance=3.0, units=2.0, degrees=5.0)
    arm = NormalPosterior.observed([4], [9], [6], prior=prior)
    shape, scale = (5 + 4) / 2, (5 * 3 + 6 + 4 * 2 / 6 * (9 / 4 - 1) ** 2) / 2
    points = np.array([0.3, 1.5, 2.0, 4.0])

    for point, density in zip(points, arm.density(points)[0], strict=True):
        expected, _ = integrate.quad(
            lambda v, x=point: (
                stats.invgamma(shape, scale=scale).pdf(v)
                * stats.norm((2 * 1 + 9) / 6, np.sqrt(v / 6)).pdf(x)
            ),
            0,
            np.inf,
        )
        assert density == pytest.approx(expected, abs=1e-8)


def test_without_values_the_posterior_is_the_stated_prior():
    arm = NormalPosterior.observed([0], [0], [0], prior=NormalPrior(5.0, 4.0, units=4.0))

    assert (arm.location[0], arm.scale[0], arm.degrees[0]) == (5.0, 1.0, 3.0)


def test_agrees_with_bayesian_testing():
    """Printed by `bayesian-testing` 0.10.0, NormalDataTest, 4,000,000 simulations, seed 52.

    Its prior `m_prior=10, a_prior_ig=1.5, b_prior_ig=7.5, w_prior=1` has 3 degrees of freedom.
    """
    arms = NormalPosterior.observed(
        [100, 60, 25],
        [1_020, 640, 290],
        [10_804 - 1_020**2 / 100, 7_200 - 640**2 / 60, 3_600 - 290**2 / 25],
        prior=NormalPrior(mean=10.0, variance=5.0, units=1.0, degrees=3.0),
    )

    most, least = best(arms), best(mirrored(arms))

    assert arms.means == pytest.approx([10.19802, 10.65574, 11.53846], abs=1e-5)
    assert arms.quantiles(0.025) == pytest.approx([9.8022352, 10.0197411, 10.329114], abs=2e-3)
    assert most.probability == pytest.approx([0.0039765, 0.09716, 0.8988635], abs=1e-3)
    assert most.expected_loss == pytest.approx([1.3744723, 0.9170518, 0.0342106], abs=2e-3)
    assert least.probability == pytest.approx([0.8700638, 0.1120375, 0.0178988], abs=1e-3)
    assert least.expected_loss == pytest.approx([0.026123, 0.4835435, 1.3663847], abs=2e-3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("mean", float("nan")), ("variance", 0.0), ("units", 0.0), ("degrees", 2.0)],
)
def test_priors_outside_their_domain_are_refused(name, value):
    with pytest.raises(InvalidParameterError) as caught:
        NormalPrior(**{"mean": 0.0, "variance": 1.0, name: value})

    assert caught.value.path == name
