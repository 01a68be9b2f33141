import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import library
from schemas.codec import Codec
from schemas.errors import (
    RecordError,
    UndecodableRecordError,
    UnexpectedSchemaError,
    UnknownSchemaError,
)

DECISION = {
    "experiment_id": "e",
    "kind": "k",
    "at_ms": -1,
    "version": 64,
    "evidence": "{}",
    "snapshot": None,
}
# Zigzag: 1 -> 02, -1 -> 01, 64 -> 8001; the first branch of a union is 00.
BODY = bytes.fromhex("0265 026b 01 8001 047b7d 00")
SINGLE = b"\xc3\x01" + library.current("decision").fingerprint + BODY

names = st.sampled_from(library.NAMES)


def with_added_fields(name):
    schema = json.loads(library.current(name).text)
    schema["namespace"] = "com.example.ads"
    schema["fields"].insert(0, {"name": "campaign", "type": "string"})
    return json.dumps(schema)


def test_single_object_encoding_by_hand():
    assert Codec().encode("decision", DECISION) == SINGLE
    assert Codec().decode(SINGLE) == ("decision", DECISION)


def test_confluent_wire_format_by_hand():
    codec = Codec()
    codec.use_id(library.current("decision"), 258)

    assert codec.encode("decision", DECISION) == b"\x00\x00\x00\x01\x02" + BODY
    assert codec.decode(b"\x00\x00\x00\x01\x02" + BODY) == ("decision", DECISION)
    assert codec.decode(SINGLE) == ("decision", DECISION)


def test_a_foreign_writer_schema_is_resolved_to_ours():
    codec = Codec()
    record = b"\x00\x00\x00\x00\x07" + b"\x02c" + BODY

    assert codec.unknown_ids([record, SINGLE, b"{}", None, b""]) == {7}
    codec.learn_id(7, with_added_fields("decision"))

    assert codec.unknown_ids([record]) == set()
    assert codec.decode(record) == ("decision", DECISION)


def test_a_writer_schema_that_lacks_a_field_of_ours_cannot_be_read():
    codec = Codec()
    schema = json.loads(library.current("decision").text)
    del schema["fields"][-1]
    codec.learn_id(7, json.dumps(schema))

    with pytest.raises(UndecodableRecordError):
        codec.decode(b"\x00\x00\x00\x00\x07" + BODY[:-3])


@pytest.mark.parametrize(
    "text", ["", "nonsense", '"string"', "[]", '{"type": "record"}', "[" * 100_000, "null"]
)
def test_what_is_no_schema_of_ours_is_not_learnt(text):
    codec = Codec()
    with pytest.raises(UnknownSchemaError):
        codec.learn_id(7, text)

    assert codec.unknown_ids([b"\x00\x00\x00\x00\x07"]) == {7}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, UndecodableRecordError),
        (b"", UndecodableRecordError),
        (b"\xc3", UndecodableRecordError),
        (b"\xc3\x01short", UndecodableRecordError),
        (b"\xc3\x01" + b"\x00" * 8 + BODY, UnknownSchemaError),
        (b"\xc3\x02" + SINGLE[2:], UndecodableRecordError),
        (b"\x00\x00\x00", UndecodableRecordError),
        (b"\x00\x00\x00\x00\x09" + BODY, UnknownSchemaError),
        (SINGLE[:-1], UndecodableRecordError),
        (SINGLE + b"\x00", UndecodableRecordError),
        (SINGLE[:10] + b"\x03ab" + BODY, UndecodableRecordError),  # a length of -2
        (SINGLE[:10] + b"\xff" * 20, UndecodableRecordError),
        (SINGLE[:10] + b"\x02\xff" + BODY[2:], UndecodableRecordError),  # not UTF-8
        (b"\x89PNG", UndecodableRecordError),
    ],
)
def test_a_broken_record_is_a_typed_error(value, error):
    with pytest.raises(error):
        Codec().decode(value)


def test_a_good_record_in_the_wrong_place_is_a_distinct_error():
    with pytest.raises(UnexpectedSchemaError):
        Codec().decode_as("command", SINGLE)


@given(name=names, noise=st.binary(max_size=400))
def test_noise_behind_a_good_header_raises_nothing_else(name, noise):
    # Any other error than this one passes through and fails the test.
    with suppress(UndecodableRecordError):
        Codec().decode(b"\xc3\x01" + library.current(name).fingerprint + noise)


@given(cut=st.integers(0, len(SINGLE) - 1))
def test_every_truncation_is_found(cut):
    with pytest.raises(RecordError):
        Codec().decode(SINGLE[:cut])


def test_the_message_of_an_error_is_short_whatever_the_record():
    huge = SINGLE[:10] + b"\xfe\xff\x7f" + b"\xff" * 1_048_575

    with pytest.raises(UndecodableRecordError) as caught:
        Codec().decode(huge)
    assert len(str(caught.value)) < 200
