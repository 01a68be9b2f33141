"""The fast reader of single observations says what fastavro says, or leaves it to fastavro."""

from io import BytesIO

import pytest
from fastavro import schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from schemas import library
from schemas.plain_observation import is_plain, read_plain_observation

SCHEMA = library.current("observation").parsed
longs = st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**15), 2**15)
texts = st.text(max_size=100)
records = st.fixed_dictionaries(
    {
        "assignment_id": texts | st.integers(0, 9_000).map("A".__mul__),
        "metric": texts,
        "value_micros": longs,
        "event_id": st.none() | texts,
        "observed_at_ms": st.none() | longs,
    }
)


def encoded(record):
    stream = BytesIO()
    schemaless_writer(stream, SCHEMA, record)
    return stream.getvalue()


def by_fastavro(body):
    """Return the record in `body`, or None if it has none or bytes are left."""
    stream = BytesIO(body)
    try:
        record = schemaless_reader(stream, SCHEMA, None)
    except Exception:  # noqa: BLE001 - whatever it raises, it is no record
        return None
    return record if stream.tell() == len(body) else None


def says_the_same(body):
    record = read_plain_observation(b"0123456789" + body, 10)
    return record is None or record == by_fastavro(body)


def test_it_reads_the_newest_schema():
    assert is_plain(SCHEMA)
    assert not is_plain(library.current("decision").parsed)


@given(record=records)
def test_it_reads_what_fastavro_wrote_or_leaves_it(record):
    assert read_plain_observation(encoded(record), 0) in (record, None)


@pytest.mark.parametrize("event_id", [None, "e" * 36])
@pytest.mark.parametrize("at_ms", [None, 1_760_000_000_000])
@pytest.mark.parametrize("value", [0, -1, 63, 64, 1_000_000, -(10**15), 10**15])
def test_it_reads_usual_observations_itself(event_id, at_ms, value):
    record = {
        "assignment_id": "A" * 75,
        "metric": "click",
        "value_micros": value,
        "event_id": event_id,
        "observed_at_ms": at_ms,
    }

    assert read_plain_observation(encoded(record), 0) == record


@given(body=st.binary(max_size=80))
def test_it_never_reads_more_out_of_noise_than_fastavro(body):
    assert says_the_same(body)


@given(record=records, data=st.data())
def test_it_never_reads_more_out_of_a_damaged_record_than_fastavro(record, data):
    body = bytearray(encoded(record))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.integers(0, 255))

    assert says_the_same(bytes(body))
    assert says_the_same(bytes(body[:place]))
    assert says_the_same(encoded(record) + b"\x00")


@pytest.mark.parametrize("body", [b"\xff" * 1_000_000, b"\x00\x00" + b"\xff" * 1_000_000])
def test_an_integer_without_end_is_left_at_once(body):
    assert read_plain_observation(body, 0) is None
