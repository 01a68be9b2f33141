import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.quantities import MICRO
from streams.stats.families.base import VariantMetric
from streams.stats.families.registry import find_kind, infer_kind
from streams.stats.kinds import MetricKind
from streams.tallies.cell import MetricTally


def tallied(values, units=None):
    micro = [round(value * MICRO) for value in values]
    metric = MetricTally(len(micro), len(micro), sum(micro), sum(value * value for value in micro))
    return VariantMetric(len(micro) if units is None else units, metric)


@pytest.mark.parametrize(
    ("values", "units", "kind"),
    [
        ([], 5, MetricKind.BINARY),
        ([1, 0, 1], 9, MetricKind.BINARY),
        ([1, 3], 9, MetricKind.COUNT),
        ([0.5, 0.5, 1], 9, MetricKind.REVENUE),
        ([0.5, 0.5, 0.5, 0.5], 9, MetricKind.REVENUE),  # sum 2, squares 1: less than whole numbers
        ([0.5, 0.5, 1.5, 1.5], 4, MetricKind.REVENUE),  # sum 4, squares 5: odd beside even
        ([19.99, 4.5], 9, MetricKind.REVENUE),
        ([19.99, 4.5], 2, MetricKind.REVENUE),  # the next unit may have none
        ([19.99, 4.5] * 15, 30, MetricKind.CONTINUOUS),
        ([50.5], 1, MetricKind.REVENUE),
        ([3.5, -20], 9, MetricKind.CONTINUOUS),
        ([-1, -2], 2, MetricKind.CONTINUOUS),
    ],
)
def test_kind_is_the_narrowest_that_the_sums_allow(values, units, kind):
    assert infer_kind([tallied(values, units)]) is kind


def test_one_variant_decides_for_all():
    assert infer_kind([tallied([1, 1], 9), tallied([1, 2], 9)]) is MetricKind.COUNT
    assert infer_kind([tallied([1, 2], 9), tallied([0.25], 9)]) is MetricKind.REVENUE
    assert infer_kind([tallied([1, 1], 9), tallied([-3], 9)]) is MetricKind.CONTINUOUS


@pytest.mark.parametrize(
    ("declared", "values", "code", "kind"),
    [
        (MetricKind.BINARY, [1, 2], "NOT_BINARY", MetricKind.COUNT),
        (MetricKind.COUNT, [1, 0.25], "NOT_COUNTS", MetricKind.REVENUE),
        (MetricKind.REVENUE, [3, -5], "NEGATIVE_VALUES", MetricKind.CONTINUOUS),
    ],
)
def test_contradiction_is_reported_and_not_modelled(declared, values, code, kind):
    found = find_kind(declared, [tallied([1], 9), tallied(values, 9)])

    assert (found.kind, found.is_declared) == (kind, False)
    assert found.contradiction is not None
    assert (found.contradiction.code, found.contradiction.variant) == (code, 1)
    assert found.contradiction.message.startswith(f"declared {declared.value}, but")


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        (MetricKind.BINARY, [0, 1]),
        (MetricKind.COUNT, [0, 1]),
        (MetricKind.REVENUE, [1, 2]),
        (MetricKind.CONTINUOUS, [1, -2]),
        (MetricKind.RATIO, [1, -2]),
    ],
)
def test_declared_kind_overrides_the_inferred_one(declared, values):
    found = find_kind(declared, [tallied(values, 9)])

    assert (found.kind, found.is_declared, found.contradiction) == (declared, True, None)


def test_undeclared_kind_is_inferred():
    found = find_kind(None, [tallied([1, 2])])

    assert (found.kind, found.is_declared, found.contradiction) == (MetricKind.COUNT, False, None)


@given(st.lists(st.lists(st.integers(0, 1_000), max_size=8), min_size=1, max_size=4))
def test_whole_numbers_are_never_taken_for_anything_wider_than_counts(parts):
    assert infer_kind([tallied(part, 10) for part in parts]) in {
        MetricKind.BINARY,
        MetricKind.COUNT,
    }


@given(st.lists(st.lists(st.integers(0, 1), max_size=8), min_size=1, max_size=4))
def test_zeros_and_ones_are_never_taken_for_anything_but_binary(parts):
    assert infer_kind([tallied(part, 10) for part in parts]) is MetricKind.BINARY


@given(
    st.lists(st.lists(st.integers(-300, 300), max_size=6), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_order_of_the_variants_does_not_matter(parts, random):
    variants = [tallied([value / 4 for value in part], 10) for part in parts]
    shuffled = list(variants)
    random.shuffle(shuffled)

    assert infer_kind(shuffled) is infer_kind(variants)
