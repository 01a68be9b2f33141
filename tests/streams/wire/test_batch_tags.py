"""Tags of numbered batches: made by a key of the ring, for one place, and over every byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import library
from schemas.codec import Codec
from streams.model.errors import EventError
from streams.model.events import ImpressionBatch, ImpressionGroup, Observation, ObservationBatch
from streams.model.receipts import TAG_BYTES, Keyring, Receipt
from streams.wire.batch_tags import check_tag, sealer
from streams.wire.impressions import decode_impression_batch, encode_impression_batch
from streams.wire.observations import decode_observations, encode_observation_batch
from streams.wire.records import SINGLE_OBJECT

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
KEYRING = Keyring({1: OLD})
REGISTERED = Codec()
REGISTERED.use_id(library.current("observation_batch"), 7)
REGISTERED.use_id(library.current("impression_batch"), 8)
GROUP = ImpressionGroup(3, True, [0], [1], [1], [5], [9])
OBSERVATION = Observation(KEYRING.sign(Receipt(3, 0, 1, 1, 5, 9, 60)), "click", 1)


def impressions(codec=SINGLE_OBJECT):
    return encode_impression_batch(ImpressionBatch(9, 2, 4, [GROUP]), codec)


def observations(codec=SINGLE_OBJECT):
    return encode_observation_batch(ObservationBatch([OBSERVATION], 9, 4), codec)


def is_authentic(value, topic, partition, keyring=KEYRING):
    try:
        check_tag(keyring, topic, partition, value)
    except EventError as error:
        return error.code != "SEQUENCE_NOT_AUTHENTIC"
    return True


@pytest.mark.parametrize("codec", [SINGLE_OBJECT, REGISTERED])
def test_a_sealed_batch_reads_as_before_and_is_authentic_in_its_place_alone(codec):
    for topic, value, decode in (
        ("impressions", impressions(codec), decode_impression_batch),
        ("observations", observations(codec), decode_observations),
    ):
        sealed = sealer(KEYRING)(topic, 2, value)
        assert decode(sealed, codec) == decode(value, codec)
        assert is_authentic(sealed, topic, 2)
        assert not is_authentic(value, topic, 2)
        assert not is_authentic(sealed, topic, 3)
        assert not is_authentic(
            sealed, {"impressions": "observations"}.get(topic, "impressions"), 2
        )


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_can_be_changed(at, bit):
    sealed = bytearray(sealer(KEYRING)("observations", 2, observations()))
    sealed[at % len(sealed)] ^= 1 << bit
    assert not is_authentic(bytes(sealed), "observations", 2)


@pytest.mark.parametrize("value", [b"", b"\xc3", bytes(TAG_BYTES), bytes(TAG_BYTES - 1)])
def test_what_is_too_short_is_not_authentic(value):
    assert not is_authentic(value, "observations", 2)


def test_a_batch_is_authentic_by_any_key_of_the_ring():
    sealed = sealer(KEYRING)("impressions", 0, impressions())
    assert is_authentic(sealed, "impressions", 0, Keyring({2: NEW, 1: OLD}))
    assert not is_authentic(sealed, "impressions", 0, Keyring({2: NEW}))
    assert not is_authentic(sealed, "impressions", 0, Keyring({1: NEW}))


def test_a_receipt_is_no_tag():
    """The same secret gives different MACs for receipts and for tags."""
    body = bytes(40)
    assert KEYRING.macs([b"\1\1" + body[2:]]) != KEYRING.tag(b"\1\1" + body[2:])[1:]
