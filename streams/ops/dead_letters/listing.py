"""Lists of dead letters, as JSON, without the bytes of their records."""

from __future__ import annotations

from collections import Counter
from typing import Any

from streams.model.errors import EngineError
from streams.model.ids import experiment_id
from streams.model.receipts import Keyring
from streams.ops.dead_letters.place import EventPlace
from streams.ops.dead_letters.reading import FoundLetter, Selection, find_letters
from streams.receipt_keys import keyring_of
from streams.settings import Settings

SHOWN_RANGES = 16
"""Ranges of a letter that are shown; a letter may have thousands."""


def letter_json(found: FoundLetter) -> dict[str, Any]:
    """Return a letter as a JSON object, without the bytes of its record."""
    letter = found.letter
    return {
        "place": str(found.place),
        "code": letter.code,
        "message": letter.message,
        "path": letter.path,
        "writtenAt": found.written_at_ms,
        "recordAt": letter.timestamp_ms,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "index": letter.index,
        "count": letter.count,
        "ranges": [list(each) for each in letter.ranges[:SHOWN_RANGES]],
        "bytes": found.n_bytes,
        "sha256": None if letter.value_sha256 is None else letter.value_sha256.hex(),
    }


def letters_page(
    settings: Settings,
    selection: Selection,
    experiment: str | None,
    limit: int,
    after: tuple[int, str] | None,
) -> dict[str, Any]:
    """Return a page of the letters that are meant, newest first, and their number by code.

    Args:
        settings: Where Kafka is.
        selection: Which letters.
        experiment: Id of an experiment: only letters whose record's key names it, or is a receipt
            of it; None for all.
        limit: Letters of the page at most.
        after: When the last one of the page before was written, and its place; None for the first
            page.

    Raises:
        DependencyError: Kafka does not answer.
    """
    keyring = None if experiment is None else keyring_of(settings)
    found = [
        each
        for each in find_letters(settings, selection)
        if experiment is None or _experiment_of(each, keyring) == experiment
    ]
    codes: Counter[str] = Counter()
    for each in found:
        codes[each.letter.code] += each.letter.count
    if after is not None:
        written_ms, place = -after[0], EventPlace.parse(after[1])
        found = [each for each in found if (-each.written_at_ms, each.place) > (written_ms, place)]
    page = found[:limit]
    return {
        "letters": [
            letter_json(each) | {"experimentId": _experiment_of(each, keyring)}
            if keyring is not None
            else letter_json(each)
            for each in page
        ],
        "nextCursor": (
            f"{page[-1].written_at_ms}/{page[-1].place}" if len(found) > len(page) else None
        ),
        "counts": dict(codes.most_common()),
    }


def _experiment_of(found: FoundLetter, keyring: Keyring | None) -> str | None:
    """Return the id of the experiment that the key of a record names; None if it names none."""
    key = (found.letter.key or b"").decode(errors="replace")
    if key.startswith("exp_"):
        return key.partition("/")[0]
    if keyring is None:
        return None
    try:
        return experiment_id(keyring.open(key)[0].experiment)
    except (EngineError, ValueError):
        return None
