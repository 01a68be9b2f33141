"""Narrowing of records: what an older version cannot hold is refused, and never lost unseen."""

from __future__ import annotations

from io import BytesIO

import pytest
from fastavro import schemaless_reader, schemaless_writer
from fastavro.schema import parse_schema
from hypothesis import given
from hypothesis import strategies as st

from schemas import library
from schemas.codec import Codec
from schemas.errors import SchemaNotEnabledError
from schemas.narrowing import loss_of
from scripts.schema_samples import sample_of


def record(*fields):
    return {"type": "record", "name": "R", "fields": list(fields)}


def inner(*fields):
    return {"type": "record", "name": "Inner", "fields": list(fields)}


A = {"name": "a", "type": "long"}
NEW = {"name": "b", "type": "long", "default": 7}
DROPPABLE = {"name": "b", "type": "long", "default": 7, "droppable": True}


def lost(newer, older, value):
    loss = loss_of(parse_schema(newer), parse_schema(older))
    return [] if loss is None else list(loss(value, "r"))


def test_a_new_field_is_lost_unless_it_has_its_default():
    """By hand: 7 comes back from the default, 8 does not."""
    assert lost(record(A, NEW), record(A), {"a": 1, "b": 7}) == []
    assert lost(record(A, NEW), record(A), {"a": 1}) == []
    assert lost(record(A, NEW), record(A), {"a": 1, "b": 8}) == ["r.b"]


def test_a_droppable_field_is_never_lost():
    assert lost(record(A, DROPPABLE), record(A), {"a": 1, "b": 8}) == []


@pytest.mark.parametrize(
    ("wrap", "value", "path"),
    [
        (
            lambda part: {"type": "array", "items": part},
            [{"a": 1, "b": 7}, {"a": 1, "b": 8}],
            "[1]",
        ),
        (lambda part: {"type": "map", "values": part}, {"k": {"a": 1, "b": 8}}, ".k"),
        (lambda part: ["null", part], {"a": 1, "b": 8}, ""),
        (lambda part: part, {"a": 1, "b": 8}, ""),
    ],
)
def test_a_loss_deep_in_a_record_has_its_path(wrap, value, path):
    newer = record({"name": "x", "type": wrap(inner(A, NEW))})
    older = record({"name": "x", "type": wrap(inner(A))})

    assert lost(newer, older, {"x": value}) == [f"r.x{path}.b"]
    assert lost(newer, newer, {"x": value}) == []


def test_a_type_named_a_second_time_is_followed():
    def of(*fields):
        return record({"name": "x", "type": inner(*fields)}, {"name": "y", "type": "Inner"})

    value = {"x": {"a": 1}, "y": {"a": 1, "b": 8}}

    assert lost(of(A, NEW), of(A), value) == ["r.y.b"]


@pytest.mark.parametrize("name", library.NAMES)
def test_every_kept_version_holds_what_it_has_held(name):
    """A record of an older version, read in the newest shape, can be written as it was."""
    for schema in library.versions(name):
        codec = Codec()
        codec.write({name: schema.version})
        encoded = sample_of(schema).encoded

        assert codec.encode(name, codec.decode(encoded)[1]) == encoded


def test_a_schema_that_is_not_enabled_at_all_is_not_written():
    codec = Codec()
    codec.write({"decision": 0})

    with pytest.raises(SchemaNotEnabledError, match="decision"):
        codec.encode("decision", sample_of(library.current("decision")).record)


@given(st.integers(-(2**60), 2**60), st.integers(-(2**60), 2**60))
def test_what_is_not_lost_comes_back(a, b):
    """Oracle: a round trip through the older version."""
    newer, older = parse_schema(record(A, NEW)), parse_schema(record(A))
    value = {"a": a, "b": b}
    body = BytesIO()
    schemaless_writer(body, older, value)

    back = schemaless_reader(BytesIO(body.getvalue()), older, newer)
    assert (back == value) == (lost(newer, older, value) == [])
