"""Receipts that this process has given out: the newest, and those that Redis does not have yet."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from streams.projection.receipts import ReceiptPlace

CAPACITY = 65_536
"""Receipts held, about 25 MB: what is served again while Redis is away or not complete."""


class CachedReceipt(NamedTuple):
    """A receipt that was given out.

    Attributes:
        receipt: Its text.
        is_sure: Whether it is known to be the first of its unit.
    """

    receipt: str
    is_sure: bool


class ReceiptCache:
    """The newest receipts of this process, by unit; the least recently used one goes first.

    Args:
        capacity: Receipts held, at most; so many may wait to be saved, too.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._held: dict[ReceiptPlace, CachedReceipt] = {}
        self._unsaved: dict[ReceiptPlace, str] = {}

    @property
    def has_unsaved(self) -> bool:
        """Whether receipts were given out that Redis was not there to keep."""
        return bool(self._unsaved)

    def find(self, place: ReceiptPlace, other: int | None = None) -> CachedReceipt | None:
        """Return what a unit was given: by its own id, or else by its other one."""
        held = self._held.pop(place, None)
        if held is not None:
            self._held[place] = held  # the newest now
        elif other is not None:
            held = self._held.get(place._replace(unit=other))
        return held

    def keep(self, place: ReceiptPlace, receipt: str, *, is_sure: bool) -> None:
        """Hold a receipt instead of the one held before."""
        self._held.pop(place, None)
        self._held[place] = CachedReceipt(receipt, is_sure)
        self._unsaved.pop(place, None)
        if len(self._held) > self._capacity:
            del self._held[next(iter(self._held))]

    def keep_unsaved(self, place: ReceiptPlace, receipt: str) -> None:
        """Hold a receipt that Redis is to keep later."""
        self.keep(place, receipt, is_sure=False)
        self._unsaved[place] = receipt
        if len(self._unsaved) > self._capacity:
            del self._unsaved[next(iter(self._unsaved))]

    def unsaved(self, limit: int) -> Iterator[tuple[ReceiptPlace, str]]:
        """Yield some of what Redis is to keep, the oldest first."""
        yield from list(islice(self._unsaved.items(), limit))
