import itertools
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from streams.policies.bucketing import draws, is_enrolled, lasting_unit
from streams.policies.draw_tables import draw_table

words = st.integers(0, 2**64 - 1)


def test_golden_draws():
    """The vector that implementations in other languages must reproduce."""
    digest = blake2b(b"user_123", digest_size=24, key=bytes.fromhex("0123456789abcdef")).digest()
    lasting = blake2b(b"user_123", digest_size=8, person=b"unit").digest()

    unit = draws(0x0123456789ABCDEF, "user_123")

    assert unit == (15901143124756564115, 724675817662071878, 15381469048812534449)
    assert b"".join(word.to_bytes(8, "big") for word in unit[1:]) == digest[8:]
    assert unit.unit.to_bytes(8, "big") == lasting


def test_fresh_bytes_are_another_unit_in_each_experiment():
    key = bytes(range(16))
    digest = blake2b(key, digest_size=24, key=(5).to_bytes(8, "big")).digest()

    assert b"".join(word.to_bytes(8, "big") for word in draws(5, key)) == digest


@given(words, words, st.text())
def test_a_user_is_the_same_unit_in_every_experiment(first, second, key):
    assert draws(first, key).unit == draws(second, key).unit == lasting_unit(key)


def test_text_is_hashed_as_utf8():
    assert draws(1, "Zoë")[1:] == draws(1, "Zoë".encode())[1:]


@given(words, st.text())
def test_draws_are_64_bit_and_repeatable(experiment, key):
    assert draws(experiment, key) == draws(experiment, key)
    assert all(0 <= word < 2**64 for word in draws(experiment, key))


@pytest.mark.parametrize(
    ("draw", "traffic", "enrolled"),
    [
        (0, 0.0, False),
        (0, 2**-32, True),
        (2**32, 2**-32, False),
        (2**63 - 1, 0.5, True),
        (2**63, 0.5, False),
        (2**64 - 1, 1.0, True),
    ],
)
def test_enrolment_at_its_edges(draw, traffic, enrolled):
    assert is_enrolled(draw, traffic) is enrolled


@given(words, st.integers(0, 2**32))
def test_the_upper_half_of_a_draw_enrols(draw, numerator):
    assert is_enrolled(draw, numerator / 2**32) is (draw * 2**32 >> 64 < numerator)


@given(words, st.floats(0, 1), st.floats(0, 1))
def test_raising_the_traffic_keeps_everyone_in(draw, low, high):
    low, high = sorted((low, high))

    assert is_enrolled(draw, low) <= is_enrolled(draw, high)


@st.composite
def allocations(draw):
    cuts = sorted(draw(st.lists(st.integers(0, 65_536), min_size=1, max_size=20)))
    edges = [0, *cuts, 65_536]
    return tuple(b - a for a, b in itertools.pairwise(edges))


@given(allocations(), words)
def test_variant_is_found_by_walking_the_weights(weights, draw):
    bucket = draw * 65_536 >> 64
    expected = 0
    while bucket >= weights[expected]:
        bucket -= weights[expected]
        expected += 1

    assert draw_table(weights).choose(draw) == expected


def test_every_bucket_belongs_to_one_variant_in_proportion_to_its_weight():
    weights = (1, 0, 40_000, 25_535)

    chosen = [draw_table(weights).choose(bucket << 48) for bucket in range(65_536)]

    assert [chosen.count(index) for index in range(4)] == list(weights)


@pytest.mark.statistical
def test_the_three_draws_are_uniform_and_independent():
    """Chi-squared over 16 x 16 cells of each pair, 20,000 units: three tests at 1e-5 each."""
    units = np.array([draws(42, f"user_{number}") for number in range(20_000)], dtype=np.uint64)
    cells = (units >> np.uint64(60)).astype(int)

    for first, second in ((0, 1), (0, 2), (1, 2)):
        counts = np.bincount(cells[:, first] * 16 + cells[:, second], minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-5
