"""Detection of source topics that were deleted and created again, or have got more partitions.

Such a topic has its old name and other records at its old offsets, so new records would be skipped
as already folded. Therefore the id that Kafka gives a topic is stored in the table beside the
progress, and a worker does not start on a topic with another id. Nor does it start on one with
another number of partitions, which has no tables for the others, and another partition for a key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from faust.types import TP

from schemas.catalogue import Topic
from streams.kafka.admin import required_topics
from streams.kafka.requirements import Deviation, deviations, missing_rights
from streams.kafka.rights import optional_rights_of_worker
from streams.kafka.settings import KafkaSettings
from streams.kafka.source import KafkaSource
from streams.kafka.topics import describe
from streams.model.errors import ConfigurationError, EngineError

LOOK_S = 2.0
"""Interval of checking the topic ids."""

_REFUSED = frozenset({"TOPIC_MADE_ANEW", "PARTITIONS_DIFFER"})

logger = logging.getLogger(__name__)


class TopicIdentities:
    """The current ids of the source topics, their numbers of partitions, and the rights on them.

    Args:
        settings: Where Kafka is.
        topics: Full names of the source topics.

    Attributes:
        lacking: Missing optional rights of this process, such as `WRITE on topic NAME`.
    """

    def __init__(self, settings: KafkaSettings, topics: Sequence[str]) -> None:
        self._settings = settings
        self._topics = topics
        self._ids: dict[str, str] = {}
        self._required = [each for each in required_topics(settings) if each.name in topics]
        self._optional = optional_rights_of_worker(settings)
        self.lacking: tuple[str, ...] = ()

    def look(self) -> None:
        """Read ids and rights from Kafka.

        Raises:
            ConfigurationError: a topic has another id than before (`TOPIC_MADE_ANEW`), or more
                partitions than the installation (`PARTITIONS_DIFFER`).
            DependencyError: Kafka does not answer.
        """
        described = describe(self._settings, {*self._topics, *self._optional})
        for name in self._topics:
            topic = described.topics.get(name)
            if topic is not None and topic.topic_id is not None:
                self.check(name, self._ids.setdefault(name, topic.topic_id), topic.topic_id)
        for each in deviations(self._required, described):
            if each.setting == "partitions" and int(each.actual) > int(each.wanted):
                raise _with_surplus(each)
        lacking = tuple(missing_rights(self._optional, described))
        if lacking and lacking != self.lacking:
            logger.warning(
                "this worker lacks %s; docs/reference/security.md says what it does without",
                "; ".join(lacking),
            )
        self.lacking = lacking

    def may_write(self, topic: Topic) -> bool:
        """Return whether this process has the optional right to write a topic."""
        return f"WRITE on topic {self._settings.topic_name(topic)}" not in self.lacking

    def get(self, topic: str) -> str | None:
        """Return the id of a topic; None where the broker gives none."""
        return self._ids.get(topic)

    def check(self, topic: str, kept: str, found: str | None = None) -> None:
        """Check that a topic has the id that was stored.

        Raises:
            ConfigurationError: it has another id (`TOPIC_MADE_ANEW`).
        """
        found = found or self._ids.get(topic)
        if found is not None and found != kept:
            raise made_anew(topic, f"it has the id {found}, and was {kept}")

    async def watch(self, refuse: Callable[[EngineError], Awaitable[None]]) -> None:
        """Check periodically until cancelled; call `refuse` when a topic may not be read on."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await asyncio.to_thread(self.look)
            except ConfigurationError as error:
                if error.code in _REFUSED:
                    await refuse(error)
                logger.warning("the topics cannot be described: %s", error)
            except EngineError as error:
                logger.warning("the topics cannot be described: %s", error)


def _with_surplus(deviation: Deviation) -> ConfigurationError:
    error = ConfigurationError(f"{deviation}. {deviation.advice}", deviation.topic)
    error.code = "PARTITIONS_DIFFER"
    return error


def made_anew(topic: str, what: str) -> ConfigurationError:
    """Return the error of a topic that is not the one whose records were folded."""
    error = ConfigurationError(
        f"{topic} was made anew, or has lost its end: {what}. What is counted is of other records, "
        "and new ones would be passed by. Restore the topic, or start with a new "
        "EXPERIMENT_TOPIC_PREFIX and EXPERIMENT_NAMESPACE",
        topic,
    )
    error.code = "TOPIC_MADE_ANEW"
    return error


class LogEnds:
    """Detection of partitions that have lost their end.

    Args:
        settings: Connection to Kafka.
        refuse: Called when a partition has.
    """

    def __init__(
        self, settings: KafkaSettings, refuse: Callable[[EngineError], Awaitable[None]]
    ) -> None:
        self._settings = settings
        self._refuse = refuse
        self._looking: set[asyncio.Task[None]] = set()

    def rewound(self, tp: TP, position: int) -> None:
        """Check in the background whether a partition ends before `position`."""
        if not self._looking:  # one partition is enough
            task = asyncio.get_running_loop().create_task(self._look(tp, position))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _look(self, tp: TP, position: int) -> None:
        name = tp.topic.removeprefix(self._settings.topic_prefix)
        try:
            spans = await asyncio.to_thread(KafkaSource(self._settings).spans, name)
        except EngineError as error:
            logger.warning("%s went back to before %d: %s", tp, position, error)
            return
        except Exception:
            logger.exception("%s went back to before %d, and its end cannot be read", tp, position)
            return
        end = spans[tp.partition].end
        if end < position:
            await self._refuse(
                made_anew(
                    tp.topic,
                    f"partition {tp.partition} ends at {end}, and was folded to {position}",
                )
            )
