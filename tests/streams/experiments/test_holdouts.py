"""Units that a holdout holds out: its share, its independence of other draws, and its receipts."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from streams.experiments.holdouts import HELD_OUT, NOT_HELD_OUT, Holdout, HoldoutSpec
from streams.experiments.unit_kind import UnitKind
from streams.model.experiment_keys import holdout_number
from streams.model.quantities import PROPENSITY_ONE
from streams.policies.bucketing import draws, lasting_unit

FALSE_ALARM = 1e-6


def compiled(share: float, key: str = "all-2026", experiments: tuple[str, ...] = ("*",)) -> Holdout:
    spec = HoldoutSpec(key=key, share=share, experiments=experiments)
    return Holdout(spec.number, spec, 1, 77, UnitKind.USER)


@pytest.mark.statistical
def test_the_share_held_out_is_within_its_binomial_interval():
    """False alarm: 1e-6 for each of the two shares."""
    units = [lasting_unit(f"user_{n}") for n in range(1_000_000)]
    for share in (0.05, 0.5):
        n_held = sum(map(compiled(share).holds, units))

        assert binomtest(n_held, len(units), share).pvalue > FALSE_ALARM


@pytest.mark.statistical
def test_two_holdouts_and_the_variants_of_experiments_are_independent():
    """False alarm: 1e-6 for each of the three pairs."""
    first, second = compiled(0.5, "first"), compiled(0.5, "second")
    names = [f"user_{n}" for n in range(40_000)]
    held = [name for name in names if first.holds(lasting_unit(name))]

    for n_both in (
        sum(second.holds(lasting_unit(name)) for name in held),
        sum(draws(5, name).variant >> 63 for name in held),
        sum(draws(5, name).enrolment >> 63 for name in held),
    ):
        assert binomtest(n_both, len(held), 0.5).pvalue > FALSE_ALARM


def test_a_unit_by_hand():
    unit = lasting_unit("u")
    key = blake2b(b"all-2026", digest_size=8, person=b"holdout key").digest()
    assert key == holdout_number("all-2026").to_bytes(8)
    digest = blake2b(unit.to_bytes(8), digest_size=4, key=key, person=b"holdout").digest()

    assert compiled(0.5).holds(unit) is (int.from_bytes(digest) < 1 << 31)


@given(st.integers(0, 2**64 - 1), st.floats(0.0001, 0.5), st.floats(0.0001, 0.5))
def test_receipts_say_the_side_and_a_larger_share_holds_more(unit, one, other):
    low, high = compiled(min(one, other)), compiled(max(one, other))
    receipt = low.receipt(unit)

    assert low.holds(unit) <= high.holds(unit)
    assert receipt.variant == (HELD_OUT if low.holds(unit) else NOT_HELD_OUT)
    assert (receipt.unit, receipt.assigned_at_ms, receipt.attribution_window_s) == (unit, 77, 0)
    assert 1 <= receipt.propensity <= PROPENSITY_ONE


def test_which_experiments_are_covered():
    named = compiled(0.1, experiments=("hero", "exp_0000000000007"))

    assert compiled(0.1).covers(3)
    assert named.covers(7)
    assert not named.covers(3)
