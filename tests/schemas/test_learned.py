"""Schemas of other writers: learned without logical types, refused where reading has no bound."""

import json
import time

import pytest

from schemas import library
from schemas.codec import Codec
from schemas.errors import UndecodableRecordError, UnknownSchemaError
from schemas.learned import MAX_SCHEMA_CHARACTERS, MAX_SCHEMA_DEPTH

HEADER = b"\x00\x00\x00\x00\x07"


def decision(*extra):
    schema = json.loads(library.current("decision").text)
    schema["fields"][:0] = extra
    return json.dumps(schema)


def long(number):
    number = number << 1 ^ number >> 63
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


FIXED = {"type": "fixed", "name": "F", "size": 4}
EMPTY = {"type": "record", "name": "E", "fields": []}
BODY = bytes.fromhex("0265 026b 01 8001 047b7d 00")


def learned(text):
    codec = Codec()
    codec.learn_id(7, text)
    return codec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({"type": "long", "logicalType": "timestamp-millis"}, long(1_700_000_000_000)),
        ({"type": "long", "logicalType": "timestamp-millis"}, long(2**63 - 1)),  # no such year
        ({"type": "string", "logicalType": "uuid"}, b"\x04no"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, b"\x02\x01"),
        ({"type": "int", "logicalType": "date"}, long(2**31 - 1)),
        (["null", {"type": "long", "logicalType": "time-micros"}], b"\x02" + long(-1)),
    ],
)
def test_logical_types_are_read_as_what_they_annotate(field, value):
    codec = learned(decision({"name": "extra", "type": field}))

    assert codec.decode(HEADER + value + BODY)[1]["kind"] == "k"


def test_an_own_field_with_a_logical_type_is_a_number():
    schema = json.loads(library.current("observation").text)
    for field in schema["fields"]:
        if field["name"] == "observed_at_ms":
            field["type"] = ["null", {"type": "long", "logicalType": "timestamp-millis"}]
        if field["name"] == "event_id":
            field["type"] = ["null", {"type": "string", "logicalType": "uuid"}]
    body = b"\x02x\x0aclick" + b"\x02" + b"\x02\x02u" + b"\x02" + long(5)

    _, record = learned(json.dumps(schema)).decode(HEADER + body)

    assert (record["event_id"], record["observed_at_ms"]) == ("u", 5)


@pytest.mark.parametrize(
    "items", ["boolean", "float", "double", {"type": "fixed", "name": "F", "size": 4}]
)
@pytest.mark.parametrize("count", [2**40, 2**62])
def test_a_count_that_no_items_follow_is_refused_at_once(items, count):
    codec = learned(decision({"name": "extra", "type": {"type": "array", "items": items}}))
    started = time.process_time()

    with pytest.raises(UndecodableRecordError):
        codec.decode(HEADER + long(count) + BODY)

    assert time.process_time() - started < 1.0


NOTHING = {"type": "record", "name": "Nothing", "fields": [{"name": "a", "type": "null"}]}
RECURSIVE = {"type": "record", "name": "R", "fields": [{"name": "r", "type": ["null", "R"]}]}


@pytest.mark.parametrize(
    "extra",
    [
        {"type": "array", "items": "null"},
        {"type": "array", "items": NOTHING},
        {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}},
        {
            "type": "map",
            "values": {"type": "array", "items": {"type": "record", "name": "E", "fields": []}},
        },
        RECURSIVE,
        ["null", {"type": "array", "items": RECURSIVE}],
        ["null", "experiment_streams.Decision"],
        "Unknown",
        {"type": 7},
    ],
)
def test_a_schema_without_a_bound_is_unknown(extra):
    with pytest.raises(UnknownSchemaError):
        learned(decision({"name": "extra", "type": extra}))


def test_a_schema_that_is_too_deep_or_too_long_is_unknown():
    deep: object = "long"
    for _ in range(MAX_SCHEMA_DEPTH):
        deep = {"type": "array", "items": deep}
    for text in (
        decision({"name": "extra", "type": deep}),
        decision({"name": "extra", "type": "long", "doc": "x" * MAX_SCHEMA_CHARACTERS}),
        "[" * 100_000,
    ):
        with pytest.raises(UnknownSchemaError):
            learned(text)


def test_a_named_type_is_read_where_it_is_used_again():
    fixed = {"type": "fixed", "name": "ads.Id", "size": 2}
    codec = learned(
        decision(
            {"name": "a", "type": fixed}, {"name": "b", "type": {"type": "map", "values": "ads.Id"}}
        )
    )

    assert codec.decode(HEADER + b"ab" + b"\x02\x02kcd\x00" + BODY)[1]["kind"] == "k"


def doubling(levels, least):
    """Return types of which each is the one before twice; the first takes so many bytes."""
    first = {"type": "fixed", "name": "R0", "size": least}
    types = [first] + [
        {
            "type": "record",
            "name": f"R{level}",
            "fields": [{"name": name, "type": f"R{level - 1}"} for name in "ab"],
        }
        for level in range(1, levels)
    ]
    return [{"name": f"f{level}", "type": each} for level, each in enumerate(types)]


@pytest.mark.parametrize("least", [0, 1])
def test_types_that_say_more_than_can_be_read_are_not_learned(least):
    """By hand: 13 levels say 2**13 - 1 values in the last one, and 2**14 - 15 in all."""
    learned(decision(*doubling(11, least)))
    with pytest.raises(UnknownSchemaError):
        learned(decision(*doubling(30, least))).decode(HEADER + BODY)


def test_items_that_say_much_in_few_bytes_are_not_learned():
    nulls = [{"name": f"n{number}", "type": "null"} for number in range(20)]
    byte = {"name": "one", "type": "boolean"}
    items = {"type": "record", "name": "I", "fields": [byte, *nulls]}
    array = {"name": "extra", "type": {"type": "array", "items": items}}

    with pytest.raises(UnknownSchemaError):
        learned(decision(array)).decode(HEADER + b"\x00" + BODY)
    items["fields"] = [byte, *nulls[:10]]
    assert learned(decision(array)).decode(HEADER + b"\x00" + BODY)[1]["kind"] == "k"
