"""One writer at a time, and nothing left of one that died."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.model.errors import ConfigurationError
from streams.ops.archive.layout import PARTIAL


class HeldError(ConfigurationError):
    """Another run holds a directory."""


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Hold an archive for this process alone, made if need be, and remove partial files.

    Raises:
        HeldError: another run holds it.
        ConfigurationError: it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"{directory} cannot be used: {error.strerror or error}", "--to"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HeldError(f"{directory} is written by another run", "--to") from error
        for left in directory.glob(f"*/*/*{PARTIAL}"):
            left.unlink()
        yield
    finally:
        os.close(lock)
