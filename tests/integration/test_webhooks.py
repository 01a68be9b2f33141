"""Webhooks on a real Kafka: a receiver that fails, a process that is killed, and nothing lost."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from functools import partial

from confluent_kafka import Producer
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook as Verifier

from api.services.webhooks import WebhookService
from schemas.catalogue import COMMANDS, DECISIONS
from streams.fold.experiment_state import ExperimentState
from streams.kafka.admin import create_topics
from streams.kafka.source import KafkaSource
from streams.model.events import Command, CommandKind
from streams.model.experiment_keys import key_number
from streams.model.ids import experiment_id
from streams.settings import Settings
from streams.webhooks.configuration import policy_of
from streams.webhooks.definition import WebhookRequest
from streams.webhooks.dispatcher import now_ms
from streams.webhooks.log import WebhookReader, WebhookWriter
from streams.webhooks.sealing import seals_of
from streams.webhooks.signing import new_secret
from streams.wire.commands import encode_command
from streams.wire.decisions import encode_decision
from tests.integration.webhooks_process import KEY, webhooks_of
from tests.patience import PATIENCE_S, until_found, until_true
from tests.streams.webhooks.receiver import Receiver, receiving

FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
KEYS = [f"hero-{n}" for n in range(20)]
N_EVENTS = 2 * len(KEYS) + 2
"""Each is created and started, and two are updated between."""

TAGGED = (
    {("experiment.created", key) for key in KEYS[::2]}
    | {("experiment.started", key) for key in KEYS[2::2]}  # the first one has lost the tag
    | {("experiment.updated", KEYS[1]), ("experiment.started", KEYS[1])}  # and this one has it
)
"""Events of experiments while they are tagged with `checkout`."""

CONFIG = {"name": "Hero", "type": "bayesian_ab", "primaryMetric": "click"}
VARIANTS = [{"name": "A", "isControl": True}, {"name": "B"}]


class Engine:
    """Writer of what a worker writes: commands, and the decisions about them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.producer = Producer(
            settings.confluent_config()
            | {"partitioner": "murmur2_random", "acks": "all", "log_level": 0}
        )
        self.states: dict[int, ExperimentState] = {}
        self.offset = 0

    def command(self, key: str, kind: CommandKind, **payload: object) -> None:
        self.offset += 1
        number = key_number(key)
        command = Command(f"{self.offset:032x}", number, kind, now_ms(), payload)
        state = self.states.setdefault(number, ExperimentState(number))
        decision = state.take_command(self.offset, command).decision
        assert decision is not None
        assert decision.evidence["accepted"]
        name = experiment_id(number).encode()
        for topic, value in (
            (COMMANDS, encode_command(command)),
            (DECISIONS, encode_decision(decision)),
        ):
            self.producer.produce(self.settings.topic_name(topic), value, key=name)
            assert self.producer.flush(PATIENCE_S) == 0

    def create(self, key: str, *tags: str) -> None:
        config = {**CONFIG, "key": key, "tags": tags}
        self.command(key, CommandKind.CREATE, config=config, variants=VARIANTS)


def expected(path: str) -> int:
    return len(TAGGED) if path in {"/tagged", "/late"} else N_EVENTS


def has_all(receiver: Receiver, path: str) -> bool:
    return len(set(receiver.ids(path))) == expected(path)


def types(receiver: Receiver, path: str) -> Counter[str]:
    return Counter(json.loads(body)["type"] for to, _, body in receiver.received if to == path)


def tagged_events(receiver: Receiver, path: str) -> set[tuple[str, str]]:
    events = [json.loads(body) for to, _, body in receiver.received if to == path]
    return {(event["type"], event["data"]["experiment"]["key"]) for event in events}


async def test_a_kill_loses_nothing_and_repeats_have_the_same_id(settings: Settings) -> None:
    settings = settings.model_copy(
        update={
            "webhook_keys": SecretStr(KEY),
            "webhook_allowed_networks": "127.0.0.0/8",
            "webhook_allow_http": True,
            "webhook_retries_s": "1,1,2,4,8,16,32,32,32",  # longer than all before it is mended
        }
    )
    await asyncio.to_thread(create_topics, settings)
    engine, secret = Engine(settings), new_secret()
    writer = WebhookWriter(settings)
    service = WebhookService(
        WebhookReader(KafkaSource(settings)),
        writer,
        seals_of(settings),
        policy_of(settings),
        now_ms,
    )
    async with receiving() as receiver:
        receiver.answers["/fails"] = FAILED
        receiver.answers["/hangs"] = None
        await asyncio.to_thread(engine.create, "before")  # before there is a webhook
        await asyncio.sleep(0.1)

        async def webhook(path: str, *tags: str, since: int | None = None) -> str:
            asked = WebhookRequest(url=receiver.url(path), secret=secret, tags=tags, since=since)
            return (await service.create(asked, None)).webhook.webhook_id

        made = {path: await webhook(path) for path in ("/good", "/fails", "/hangs")}
        made["/tagged"] = await webhook("/tagged", "checkout", "nowhere")
        with webhooks_of(settings) as process:
            for number, key in enumerate(KEYS):
                await asyncio.to_thread(engine.create, key, "eu" if number % 2 else "checkout")
            # The one that hangs delays none, and the one that fails is tried again.
            await until_true(lambda: len(set(receiver.ids("/good"))) == len(KEYS))
            await until_true(lambda: max(Counter(receiver.ids("/fails")).values(), default=0) > 1)
            process.end(signal.SIGKILL)
            # While there is no process:
            for key, tag in zip(KEYS, ("eu", "checkout"), strict=False):
                await asyncio.to_thread(engine.command, key, CommandKind.UPDATE, tags=[tag])
            for key in KEYS:
                await asyncio.to_thread(engine.command, key, CommandKind.START)
            del receiver.answers["/fails"], receiver.answers["/hangs"]
            process.start()
            made["/late"] = await webhook("/late", "checkout", since=0)
            for path in made:
                await until_true(partial(has_all, receiver, path))

            async def is_written() -> bool:
                found = {each.webhook.webhook_id: each for each in await service.list()}
                states = [found[name].progress for name in made.values()]
                return all(not each.waiting and each.state.success_at_ms for each in states)

            await until_found(is_written)
            await service.test(await webhook("/new"))  # after all events
            await until_true(lambda: types(receiver, "/new")["webhook.test"] == 1)
            assert process.end(signal.SIGTERM) == 0
            sent = len(receiver.received)
            process.start()
            await service.test(made["/good"])
            await until_true(lambda: types(receiver, "/good")["webhook.test"] == 1)
            await asyncio.sleep(1.0)

        # By the tags of the time, also for one that reads all of it when they have changed.
        assert tagged_events(receiver, "/tagged") == tagged_events(receiver, "/late") == TAGGED
        assert set(types(receiver, "/new")) == {"webhook.test"}
        # After a stop nothing is sent again: all that comes is the test.
        assert len(receiver.received) == sent + 1
        for path in made:
            ids: dict[str, set[bytes]] = {}
            for to, headers, body in receiver.received:
                if to == path and b"webhook.test" not in body:
                    event = json.loads(body)
                    ids.setdefault(headers["webhook-id"], set()).add(body)
                    assert event["data"]["experiment"]["key"] in KEYS
            # One id for each event, and one event for each id, however often it was sent.
            assert all(len(bodies) == 1 for bodies in ids.values())
            assert len(ids) == len(set.union(*ids.values())) == expected(path)
        _, headers, body = receiver.received[0]
        assert Verifier(secret).verify(body, headers)
    await asyncio.to_thread(writer.close)
