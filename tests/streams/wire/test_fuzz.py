"""Whatever the bytes, a decoder returns a value or raises an `EventError` with a stable code."""

import json
import random
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import library
from schemas.codec import Codec
from streams.model.errors import EventError
from streams.model.partitioning import SOLE_PARTITION
from streams.model.receipts import Keyring
from streams.wire.cells import decode_cell
from streams.wire.commands import decode_command
from streams.wire.dead_letters import decode_dead_letter
from streams.wire.decisions import decode_decision
from streams.wire.experiment_ends import decode_experiment_end
from streams.wire.generations import decode_generation_change
from streams.wire.impressions import decode_impression_batch
from streams.wire.observations import decode_observations
from streams.wire.schema_levels import decode_levels_change
from streams.wire.snapshots import decode_snapshot
from streams.wire.time_points import decode_time_point
from streams.wire.webhooks import decode_webhook, decode_webhook_progress

DECODERS: dict[str, Callable[[bytes], object]] = {
    "impression_batch": decode_impression_batch,
    "observation": decode_observations,
    "observation_batch": decode_observations,
    "command": partial(decode_command, partition=SOLE_PARTITION),
    "tally_cell": decode_cell,
    "snapshot": decode_snapshot,
    "time_point": decode_time_point,
    "decision": decode_decision,
    "dead_letter": decode_dead_letter,
    "generation_change": decode_generation_change,
    "schema_levels": decode_levels_change,
    "webhook": decode_webhook,
    "webhook_progress": decode_webhook_progress,
    "experiment_end": partial(
        decode_experiment_end, keyring=Keyring({1: b"k" * 32}), topic="impressions", partition=1
    ),
}
CODES = {
    "UNDECODABLE_RECORD",
    "UNKNOWN_SCHEMA",
    "UNEXPECTED_SCHEMA",
    "INVALID_JSON",
    "INVALID_NAME",
    "INVALID_EXPERIMENT_ID",
    "MISSING_FIELD",
    "OUT_OF_RANGE",
    "TOO_MANY_OBSERVATIONS",
    "UNEQUAL_COLUMNS",
    "UNKNOWN_FIELD",
    "UNKNOWN_VALUE",
    "VALUE_OUT_OF_RANGE",
    "SEQUENCE_NOT_AUTHENTIC",
    "WRONG_TYPE",
}

longs = st.integers(-(2**63), 2**63 - 1)
texts = st.text(max_size=20) | st.sampled_from(
    ["exp_0123456789abc", "exp_zzzzzzzzzzzzz", "0" * 32, "f" * 16, "{}", "create", "impressions"]
)


def values(schema, known=None):
    """Return a strategy for any value of an Avro schema, sensible or not.

    `known` has those of the records so far by name: a record is spelled out once.
    """
    known = {} if known is None else known
    match schema:
        case {"type": "record", "name": name, "fields": fields}:
            known[name] = st.fixed_dictionaries(
                {f["name"]: values(f["type"], known) for f in fields}
            )
            return known[name]
        case {"type": "array", "items": items}:
            return st.lists(values(items, known), max_size=3)
        case {"type": "map", "values": each}:
            return st.dictionaries(texts, values(each, known), max_size=3)
        case list():
            return st.one_of([values(branch, known) for branch in schema])
        case dict():
            return values(schema["type"], known)
        case str() if schema in known:
            return known[schema]
    return {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": longs,
        "double": st.floats(),
        "string": texts,
        "bytes": st.binary(max_size=80),
    }[schema]


def decode_or_refuse(decode, value):
    refusal = None
    try:
        decode(value)
    except EventError as error:
        refusal = error

    assert refusal is None or refusal.code in CODES
    assert refusal is None or len(refusal.message) < 400


@given(name=st.sampled_from(library.NAMES), noise=st.binary(max_size=300), data=st.data())
def test_noise_behind_any_header_is_decoded_or_refused(name, noise, data):
    header = data.draw(
        st.sampled_from(
            [b"", b"\x00", b"\xc3\x01", b"[", b"{"]
            + [b"\xc3\x01" + library.current(other).fingerprint for other in library.NAMES]
        )
    )

    decode_or_refuse(DECODERS[name], header + noise)


@pytest.mark.parametrize("name", library.NAMES)
@given(data=st.data())
def test_any_record_of_the_right_shape_is_decoded_or_refused(name, data):
    record = data.draw(values(library.current(name).parsed))

    decode_or_refuse(DECODERS[name], Codec().encode(name, record))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["assignmentId", "metric", "value", "eventId", "timestamp", "x"]), inner
        )
    ),
    max_leaves=20,
)


@given(value=json_values)
@example(value={"assignmentId": "A", "metric": "click", "value": float("nan")})
def test_any_json_is_decoded_or_refused(value):
    # json writes NaN and Infinity, as careless producers do.
    decode_or_refuse(decode_observations, json.dumps(value).encode())


@pytest.mark.parametrize("name", library.NAMES)
def test_a_megabyte_of_noise_is_refused(name):
    noise = random.Random(20).randbytes(1 << 20)
    header = b"\xc3\x01" + library.current(name).fingerprint
    for value in (noise, header + noise, b"\x00" + noise, b"[" + noise):
        with pytest.raises(EventError):
            DECODERS[name](value)
