import pytest

from schemas import library
from schemas.codec import Codec
from streams.model.errors import DependencyError, EventError
from streams.model.events import Observation
from streams.wire.framing import framing
from streams.wire.observations import decode_observations, encode_observation

CLICK = Observation("A" * 75, "click", 1_000_000)


async def test_without_a_registry_records_are_single_objects():
    async with framing(None) as wire:
        value = encode_observation(CLICK, wire.codec)
        await wire.prepare([value, None, b"\x00\x00\x00\x00\x07"])

        assert value.startswith(b"\xc3\x01")
        assert decode_observations(value, wire.codec).observations == (CLICK,)


async def test_a_registry_that_is_not_there_is_a_dependency_that_is_missing():
    with pytest.raises(DependencyError) as caught:
        async with framing("http://127.0.0.1:1"):
            pass

    assert caught.value.dependency == "schema-registry"


def test_records_of_a_registry_are_read_with_the_codec_that_knows_its_ids():
    codec = Codec()
    codec.use_id(library.current("observation"), 7)
    value = encode_observation(CLICK, codec)

    assert decode_observations(value, codec).observations == (CLICK,)
    with pytest.raises(EventError) as caught:
        decode_observations(value)
    assert caught.value.code == "UNKNOWN_SCHEMA"
