"""Topics that the records of dead letters may be sent to.

A process that may write `dead-letters` may have no other right, as that of `experiment observe`,
and the one who sends letters again has many. So a letter alone decides neither where a record goes
nor, where records have authority, what it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from schemas.catalogue import CATALOGUE, COMMANDS, IMPRESSIONS, OBSERVATIONS, TALLIES
from streams.kafka.settings import KafkaSettings
from streams.model.errors import InputError, quoted
from streams.model.events import DeadLetter
from streams.ops.dead_letters.place import EventPlace

_GENERATION = re.compile(r"g[1-9][0-9]{0,8}-")

AUTHENTIC = frozenset({IMPRESSIONS.name, OBSERVATIONS.name})
"""Sources whose records count only with the tag or the receipt of a key, from any producer. Other
ones go as their topic holds them, and not as a letter does."""

_SOURCES = AUTHENTIC | {COMMANDS.name, TALLIES.name}
_NAMES = frozenset(topic.name for topic in CATALOGUE)


def catalogue_name(topic: str, prefix: str) -> str | None:
    """Return the catalogue name of a topic of any generation; None if it is no such topic."""
    if not topic.startswith(prefix):
        return None
    name = _GENERATION.sub("", topic.removeprefix(prefix), count=1)
    return name if name in _NAMES else None


def check_target(letter: DeadLetter, settings: KafkaSettings, named: Collection[str] = ()) -> None:
    """Check that the record of a letter may be sent to the topic and partition of the letter.

    These are the sources of the workers, and topics of others that were named by the one who asks:
    `experiment observe` reads such a topic.

    Args:
        letter: The letter.
        settings: Prefix and partitions of the installation.
        named: Full names of topics of others.

    Raises:
        InputError: the topic is another one (`OTHER_TOPIC`), or has no such partition
            (`NO_SUCH_PARTITION`).
    """
    place, name = EventPlace.of(letter), catalogue_name(letter.topic, settings.topic_prefix)
    if name is None and letter.topic in named:
        return
    if name not in _SOURCES:
        why = (
            "only `experiment dead-letters resend` sends to it, by a place or --topic"
            if name is None
            else "it is no topic of events"
        )
        raise InputError("OTHER_TOPIC", f"the topic {quoted(letter.topic)}: {why}", str(place))
    if not 0 <= letter.partition < settings.partitions:
        raise InputError(
            "NO_SUCH_PARTITION",
            f"{quoted(letter.topic)} has {settings.partitions} partitions",
            str(place),
        )


def is_authentic(topic: str, prefix: str) -> bool:
    """Return whether records of a topic prove who made them, or are of no use without a receipt."""
    name = catalogue_name(topic, prefix)
    return name is None or name in AUTHENTIC
