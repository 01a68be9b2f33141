"""Ignored ids are recognised however they are written, and no other id is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.experiments.ignored_units import (
    DEFAULT_IGNORED_UNITS,
    DEFAULTS,
    comparable,
    comparable_all,
    ignoring,
)

_AROUND = st.text(" \t\r\n\v\f\"'`{}", max_size=3)
_CASES = st.sampled_from([str.upper, str.lower, str.title, str.swapcase, str])
_LISTED = st.sampled_from(DEFAULT_IGNORED_UNITS) | st.text(max_size=6)
_WRITTEN = st.builds(
    lambda before, case, unit_id, after: before + case(unit_id) + after,
    _AROUND,
    _CASES,
    _LISTED | st.text("0-:.", max_size=20),
    _AROUND,
)


@given(st.lists(_LISTED | st.just(DEFAULTS), max_size=5), _WRITTEN | st.text(max_size=10))
@example(["straSSE"], "STRAẞE")
@example(["K"], "\u212a")  # the sign of Kelvin, whose folded form is ASCII
@example(["\ufb01"], "FI")
@example(["00"], "0:0.")
def test_an_id_is_ignored_where_its_comparable_form_is_listed(ids: list[str], unit_id: str):
    assert ignoring(ids)(unit_id) == (comparable(unit_id) in comparable_all(ids))


@pytest.mark.parametrize("unit_id", ["", " NULL ", "'Nan'", "{00:00:00:00}"])
def test_placeholders_are_ignored(unit_id: str):
    assert ignoring([DEFAULTS])(unit_id)


@pytest.mark.parametrize("unit_id", ["user_1", "user_12", "annul", "01", "guests", "null_2"])
def test_ids_that_resemble_placeholders_are_not(unit_id: str):
    assert not ignoring([DEFAULTS])(unit_id)
