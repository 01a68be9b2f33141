"""A field is added to every schema: both versions are read, and the older one is written until the
newer one is enabled.

The codec of this release and that of the next one run side by side, as processes do in an upgrade.
"""

from __future__ import annotations

import httpx
import pytest

from schemas import library
from schemas.codec import SINGLE_OBJECT_MARK, Codec
from schemas.confluent_registry import SchemaRegistry
from schemas.errors import SchemaNotEnabledError, UnknownSchemaError
from scripts.schema_samples import sample_of
from tests.schemas.next_version import DEFAULTS
from tests.schemas.test_confluent_registry import Registry

FEATURE = {"next_release": 7, "next_feature": 1}
DROPPABLE = {"next_release": 7, "next_feature": 0}


@pytest.fixture
def this_release() -> Codec:
    return Codec()


@pytest.fixture(params=library.NAMES)
def name(request):
    return request.param


@pytest.fixture
def record(name):
    return sample_of(library.current(name)).record


@pytest.fixture
def next_release(this_release, record, next_version) -> Codec:
    return Codec()


def test_the_next_release_reads_both_versions(this_release, next_release, name, record):
    older = this_release.encode(name, record)
    newer = next_release.encode(name, record | FEATURE)

    assert older[:10] != newer[:10]
    assert next_release.decode(older) == (name, record | DEFAULTS)
    assert next_release.decode(newer) == (name, record | FEATURE)
    with pytest.raises(UnknownSchemaError):
        this_release.decode(newer)


def test_until_it_is_enabled_the_bytes_are_those_of_this_release(
    this_release, next_release, name, record
):
    next_release.write({name: 1})

    for fields in ({}, DEFAULTS, DROPPABLE):
        assert next_release.encode(name, record | fields) == this_release.encode(name, record)
    with pytest.raises(SchemaNotEnabledError, match=rf"^{name}.next_feature needs a newer version"):
        next_release.encode(name, record | FEATURE)


def test_a_version_beyond_the_newest_one_is_the_newest_one(next_release, name, record):
    newest = next_release.encode(name, record)
    next_release.write({name: 1})
    next_release.write({name: 999})

    assert next_release.encode(name, record) == newest
    assert next_release.written[name] == 2


def test_all_other_schemas_are_written_as_before(this_release, next_release, name):
    next_release.write({name: 1})

    assert next_release.written == this_release.written | {
        other: 2 for other in library.NAMES if other != name
    }


async def test_a_registry_gets_both_versions_and_the_written_one_is_framed(
    this_release, next_release, name, record
):
    """By hand: ids begin at 100; the older versions go first, since a registry compares them."""
    server = Registry()
    next_release.write({name: 1})
    transport = httpx.ASGITransport(app=server.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
        ids = await SchemaRegistry(client, next_release).register()
    body = this_release.encode(name, record)[10:]

    written = next_release.encode(name, record)

    assert written == (100).to_bytes(5, "big") + body
    assert next_release.decode(written) == (name, record | DEFAULTS)
    next_release.write({name: 2})
    enabled = next_release.encode(name, record | FEATURE)
    assert enabled[:5] == ids[name].to_bytes(5, "big")
    assert next_release.decode(enabled) == (name, record | FEATURE)
    assert next_release.decode(SINGLE_OBJECT_MARK + library.versions(name)[0].fingerprint + body)
