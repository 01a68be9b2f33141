import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.model.vectors import FEATURE_ONE
from streams.policies.contextual.model import LinearModel
from streams.tallies.linear import LinearSums, LinearTally

MICRO = 10**6


def sample_of(seed, n_arms=3, dimension=5, n=200):
    """Return contexts, arms and clicks, and the tallies of them."""
    generator = np.random.default_rng(seed)
    x = generator.integers(-1024, 1025, (n, dimension))
    x[:, 0] = 1024
    arms = generator.integers(0, n_arms, n)
    clicks = generator.integers(0, 2, n)
    sums = [LinearSums() for _ in range(n_arms)]
    for row, arm, click in zip(x.tolist(), arms.tolist(), clicks.tolist(), strict=True):
        vector = tuple((i, value) for i, value in enumerate(row) if value)
        sums[arm].add_unit(vector)
        sums[arm].add_value(vector, click * MICRO)
    return x / 1024, arms, clicks, [entry.freeze() for entry in sums]


def test_model_worked_by_hand():
    """Two units at x = (1, 1), one click: A = [[3, 2], [2, 3]], b = (1, 1)."""
    sums = LinearSums()
    vector = ((0, 1024), (1, 1024))
    sums.add_unit(vector)
    sums.add_unit(vector)
    sums.add_value(vector, MICRO)

    model = LinearModel.fit([sums.freeze()], 2, noise=0.5, units=2)

    assert model.covariance[0] == pytest.approx(np.array([[0.6, -0.4], [-0.4, 0.6]]))
    assert model.coefficients[0] == pytest.approx([0.2, 0.2])
    means, deviations = model.estimates(vector)
    assert means == pytest.approx([0.4])
    assert deviations == pytest.approx([0.5 * 0.4**0.5])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ridge", [1e-3, 1.0, 50.0])
def test_model_agrees_with_lapack(seed, ridge):
    x, arms, clicks, tallies = sample_of(seed)

    model = LinearModel.fit(tallies, 5, noise=1.0, units=200, ridge=ridge)

    for arm in range(3):
        rows = x[arms == arm]
        matrix = ridge * np.eye(5) + rows.T @ rows
        assert model.covariance[arm] == pytest.approx(np.linalg.inv(matrix), rel=1e-9, abs=1e-12)
        assert model.coefficients[arm] == pytest.approx(
            np.linalg.solve(matrix, rows.T @ clicks[arms == arm]), rel=1e-9, abs=1e-12
        )


@given(st.integers(0, 2**32), st.permutations(range(3)))
def test_models_follow_their_variants(seed, order):
    *_, tallies = sample_of(seed, n=20)

    model = LinearModel.fit(tallies, 5, noise=1.0, units=20)
    permuted = LinearModel.fit([tallies[arm] for arm in order], 5, noise=1.0, units=20)

    assert np.array_equal(permuted.covariance, model.covariance[list(order)])
    assert np.array_equal(permuted.coefficients, model.coefficients[list(order)])


@given(st.integers(0, 2**32))
def test_published_model_answers_with_the_same_bits(seed):
    *_, tallies = sample_of(seed, n=20)
    model = LinearModel.fit(tallies, 5, noise=0.3, units=20)

    read = LinearModel.of_triangles(
        model.coefficients.tolist(), model.triangles(), noise=0.3, units=20
    )

    assert np.array_equal(read.covariance, model.covariance)
    assert np.array_equal(read.coefficients, model.coefficients)
    assert np.array_equal(model.covariance, model.covariance.transpose(0, 2, 1))


def test_no_data_is_the_prior():
    model = LinearModel.fit([LinearTally(), LinearTally()], 3, noise=2.0, units=0, ridge=4.0)

    means, deviations = model.estimates(((0, 1024), (2, -1024)))

    assert means.tolist() == [0.0, 0.0]
    assert deviations == pytest.approx([2.0 * 0.5**0.5] * 2)


def test_contexts_that_are_all_alike_have_a_model():
    """A trillion units in one context: the matrix has the condition 1e12 and its model is sane."""
    vector = ((0, 1024), (1, 1024))
    n = 10**12
    tally = LinearTally(tuple(n * 1024 * 1024 for _ in range(3)), (n * 512 * MICRO,) * 2)

    model = LinearModel.fit([tally], 2, noise=0.5, units=n)

    means, deviations = model.estimates(vector)
    assert means == pytest.approx([0.5], rel=1e-3)
    assert deviations == pytest.approx([0.5 * n**-0.5], rel=1e-1)
    assert model.estimates(((0, 1024), (1, -1024)))[1] == pytest.approx([0.5 * 2.0**0.5], rel=1e-3)


def test_more_evidence_narrows_every_context():
    *_, tallies = sample_of(3)
    once = LinearModel.fit(tallies, 5, noise=1.0, units=200)
    twice = LinearModel.fit([tally + tally for tally in tallies], 5, noise=1.0, units=400)

    for vector in (((0, 1024),), ((0, 1024), (1, -700)), ((0, 1024), (2, 5), (4, 1024))):
        assert np.all(twice.estimates(vector)[1] < once.estimates(vector)[1])


@pytest.mark.parametrize(
    "arguments", [{"ridge": 0.0}, {"noise": 0.0}, {"noise": float("nan")}, {"ridge": float("inf")}]
)
def test_arguments_outside_their_domain_are_refused(arguments):
    with pytest.raises(InvalidParameterError):
        LinearModel.fit([LinearTally()], 2, **{"noise": 1.0, "units": 0, **arguments})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_others", [0, 3_001])
def test_more_voided_units_than_were_read_teach_nothing(n_others: int) -> None:
    """3,000 units with all features were taken out that are not read; others had one of them."""
    one, width = (0, FEATURE_ONE), 14
    sums = LinearSums()
    sums.add_unit((one,), 5_000)
    sums.add_unit((one, *((index, FEATURE_ONE) for index in range(1, width))), -3_000)
    for index in range(1, width):
        sums.add_unit((one, (index, FEATURE_ONE)), n_others)

    model = LinearModel.fit([sums.freeze()], width, noise=1.0, units=2_000)

    assert (model.covariance == np.eye(width)).all()
    assert not model.coefficients.any()
