"""A process writes what the log allows, and no more than every reader reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import library
from schemas.codec import Codec
from streams.model.errors import ConfigurationError, EngineError, EventError
from streams.model.schema_levels import LevelsChange, SchemaLevels
from streams.wire.records import SINGLE_OBJECT
from streams.wire.schema_gate import SchemaGate, parse_pins, readable
from streams.wire.schema_levels import decode_levels_change, encode_levels_change
from tests.strategies import records

CHANGES = records(LevelsChange, at_ms=st.just(1))


def after(*changes):
    levels = SchemaLevels()
    for change in changes:
        levels = levels.after(change)
    return levels


def test_the_first_process_counts_and_a_later_first_one_does_not():
    """By hand: 4 stands, the other installation's 5 comes too late, and 6 is enabled."""
    first = LevelsChange({"snapshot": 4}, is_initial=True, at_ms=1)
    late = LevelsChange({"snapshot": 5}, is_initial=True, at_ms=2)
    enabled = LevelsChange({"snapshot": 6}, is_initial=False, at_ms=3)

    assert after(first, late).versions == {"snapshot": 4}
    assert after(first, late, enabled).versions == {"snapshot": 6}


@given(st.lists(CHANGES, max_size=6), CHANGES)
def test_levels_never_fall(changes, change):
    before, later = after(*changes), after(*changes, change)

    for name, version in (before.versions or {}).items():
        assert (later.versions or {})[name] >= version


@given(st.lists(CHANGES, max_size=6))
def test_levels_read_twice_are_the_same(changes):
    """A follower may read again what was read before it began."""
    assert after(*changes, *changes) == after(*changes)


@given(CHANGES)
def test_a_change_comes_back_from_its_record(change):
    assert decode_levels_change(encode_levels_change(change)) == change


@pytest.mark.parametrize("versions", [{"x": -1}, {"k" * 65: 1}, {f"s{n}": 1 for n in range(257)}])
def test_levels_out_of_bounds_are_refused(versions):
    with pytest.raises(EventError, match="OUT_OF_RANGE"):
        decode_levels_change(encode_levels_change(LevelsChange(versions, False, 1)))


@pytest.mark.usefixtures("next_version")
def test_nothing_is_written_above_the_levels():
    gate = SchemaGate()
    codec = Codec()
    gate.govern(codec)
    before = gate.written["tally_cell"]

    gate.take(SchemaLevels(readable() | {"tally_cell": before - 1}))

    assert (before, gate.written["tally_cell"]) == (2, 1)
    assert codec.written["tally_cell"] == SINGLE_OBJECT.written["tally_cell"] == 1


def test_a_schema_of_a_newer_release_is_too_new():
    gate = SchemaGate()

    gate.take(SchemaLevels(readable() | {"snapshot": 999, "later": 1}))

    assert gate.too_new == {"snapshot": 999, "later": 1}
    assert gate.written["snapshot"] == library.current("snapshot").version


def test_a_schema_that_the_levels_do_not_name_is_not_written():
    gate = SchemaGate()
    levels = readable()
    del levels["decision"]

    gate.take(SchemaLevels(levels))

    assert gate.written["decision"] == 0
    with pytest.raises(EngineError, match="SCHEMA_NOT_ENABLED"):
        gate.require("decision", 1, "somewhere")


@pytest.mark.usefixtures("next_version")
def test_the_setting_bounds_what_is_written():
    gate = SchemaGate(parse_pins("snapshot:1, tally_cell:2"))

    assert gate.written == readable() | {"snapshot": 1}


@pytest.mark.parametrize(
    "text", ["snapshot", "snapshot:0", "snapshot:x", "nothing:1", "command:99"]
)
def test_a_setting_that_cannot_be_followed_names_its_variable(text):
    with pytest.raises(ConfigurationError) as error:
        parse_pins(text)

    assert error.value.path == "EXPERIMENT_WRITE_SCHEMAS"
