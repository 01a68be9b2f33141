"""Random bytes for impressions, asked of the kernel by the page."""

from __future__ import annotations

import os

DRAW_BYTES = 16
_POOL_BYTES = 4_096


class RandomDraws:
    """Fresh random bytes, 16 at a time. Threads that share it may get the same ones."""

    def __init__(self) -> None:
        self._pool = b""
        self._used = 0

    def draw(self) -> bytes:
        """Return fresh bytes for one impression."""
        start, end = self._used, self._used + DRAW_BYTES
        if end > len(self._pool):
            self._pool = os.urandom(_POOL_BYTES)
            start, end = 0, DRAW_BYTES
        self._used = end
        return self._pool[start:end]
