import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from streams.model.errors import InvalidParameterError
from streams.stats.bayes.best import best
from streams.stats.posteriors.gamma import GammaPosterior
from streams.stats.posteriors.mirrored import mirrored


def gammas(*pairs):
    return GammaPosterior(*(np.array(column, dtype=float) for column in zip(*pairs, strict=True)))


def beats(a, b):
    """P(b > a) in closed form, for a whole shape of b.

    Source: Miller (2015), "Formulas for Bayesian A/B Testing", equation 18.
    """
    k = np.arange(b[0])
    terms = (
        k * np.log(b[1])
        + a[0] * np.log(a[1])
        - (k + a[0]) * np.log(a[1] + b[1])
        - np.log(k + a[0])
        - special.betaln(k + 1, a[0])
    )
    return float(np.exp(terms).sum())


def test_update_worked_by_hand():
    """Prior 2 events in 4 units; 7 in 10 seen: 9 in 14."""
    arm = GammaPosterior.observed([7], [10], prior_events=2, prior_units=4)

    assert (arm.shape[0], arm.rate[0]) == (9, 14)
    assert arm.means == pytest.approx([9 / 14])


def test_prior_unless_stated_is_half_an_event_in_no_unit():
    """Of a stated number of events, in as many units as they take in all arms: 30 in 60 units."""
    arms = GammaPosterior.observed([10, 20, 0], [30, 30, 0])

    assert (arms.shape.tolist(), arms.rate.tolist()) == ([10.5, 20.5, 1.0], [30.0, 30.0, 2.0])
    assert GammaPosterior.observed([0], [0]).means.tolist() == [1.0]
    assert GammaPosterior.observed([0], [5]).means.tolist() == [0.1]
    stated = GammaPosterior.observed([10, 20], [30, 30], prior_events=2.0)
    assert (stated.shape[0], stated.rate[0]) == (12.0, 34.0)


def test_events_of_another_arm_move_no_rate():
    alone = GammaPosterior.observed([10], [20])

    for events, units in ((0, 100_000), (10**6, 1)):
        beside = GammaPosterior.observed([10, events], [20, units])
        assert (beside.shape[0], beside.rate[0]) == (alone.shape[0], alone.rate[0])


def test_dispersion_takes_units_away():
    """Events in lumps of 5: 100 units with 50 events are worth 20 with 10."""
    lumps = GammaPosterior.observed([50], [100], prior_units=1, dispersion=5)
    plain = GammaPosterior.observed([10], [20], prior_units=1)

    assert (lumps.shape, lumps.rate) == (plain.shape, plain.rate)


@pytest.mark.parametrize(
    ("a", "b"),
    [((1, 1), (2, 1)), ((7, 40), (12, 41)), ((1_000, 900), (1_050, 905)), ((1, 1), (500, 3))],
)
def test_two_arms_agree_with_the_closed_form(a, b):
    """The loss of a is E (b - a)+ = m_b P(b' > a) - m_a P(b > a'), primes with one event more."""
    loss = b[0] / b[1] * beats(a, (b[0] + 1, b[1])) - a[0] / a[1] * beats((a[0] + 1, a[1]), b)

    result = best(gammas(a, b))

    assert result.probability[1] == pytest.approx(beats(a, b), abs=1e-9)
    assert result.expected_loss[0] == pytest.approx(loss, abs=1e-9 * b[0] / b[1])


@pytest.mark.parametrize("pair", [(0.01, 3.0), (0.5, 1e-3), (1.0, 1e6), (40.0, 7.0), (1e7, 1e9)])
def test_density_and_quantiles_are_those_of_scipy(pair):
    arm, reference = gammas(pair), stats.gamma(pair[0], scale=1 / pair[1])
    rates = reference.ppf([0.05, 0.3, 0.5, 0.9, 0.999])

    expected = reference.pdf(rates) * rates  # over the logarithm

    assert arm.density(np.log(rates))[0] == pytest.approx(expected, rel=1e-6)
    assert arm.quantiles(0.975)[0] == pytest.approx(reference.ppf(0.975), rel=1e-9)
    assert arm.coordinates(arm.values(np.log(rates))) == pytest.approx(np.log(rates))
    lower, upper = np.exp(np.concatenate(arm.support()))
    assert reference.cdf(lower) + reference.sf(upper) < 2e-12


def test_rates_below_zero_have_no_coordinate():
    assert gammas((1, 1)).coordinates(np.array([-1.0, 0.0, 1.0])).tolist() == [-np.inf, -np.inf, 0]


@pytest.mark.parametrize("n_arms", [2, 10, 256])
@pytest.mark.parametrize("pair", [(1, 1), (0.01, 0.01), (1e6, 1e8), (1e9, 2)])
def test_identical_arms_share_equally(n_arms, pair):
    result = best(gammas(*[pair] * n_arms))

    assert result.probability == pytest.approx(np.full(n_arms, 1 / n_arms), abs=1e-10)


def test_agrees_with_bayesian_testing():
    """Printed by `bayesian-testing` 0.10.0, PoissonDataTest, 4,000,000 simulations, seed 52."""
    arms = GammaPosterior.observed(
        [3_150, 1_510, 1_060], [1_000, 500, 340], prior_events=0.1, prior_units=0.1
    )

    most, least = best(arms), best(mirrored(arms))

    assert most.probability == pytest.approx([0.5826075, 0.05008, 0.3673125], abs=1e-3)
    assert most.expected_loss == pytest.approx([0.0318734, 0.1620635, 0.0646691], abs=2e-4)
    assert least.probability == pytest.approx([0.0520085, 0.7474452, 0.2005462], abs=1e-3)
    assert least.expected_loss == pytest.approx([0.1471065, 0.0169163, 0.1143107], abs=2e-4)
    assert arms.quantiles(0.025)[0] == pytest.approx(3.0407153, abs=2e-4)
    assert arms.quantiles(0.975)[0] == pytest.approx(3.2607904, abs=2e-4)


arms_strategy = st.lists(
    st.tuples(st.floats(0.05, 1e7), st.floats(0.05, 1e7)), min_size=2, max_size=6
)


@settings(max_examples=60)
@given(arms_strategy, st.randoms(use_true_random=False))
def test_order_of_the_arms_does_not_matter(arms, random):
    order = list(range(len(arms)))
    random.shuffle(order)

    plain, shuffled = best(gammas(*arms)), best(gammas(*[arms[index] for index in order]))

    assert shuffled.probability == pytest.approx(plain.probability[order], abs=1e-9)


@settings(max_examples=60)
@given(arms_strategy, st.sampled_from([1e-3, 60.0, 1e6]))
def test_unit_of_exposure_changes_no_probability(arms, factor):
    scaled = [(shape, rate * factor) for shape, rate in arms]

    assert best(gammas(*scaled)).probability == pytest.approx(
        best(gammas(*arms)).probability, abs=1e-8
    )


@settings(max_examples=60)
@given(arms_strategy, st.floats(1.0, 1e4))
def test_more_events_make_an_arm_more_likely_the_best(arms, events):
    (shape, rate), *others = arms

    before = best(gammas((shape, rate), *others)).probability[0]
    after = best(gammas((shape + events, rate), *others)).probability[0]

    assert after >= before - 1e-9


@pytest.mark.parametrize(
    ("events", "units", "dispersion", "name"),
    [([-1], [1], 1, "events"), ([1], [-1], 1, "units"), ([1], [1], 0, "dispersion")],
)
def test_what_cannot_be_is_refused(events, units, dispersion, name):
    with pytest.raises(InvalidParameterError) as caught:
        GammaPosterior.observed(events, units, dispersion=dispersion)

    assert caught.value.path == name


@pytest.mark.parametrize("pair", [(0, 1), (1, 0), (float("inf"), 1)])
def test_parameters_outside_their_domain_are_refused(pair):
    with pytest.raises(InvalidParameterError):
        gammas(pair)
