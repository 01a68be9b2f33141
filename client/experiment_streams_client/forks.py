"""Objects whose threads, files and connections belong to the process that made them.

A process that was forked has copies of them without their threads: what it wrote to a shared file
would overwrite what its parent writes, and what it sent would never leave. So the copies let go of
what they share, and refuse to be used.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

from streams.model.errors import EngineError


class ForkedError(EngineError):
    """An object that was made before a fork is used after it, in the child.

    Operator action: make one in each process, after the fork, as in `post_fork` of gunicorn.
    """

    def __init__(self, what: object) -> None:
        name = type(what).__name__
        super().__init__("FORKED", f"this {name} was made before a fork; make one in each process")


class OfOneProcess(Protocol):
    """Something that only the process that made it can use."""

    def after_fork(self) -> None:
        """Refuse to be used from now on, in a child; nothing of the parent may change."""


_made: WeakSet[OfOneProcess] = WeakSet()


def watch_forks(each: OfOneProcess) -> None:
    """Have `after_fork` called in every child of this process, until the object is gone."""
    _made.add(each)


def unwatch_forks(each: OfOneProcess) -> None:
    """Have it called no more: numbers of files that it has closed are those of other files."""
    _made.discard(each)


def _after_fork() -> None:
    """Have every object let go, whatever becomes of the others; Python reports what this raises."""
    failed: list[Exception] = []
    for each in list(_made):
        try:
            each.after_fork()
        except Exception as error:  # noqa: BLE001 - the others share files with the parent, too
            failed.append(error)
    if failed:
        raise ExceptionGroup("objects that were made before a fork", failed)


os.register_at_fork(after_in_child=_after_fork)
