"""Letters of places, and what of them can be sent again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from streams.model.errors import InputError
from streams.ops.dead_letters.originals import Original, originals_of, single
from streams.ops.dead_letters.place import EventPlace
from streams.ops.dead_letters.reading import FoundLetter, Record, Selection, find_letters
from streams.ops.dead_letters.resending import Resend, resends_of
from streams.ops.dead_letters.sending import send_again
from streams.ops.dead_letters.targets import check_target
from streams.settings import Settings
from streams.wire.framing import framing


def letters_of(settings: Settings, places: Sequence[EventPlace]) -> list[FoundLetter]:
    """Return the letters of places, or of one event of a letter.

    Raises:
        InputError: one has none (`DEAD_LETTER_NOT_FOUND`).
        DependencyError: Kafka does not answer.
    """
    known: defaultdict[Record, list[FoundLetter]] = defaultdict(list)
    for found in find_letters(settings, Selection()):
        known[found.place.record].append(found)
    return [_of_place(known[place.record], place) for place in dict.fromkeys(places)]


async def prepared(
    settings: Settings, found: Sequence[FoundLetter], named: Collection[str] = ()
) -> tuple[list[Resend], list[InputError]]:
    """Return what of letters can be sent again, in the order they were refused in, and what cannot.

    Args:
        settings: Where Kafka is.
        found: The letters.
        named: Topics of others that they may be sent to, by their full names.

    Raises:
        DependencyError: Kafka or the schema registry does not answer.
    """
    resends: list[Resend] = []
    refused: list[InputError] = []
    allowed: list[FoundLetter] = []
    for each in found:
        try:
            check_target(each.letter, settings, named)
            allowed.append(each)
        except InputError as error:
            refused.append(error)
    originals = originals_of(settings, allowed) if allowed else {}
    whole = [each.value for each in originals.values() if isinstance(each, Original)]
    async with framing(settings.schema_registry_url) as frames:
        await frames.prepare(whole)
        for each in reversed(allowed):
            original = originals[each.place]
            if isinstance(original, InputError):
                refused.append(original)
                continue
            sent, unsent = resends_of(
                replace(each.letter, key=original.key),
                original.value,
                settings.topic_prefix,
                settings.partitions,
                frames.codec,
            )
            resends += sent
            refused += unsent
    return resends, refused


def resend(settings: Settings, places: Sequence[EventPlace]) -> dict[str, Any]:
    """Send the records of letters again, and return what was sent and what was refused, as JSON.

    Raises:
        InputError: a place has no letter (`DEAD_LETTER_NOT_FOUND`); then nothing is sent.
        DependencyError: Kafka does not answer, or did not take all.
    """
    resends, refused = asyncio.run(prepared(settings, letters_of(settings, places)))
    send_again(settings, resends)
    return {
        "sent": [{"place": str(each.place), "bytes": len(each.value)} for each in resends],
        "refused": [
            {"code": each.code, "message": each.message, "path": each.path} for each in refused
        ],
    }


def _of_place(found: list[FoundLetter], place: EventPlace) -> FoundLetter:
    for each in found:
        if each.place == place:
            return each
    for each in found:
        if any(first <= place.index <= last for first, last in each.letter.ranges):
            return replace(each, letter=single(each.letter, place.index))
    raise InputError("DEAD_LETTER_NOT_FOUND", "no dead letter is of this place", str(place))
