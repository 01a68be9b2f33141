"""Values that wait to be sent until their delivery is confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Pending(dict[K, V]):
    """Values that wait to be sent, the newest of each key.

    A value waits until its delivery is confirmed. So a delivery that fails puts nothing back, and
    what was dropped or replaced while it was under way remains dropped or replaced.
    """

    def confirm(self, sent: Mapping[K, V]) -> None:
        """Drop what was sent; a value that was queued meanwhile waits on."""
        for key, value in sent.items():
            if key in self and self[key] is value:
                del self[key]
