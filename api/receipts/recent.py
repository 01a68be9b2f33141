"""Units that this process has assigned by their hash alone, so that nothing is kept of them."""

from __future__ import annotations

CAPACITY = 32_768
"""Units of the older and of the newer half each: 6 MB together."""


class RecentUnits:
    """The newest units, in the order in which they came first.

    Args:
        capacity: Units of each of two halves, of which the older one is forgotten when the newer
            one is full.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._older: dict[int, int] = {}
        self._newer: dict[int, int] = {}
        self._count = 0

    def note(self, unit: int) -> None:
        """Note that a unit was assigned.

        Args:
            unit: Stands for the unit in its experiment.
        """
        if unit in self._newer or unit in self._older:
            return
        if len(self._newer) >= self._capacity:
            self._older, self._newer = self._newer, {}
        self._newer[unit] = self._count
        self._count += 1

    def order(self, unit: int) -> int | None:
        """Return a number that grows with the time of a unit; None if it is not known."""
        found = self._older.get(unit)
        return self._newer.get(unit) if found is None else found
