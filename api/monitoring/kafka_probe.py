"""A probe of Kafka: topics, settings and rights that the records of this process need."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.kafka.admin import required_topics
from streams.kafka.answers import admin_client, denied
from streams.kafka.requirements import deviations, missing_rights
from streams.kafka.rights import rights_of_api
from streams.kafka.settings import KafkaSettings
from streams.kafka.topics import describe
from streams.model.errors import EngineError
from streams.process.outages import outage

_log = logging.getLogger(__name__)


class KafkaProbe:
    """Probe whether the topics of the records exist, are configured as required, and are writable.

    Args:
        settings: Where Kafka is; its timeout bounds how long a call takes.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._needed = rights_of_api(settings)
        self._required = [
            topic for topic in required_topics(settings) if topic.name in self._needed
        ]
        self._client: AdminClient | None = None
        self._said = ""

    def __call__(self) -> str | None:
        """Return `kafka`, `topics` or `rights` for the first problem; None without one.

        Its description is logged once.
        """
        try:
            name, what = self._problem()
        except (EngineError, KafkaException) as error:
            self._client = None
            name, what = "kafka", str(error)
        if what and what != self._said:
            _log.error("%s", what, extra=outage("kafka", name or ""))
        self._said = what
        return name

    def _problem(self) -> tuple[str | None, str]:
        if self._client is None:
            self._client = admin_client(self._settings)
        described = describe(self._settings, self._needed, client=self._client)
        lacking = missing_rights(self._needed, described)
        if lacking:
            return "rights", str(denied(self._settings, "; ".join(lacking)))
        if described.missing:
            listed = ", ".join(described.missing)
            return "topics", (
                f"{listed} do not exist; run `experiment topics create`, or start a worker"
            )
        refused = [each for each in deviations(self._required, described) if each.is_refused]
        if refused:
            return "topics", "; ".join(f"{each}. {each.advice}" for each in refused)
        return None, ""
