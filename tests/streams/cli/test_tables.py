from __future__ import annotations

from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from streams.cli.tables import BAR_WIDTH, bar, exact, moment
from streams.model.times import LAST_MS


@given(st.floats(0, 1))
def test_a_bar_has_its_width_and_is_empty_only_of_nothing(share: float) -> None:
    assert len(bar(share)) == BAR_WIDTH
    assert (bar(share).strip() == "") == (round(share * BAR_WIDTH * 8) == 0)


def test_a_full_bar_is_full() -> None:
    assert (bar(1.0, 3), bar(0.0, 3)) == ("███", "   ")


@given(st.integers(-(10**20), 10**20))
def test_exact_sums_lose_nothing(micro: int) -> None:
    assert Decimal(exact(micro).replace(",", "")) * 10**6 == micro


def test_a_moment_is_utc() -> None:
    assert moment(1_700_000_000_000) == "2023-11-14 22:13:20"
    assert moment(None) == ""


@given(st.integers(-(2**63), 2**63 - 1))
@example(LAST_MS)
@example(LAST_MS + 1)
def test_every_time_of_a_record_has_a_text(at_ms: int) -> None:
    assert moment(at_ms)
