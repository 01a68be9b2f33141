import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.stats.sequential.sample_ratio import (
    Assigned,
    SampleRatio,
    sharper,
    under_fixed_weights,
    under_moving_weights,
    under_overlap_weights,
)


@pytest.mark.parametrize(
    ("counts", "shares", "concentration", "odds"),
    [
        ([5_550, 4_450], [0.5, 0.5], 100, 1.1633217553844087e25),
        ([150, 260, 590], [0.1, 0.3, 0.6], 1_000, 617.061153056721),
    ],
)
def test_bayes_factor_agrees_with_savvi(counts, shares, concentration, odds):
    """Printed by `savvi` 0.2.0: Multinomial(.05, shares, k).update(counts), its `odds`."""
    assert under_fixed_weights(counts, shares, concentration).p_value == pytest.approx(
        1.0 / odds, rel=1e-8
    )


def test_evidence_for_the_declared_shares_is_no_evidence():
    result = under_fixed_weights([5_000, 5_000], [0.5, 0.5])

    assert result.p_value == 1.0
    assert result.ratios.tolist() == [1.0, 1.0]


@given(st.lists(st.integers(0, 10_000), min_size=3, max_size=3), st.permutations(range(3)))
def test_renaming_the_variants_changes_nothing(counts, order):
    shares = [0.2, 0.3, 0.5]
    renamed = under_fixed_weights([counts[i] for i in order], [shares[i] for i in order])

    assert renamed.p_value == pytest.approx(under_fixed_weights(counts, shares).p_value, rel=1e-6)


def arms(counts, propensities):
    """Units of each variant, all of one propensity."""
    n, p = np.array(counts, dtype=float), np.array(propensities)
    return Assigned(n / p, n / p**2, 1.0 / p)


def test_weighted_units_worked_by_hand():
    """400 units at 1/4 stand for 1,600 and 550 at 3/4 for 733, of 950 in all."""
    result = under_moving_weights(arms([400, 550], [0.25, 0.75]), 950)

    assert result.ratios == pytest.approx((1_600 / 950, 733.3333 / 950))
    assert result.p_value < 1e-9


def test_nothing_is_known_without_units():
    for result in (
        under_moving_weights(arms([0, 0], [0.5, 0.5]), 0),
        under_fixed_weights([0, 0], [0.5, 0.5]),
    ):
        assert result.p_value == 1.0
        assert np.isnan(result.ratios).all()


def test_a_lost_tenth_of_a_starved_variant_is_seen():
    """A million units, 1 % of them in the variant of which every tenth is lost: 10 deviations."""
    result = under_moving_weights(arms([990_000, 9_000], [0.99, 0.01]), 999_000)

    assert result.p_value < 1e-6
    assert result.ratios[1] == pytest.approx(0.9009, abs=1e-3)


@pytest.mark.statistical
@pytest.mark.parametrize("n_arms", [2, 3])
def test_moving_weights_raise_no_false_alarm(n_arms):
    """300 experiments of 200 looks, weights that follow the past: at most 5 % may alarm.

    If the probability were exactly 5 %, more than 35 alarms would have probability 2e-6.
    """
    random = np.random.default_rng(20260202)
    shape = (300, n_arms)
    weights, squared = np.zeros(shape), np.zeros(shape)
    alarmed = np.zeros(300, dtype=bool)
    shares = np.full(shape, 1.0 / n_arms)
    for look in range(1, 201):
        counts = random.multinomial(50, shares)
        weights += counts / shares
        squared += counts / shares**2
        result = under_moving_weights(Assigned(weights, squared, np.full(shape, 50.0)), 50 * look)
        alarmed |= result.p_value <= 0.05
        shares = np.full(shape, 0.02)
        # To who has the fewest weighted units so far, so that a bias would show.
        shares[np.arange(300), weights.argmin(axis=1)] += 1.0 - 0.02 * n_arms

    assert alarmed.sum() <= 35


def test_overlap_weights_worked_by_hand():
    """600 units at 1/2 in a and 500 in b: 50 too many, where they vary by the root of 275."""
    result = under_overlap_weights(of_two([300.0, 250.0]), of_two([150.0, 125.0]))

    assert result.ratios == pytest.approx((600 / 550, 500 / 550))
    assert 0.01 < result.p_value < 0.1
    assert under_overlap_weights(of_two([0, 0]), of_two([0, 0])).p_value == 1.0


def of_two(sums):
    """Return sums over the units of two variants, beside each other."""
    return np.array([[0.0, sums[0]], [sums[1], 0.0]])


def test_the_evidence_of_all_pairs_is_that_of_their_mean():
    """In one of three pairs 50 are missing; the e-value of its side is a third of that alone."""
    alone = under_overlap_weights(of_two([300.0, 250.0]), of_two([150.0, 125.0]))
    weight, squares = np.full((3, 3), 300.0), np.full((3, 3), 150.0)
    weight[1, 0], squares[1, 0] = 250.0, 125.0

    found = under_overlap_weights(weight, squares)

    assert found.p_value == pytest.approx(3 * alone.p_value)
    assert found.ratios == pytest.approx((600 / 575, 550 / 575, 1.0))


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0.01, 0.99)), min_size=2, max_size=6))
def test_overlap_weights_do_not_care_which_variant_comes_first(groups):
    n = np.array([[count, 500 - count] for count, _ in groups], dtype=float)
    w = np.array([[1 - p, p] for _, p in groups])
    sums = (n * w).sum(axis=0), (n * w * w).sum(axis=0)

    forth = under_overlap_weights(*map(of_two, sums))
    back = under_overlap_weights(*(of_two(each[::-1]) for each in sums))

    assert forth.p_value == pytest.approx(back.p_value)
    assert forth.ratios == pytest.approx(back.ratios[::-1], nan_ok=True)


def test_the_sharper_of_two_answers_is_corrected_for_both():
    one = SampleRatio(np.array([0.001, 0.9]), np.array([[1.1, 0.9], [1.0, 1.0]]))
    other = SampleRatio(np.array([0.5, 0.01]), np.array([[1.0, 1.0], [0.8, 1.2]]))

    found = sharper(one, other)

    assert found.p_value == pytest.approx([0.002, 0.02])
    assert found.ratios.tolist() == [[1.1, 0.9], [0.8, 1.2]]


@pytest.mark.statistical
@pytest.mark.parametrize("n_variants", [2, 4])
def test_overlap_weights_raise_no_false_alarm(n_variants):
    """1,000 experiments of 200 looks, shares that follow the past: at most 5 % may alarm.

    If the probability were exactly 5 %, more than 80 alarms would have probability 2e-5.
    """
    random = np.random.default_rng(20260203)
    overlap, squared = np.zeros((2, 1_000, n_variants, n_variants))
    alarmed = np.zeros(1_000, dtype=bool)
    shares = np.full((1_000, n_variants), 1.0 / n_variants)
    for _ in range(200):
        counts = random.multinomial(50, shares)
        beside = shares[:, None, :] / (shares[:, :, None] + shares[:, None, :])
        overlap += counts[:, :, None] * beside
        squared += counts[:, :, None] * beside**2
        alarmed |= under_overlap_weights(overlap, squared).p_value <= 0.05
        shares = np.full((1_000, n_variants), 0.02)
        # To who has fewer units than it should, so that a bias would show.
        fewest = (overlap - overlap.swapaxes(1, 2)).sum(axis=2).argmin(axis=1)
        shares[np.arange(1_000), fewest] += 1.0 - 0.02 * n_variants

    assert alarmed.sum() <= 80


@pytest.mark.parametrize(
    ("counts", "shares", "concentration"),
    [
        ([1, 1], [0.5, 0.4], 10.0),
        ([1, 1], [0.0, 1.0], 10.0),
        ([1], [0.5, 0.5], 10.0),
        ([-1, 1], [0.5, 0.5], 10.0),
        ([1, 1], [0.5, 0.5], 0.0),
    ],
)
def test_fixed_arguments_outside_their_domain_are_refused(counts, shares, concentration):
    with pytest.raises(InvalidParameterError):
        under_fixed_weights(counts, shares, concentration)


@pytest.mark.parametrize(("largest", "units"), [(0.5, 1), (2.0, -1)])
def test_moving_arguments_outside_their_domain_are_refused(largest, units):
    with pytest.raises(InvalidParameterError):
        under_moving_weights(Assigned(np.ones(2), np.ones(2), np.full(2, largest)), units)
