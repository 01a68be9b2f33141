"""Limit of the time for which a server may leave its client without an answer.

A server that is stopped keeps its connections: the system that it runs on answers for it, so that
neither keepalives nor time-outs of TCP notice. A statement would wait for it forever.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LOOKS = 10
"""Looks at the clock during the time allowed."""


class SilenceLimit:
    """A thread that ends a connection whose server has not answered in time.

    Args:
        fileno: File of the connection's socket.
        limit_s: Longest time between two answers, in seconds.

    Attributes:
        is_exceeded: Whether the connection was ended.
    """

    def __init__(self, fileno: int, limit_s: float) -> None:
        self.is_exceeded = False
        self._socket = socket.socket(fileno=os.dup(fileno))
        self._limit_s = limit_s
        self._is_over = threading.Event()
        self._waits_since_s: float | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the connection until the block ends, by a thread of this process."""
        thread = threading.Thread(target=self._run, name="silence", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()
            self._socket.close()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Limit the time for which the block waits for an answer."""
        self.heard()
        try:
            yield
        finally:
            self._waits_since_s = None

    def heard(self) -> None:
        """Note that the server has answered, or has taken what was sent."""
        self._waits_since_s = time.monotonic()

    def _run(self) -> None:
        while not self._is_over.wait(self._limit_s / LOOKS):
            since_s = self._waits_since_s
            if since_s is not None and time.monotonic() - since_s > self._limit_s:
                self.is_exceeded = True
                with suppress(OSError):  # the server has closed it at this moment
                    self._socket.shutdown(socket.SHUT_RDWR)
                return
