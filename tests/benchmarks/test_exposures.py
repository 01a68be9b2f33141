"""Assignments of which 30 % are exposed are counted exactly."""

from __future__ import annotations

import pytest

from benchmarks.exposures import check


@pytest.mark.parametrize(
    "count", [10_000, pytest.param(1_000_000, marks=pytest.mark.long)], ids=str
)
def test_every_count_is_exact(count: int) -> None:
    assert check(count).keys() == {"an assignment", "an exposure or observation"}
