"""A process writes what the log allows, and no more than every reader reads."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import library
from schemas.codec import Codec
from schemas.errors import SchemaNotEnabledError
from streams.model.errors import ConfigurationError, EngineError, EventError
from streams.model.events import ImpressionBatch, ObservationBatch
from streams.model.schema_levels import LevelsChange, SchemaLevels
from streams.tallies.cell import Cell, MetricTally, Source, VariantTally
from streams.wire.cells import encode_cell
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation_batch
from streams.wire.records import SINGLE_OBJECT
from streams.wire.schema_levels import (
    OLDEST_WRITTEN,
    SchemaGate,
    decode_levels_change,
    encode_levels_change,
    parse_pins,
    readable,
)

VERSIONS = st.dictionaries(st.sampled_from(["snapshot", "command", "later"]), st.integers(0, 9))
CHANGES = st.builds(LevelsChange, VERSIONS, st.booleans(), st.just(1))


@pytest.fixture(autouse=True)
def _newest_again():
    yield
    SINGLE_OBJECT.write(library.newest_versions())


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


def test_nothing_is_written_above_the_levels():
    newest = library.current("tally_cell").version
    gate = SchemaGate()
    codec = Codec()
    gate.govern(codec)
    before = gate.written["tally_cell"]

    gate.take(SchemaLevels(readable() | {"tally_cell": newest - 1}))

    assert (before, gate.written["tally_cell"]) == (newest, newest - 1)
    assert codec.written["tally_cell"] == SINGLE_OBJECT.written["tally_cell"] == newest - 1


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


def test_the_setting_bounds_what_is_written():
    gate = SchemaGate(parse_pins("snapshot:3, tally_cell:4"))

    assert gate.written | {"snapshot": 3, "tally_cell": 4} == gate.written


@pytest.mark.parametrize(("name", "oldest"), OLDEST_WRITTEN.items())
def test_a_version_by_which_nothing_could_be_written_is_refused(name, oldest):
    assert parse_pins(f"{name}:{oldest}") == {name: oldest}

    with pytest.raises(ConfigurationError, match=rf"must be in {oldest}\.\..* cannot hold"):
        parse_pins(f"{name}:{oldest - 1}")


@pytest.mark.parametrize("version", range(1, OLDEST_WRITTEN["impression_batch"] + 1))
def test_the_oldest_version_of_a_sealed_batch_is_the_one_that_has_the_tag(version):
    codec = Codec()
    codec.write({"impression_batch": version, "observation_batch": version - 1})
    with nullcontext() if version == 3 else pytest.raises(SchemaNotEnabledError):
        encode_impression_batch(ImpressionBatch(1, 0, 0, []), codec)
    with nullcontext() if version == 3 else pytest.raises(SchemaNotEnabledError):
        encode_observation_batch(ObservationBatch([], 1, 0), codec)


@pytest.mark.parametrize("version", range(1, OLDEST_WRITTEN["tally_cell"] + 1))
def test_the_oldest_version_of_a_cell_is_the_one_that_has_the_overlap_sums(version):
    tally = MetricTally(units=1, observations=1, overlap_units=1)
    variants = {0: VariantTally(metrics={"click": tally})}
    cell = Cell(7, Source.OBSERVATIONS, 0, 1, 1, 1, 0, variants)
    codec = Codec()
    codec.write({"tally_cell": version})
    with nullcontext() if version == 3 else pytest.raises(SchemaNotEnabledError):
        encode_cell(cell, codec)


@pytest.mark.parametrize(
    "text", ["snapshot", "snapshot:0", "snapshot:x", "nothing:1", "command:99"]
)
def test_a_setting_that_cannot_be_followed_names_its_variable(text):
    with pytest.raises(ConfigurationError) as error:
        parse_pins(text)

    assert error.value.path == "EXPERIMENT_WRITE_SCHEMAS"
