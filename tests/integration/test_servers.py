"""The embedded servers speak their protocols, and topics are made once and as they must be."""

from __future__ import annotations

import psutil
import pytest
import redis.asyncio
from confluent_kafka.admin import AdminClient

from schemas.catalogue import CATALOGUE
from streams.kafka.admin import create_topics
from streams.local.children import free_port
from streams.local.tansu import answers_kafka, start_tansu
from streams.local.valkey import answers_redis, start_valkey
from streams.model.errors import ConfigurationError, DependencyError
from tests.patience import PATIENCE_S


async def test_a_broker_answers_until_it_is_stopped(tmp_path):
    broker, address = await start_tansu(tmp_path)
    assert await answers_kafka(address)

    await broker.stop()

    assert not await answers_kafka(address)


async def test_valkey_answers_until_it_is_stopped(tmp_path):
    valkey, url = await start_valkey(tmp_path)
    assert await answers_redis(url)

    await valkey.stop()

    assert not await answers_redis(url)


async def test_valkey_keeps_its_keys_over_a_restart_by_its_supervisor(tmp_path):
    valkey, url = await start_valkey(tmp_path)
    async with redis.asyncio.from_url(url) as client:
        await client.set("sticky", "receipt")
    assert valkey.pid is not None
    psutil.Process(valkey.pid).kill()
    await valkey.ended()

    await valkey.start()
    await valkey.ready(lambda: answers_redis(url), timeout_s=PATIENCE_S)

    async with redis.asyncio.from_url(url) as client:
        assert await client.get("sticky") == b"receipt"
    await valkey.stop()


async def test_a_new_valkey_begins_empty(tmp_path):
    valkey, url = await start_valkey(tmp_path)
    async with redis.asyncio.from_url(url) as client:
        await client.set("sticky", "receipt")
    await valkey.stop()

    valkey, url = await start_valkey(tmp_path)

    async with redis.asyncio.from_url(url) as client:
        assert await client.dbsize() == 0
    await valkey.stop()


def test_topics_are_created_once_with_their_partitions(settings):
    created = create_topics(settings)

    assert created == [settings.topic_prefix + topic.name for topic in CATALOGUE]
    assert create_topics(settings) == []
    topics = AdminClient(settings.confluent_config()).list_topics(timeout=PATIENCE_S).topics
    assert {len(topics[name].partitions) for name in created} == {settings.partitions}


def test_topics_with_other_partitions_stop_the_start(settings):
    create_topics(settings)

    with pytest.raises(ConfigurationError, match="impressions has partitions=4") as refusal:
        create_topics(settings.model_copy(update={"partitions": 8}))

    assert refusal.value.path == "EXPERIMENT_PARTITIONS"


def test_a_kafka_that_is_not_there_is_a_missing_dependency(settings):
    nowhere = {"kafka_url": f"127.0.0.1:{free_port()}", "kafka_timeout_s": 0.5}

    with pytest.raises(DependencyError) as failure:
        create_topics(settings.model_copy(update=nowhere))

    assert failure.value.dependency == "kafka"
