"""Events that cannot be used, kept with their place and their bytes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import faust

from streams.domain.events import DeadLetter
from streams.engine import metrics
from streams.engine.outbox import Outgoing, deliver
from streams.wire import encode_dead_letter

logger = logging.getLogger(__name__)


class DeadLetters:
    """Writes dead letters; a letter read twice has the same key, so repetition is visible.

    Args:
        topic: Where they go.
        timeout_s: Longest wait for the broker.
    """

    def __init__(self, topic: faust.TopicT, timeout_s: float) -> None:
        self._topic = topic
        self._timeout = timeout_s

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        """Return once the letters are durable.

        Raises:
            TimeoutError: the broker did not take them in time.
        """
        if not letters:
            return
        await deliver(
            self._topic,
            [
                Outgoing(
                    f"{letter.topic}/{letter.partition}/{letter.offset}/{letter.index}".encode(),
                    encode_dead_letter(letter),
                )
                for letter in letters
            ],
            self._timeout,
        )
        for code, count in Counter(letter.code for letter in letters).items():
            metrics.DEAD_LETTERS.labels(code).inc(count)
            logger.warning("%d events of %s went to the dead letters: %s", count, letters[0].topic, code)
