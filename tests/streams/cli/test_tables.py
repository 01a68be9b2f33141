from __future__ import annotations

from decimal import Decimal
from io import StringIO
from typing import cast

from hypothesis import example, given
from hypothesis import strategies as st

from streams.cli.tables import BAR_WIDTH, bar, exact, moment, table_of
from streams.cli.terminal import SafeConsole
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


ROWS = [
    ("Green button, larger than before", "2,532", "0.155 [0.142, 0.17]", "100.0%"),
    ("Control", "2,469", "0.0963 [0.085, 0.108]", "0.0%"),
]


def printed(width: int) -> str:
    table = table_of("variant", ">assigned", ">mean [interval]", ">P(best)")
    for row in ROWS:
        table.add_row(*row)
    console = SafeConsole(width=width, file=StringIO(), force_terminal=False)
    console.print(table)
    return cast("StringIO", console.file).getvalue()


@given(st.integers(20, 140))
def test_a_table_of_any_width_has_every_cell_whole(width: int) -> None:
    text = printed(width)

    assert all(len(line) <= width for line in text.splitlines())
    words = " ".join(text.split())
    for row in ROWS:
        # A cell may be broken between words, which stay in order.
        assert all(part in words for cell in row for part in cell.split())
    assert "…" not in text


def test_columns_that_do_not_fit_are_lists_of_titles_and_cells() -> None:
    lines = [line.rstrip() for line in printed(50).splitlines()]

    assert lines[0].split() == ["variant", "assigned", "mean", "[interval]", "P(best)"]
    assert [line.rstrip() for line in printed(40).splitlines()] == [
        "Green button, larger than before",
        "  assigned 2,532",
        "  mean [interval] 0.155 [0.142, 0.17]",
        "  P(best) 100.0%",
        "Control",
        "  assigned 2,469",
        "  mean [interval] 0.0963 [0.085, 0.108]",
        "  P(best) 0.0%",
    ]
