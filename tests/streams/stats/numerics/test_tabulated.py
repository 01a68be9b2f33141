import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from streams.stats.numerics.tabulated import TabulatedPosteriors
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.posteriors.gamma import GammaPosterior
from streams.stats.posteriors.mirrored import mirrored
from streams.stats.posteriors.normal import NormalPosterior

LEVELS = np.concatenate(
    (np.logspace(-9, -1, 30), np.linspace(0.1, 0.9, 50), 1 - np.logspace(-9, -1))
)


def beta(a, b):
    return BetaPosterior(np.array([float(a)]), np.array([float(b)])), stats.beta(a, b)


def gamma(shape, rate):
    return (
        GammaPosterior(np.array([float(shape)]), np.array([float(rate)])),
        stats.gamma(shape, scale=1 / rate),
    )


def student(degrees, location=0.0, scale=1.0):
    arrays = (np.array([float(value)]) for value in (location, scale, degrees))
    return NormalPosterior(*arrays), stats.t(degrees, location, scale)


CASES = [
    beta(1, 1),
    beta(0.5, 0.5),
    beta(1, 100),
    beta(0.5, 1_000),
    beta(50, 3_000),
    beta(5e5, 1e7),
    beta(1e6, 2),
    gamma(1, 1),
    gamma(0.5, 3),
    gamma(50, 3_000),
    gamma(1e6, 1e5),
    student(3),
    student(30, 5, 0.1),
    student(1e7, 1e4, 3),
]


@pytest.mark.parametrize(("arms", "reference"), CASES)
def test_distribution_functions_are_those_of_scipy(arms, reference):
    table, values = TabulatedPosteriors.of(arms), reference.ppf(LEVELS)

    below = table.below_values(np.array([0]), values[None, :])[0]

    assert below == pytest.approx(reference.cdf(values), abs=2e-6)


@pytest.mark.parametrize(("arms", "reference"), CASES)
def test_excess_is_the_integral_of_the_distribution_function(arms, reference):
    table, values = TabulatedPosteriors.of(arms), reference.ppf([0.01, 0.5, 0.99])
    scale = reference.std()

    below, excess = table.below_and_excess(np.array([0]), values[None, :])

    assert np.array_equal(below, table.below_values(np.array([0]), values[None, :]))
    low = reference.ppf(1e-12)
    knots = reference.ppf([1e-9, 1e-6, 1e-3, 0.1])
    for value, found in zip(values, excess[0], strict=True):
        points = [float(knot) for knot in knots if knot < value]
        expected, _ = integrate.quad(reference.cdf, low, value, points=points, limit=500)
        assert found == pytest.approx(expected, abs=2e-6 * scale)


def test_outside_the_support_all_or_nothing_lies_below():
    table = TabulatedPosteriors.of(BetaPosterior.observed([10], [90]))

    assert table.below_values(np.array([0]), np.array([[-1.0, 0.0, 1.0, 2.0]])).tolist() == [
        [0.0, 0.0, 1.0, 1.0]
    ]


def test_mirrored_arms_have_the_mirrored_function():
    arms = BetaPosterior.observed([10, 3], [90, 5])
    rows, values = np.array([0, 1]), np.array([[0.05, 0.1], [0.3, 0.5]])

    below = TabulatedPosteriors.of(arms).below_values(rows, values)
    above = TabulatedPosteriors.of(mirrored(arms)).below_values(rows, -values)

    assert above == pytest.approx(1.0 - below, abs=1e-6)


@settings(max_examples=50)
@given(st.floats(0.5, 1e8), st.floats(0.5, 1e8))
def test_functions_rise_from_nothing_to_all(a, b):
    table = TabulatedPosteriors.of(beta(a, b)[0])

    assert np.all(np.diff(table.below[0]) >= -1e-6)
    assert table.below[0, 0] == 0.0
    assert table.below[0, -1] == 1.0


@pytest.mark.parametrize("pair", [(2e6, 0.06), (0.001, 0.001), (1e-3, 1e9)])
def test_means_too_near_an_end_for_a_machine_number_still_have_a_table(pair):
    table = TabulatedPosteriors.of(beta(*pair)[0])

    assert np.isfinite(table.below).all()
    assert table.below_values(np.array([0]), np.array([[-1.0, 2.0]])).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    "arms",
    [
        BetaPosterior.observed([3, 90, 4_000], [97, 910, 6_600]),
        GammaPosterior.observed([3, 9, 4_000], [100, 100, 700]),
        NormalPosterior.observed([100, 10, 70], [30, 90, -40], [50, 80, 90]),
    ],
)
def test_bells_stand_where_the_densities_peak_and_bend_as_they_do(arms):
    """log f(peak + w) - log f(peak) is -1/2 of a normal law, and near that of a short step."""
    peak, width = arms.modes_and_scales()
    steps = np.array([-0.01, 0.0, 0.01])

    logs = np.log(arms.density(peak[:, None] + width[:, None] * steps))

    assert (logs[:, 0] - 2.0 * logs[:, 1] + logs[:, 2]) / -1e-4 == pytest.approx(
        np.ones(3), rel=0.4
    )
    assert np.all(logs[:, 1] >= logs.max(axis=1) - 1e-9)


def test_several_families_stand_one_below_the_other():
    families = beta(50, 3_000)[0], gamma(50, 3_000)[0], student(3_000, 5, 0.1)[0]
    values = np.array([[0.016, 0.018], [0.015, 0.017], [4.9, 5.05]])

    table = TabulatedPosteriors.of(*families)
    together = table.below_values(np.array([0, 1, 2]), values)

    for index, (row, family, found) in enumerate(zip(values, families, together, strict=True)):
        for one in (TabulatedPosteriors.of(family), table.of_family(index)):
            assert one.below_values(np.array([0]), row[None, :])[0].tolist() == found.tolist()


def test_one_family_with_a_long_tail_makes_the_tables_of_all_finer():
    (bell, reference), tail = beta(50, 3_000), student(3)[0]
    values = reference.ppf(LEVELS)[None, :]

    alone, beside = TabulatedPosteriors.of(bell), TabulatedPosteriors.of(bell, tail).of_family(0)

    assert beside.below.shape[1] > alone.below.shape[1]
    assert beside.below_values(np.array([0]), values) == pytest.approx(
        alone.below_values(np.array([0]), values), abs=2e-6
    )


def test_rough_quantiles_are_near_the_quantiles():
    arms, reference = beta(50, 3_000)
    levels = np.array([0.001, 0.025, 0.5, 0.975, 0.999])

    rough = TabulatedPosteriors.of(arms).roughly(levels)[0]

    z = special.ndtri(reference.cdf(rough)) - special.ndtri(levels)
    assert z == pytest.approx(np.zeros(5), abs=0.01)


def test_families_of_one_class_are_one_law_in_which_each_is_what_it_is_alone():
    families = beta(50, 3_000)[0], beta(200, 90)[0], gamma(50, 3_000)[0], beta(30, 3_000)[0]

    table = TabulatedPosteriors.of(*families)

    assert [len(law.means) for law in table.laws] == [2, 1, 1]
    for index, family in enumerate(families):
        found, alone = table.of_family(index), TabulatedPosteriors.of(family)
        assert found.below.tolist() == alone.below.tolist()
        assert found.values.tolist() == alone.values.tolist()
