"""Bounds of what may be counted of an ad server's users."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.ad_account import Account


def stats(exposures: int, clicks: int, orders: int, voided: int) -> Any:
    metrics = {
        "click": SimpleNamespace(observations=clicks),
        "revenue": SimpleNamespace(observations=orders),
    }
    return SimpleNamespace(
        total_exposures=exposures,
        variants=[SimpleNamespace(stats=SimpleNamespace(metrics=metrics))],
        voided=[SimpleNamespace(reason="bot", units=voided)],
    )


@pytest.fixture
def account() -> Account:
    """a and b were seen, c may have been; d is a bot; e has two receipts."""
    made = Account()
    for user in "abcd":
        made.shown(user, user)
        made.exposed(user, is_acknowledged=user != "c")
        made.clicked(user, "once", is_acknowledged=True)
        made.ordered(user, f"order {user}", is_acknowledged=user != "b")
    made.clicked("a", "twice", is_acknowledged=False)
    made.clicked("a", "once", is_acknowledged=False)  # acknowledged before
    for receipt in ("e1", "e2"):
        made.shown("e", receipt)
        made.exposed(receipt, is_acknowledged=receipt == "e1")
    made.ordered("e", "order e", is_acknowledged=True)
    made.voided.add("d")
    return made


def test_what_is_acknowledged_must_be_counted_and_what_was_sent_may_be(account: Account) -> None:
    lines = account.compared(stats(3, 2, 1, 1))

    bounds = {each.name: (each.acknowledged, each.possible) for each in lines}
    assert bounds == {"exposures": (3, 5), "clicks": (2, 4), "orders": (1, 4), "voids": (1, 1)}
    assert all(each.is_exact for each in lines)


@pytest.mark.parametrize(
    "counted", [(2, 2, 1, 1), (6, 2, 1, 1), (3, 1, 1, 1), (3, 2, 0, 1), (3, 2, 5, 1), (3, 2, 1, 2)]
)
def test_one_too_many_or_too_few_is_said(account: Account, counted: Any) -> None:
    assert sum(not each.is_exact for each in account.compared(stats(*counted))) == 1
