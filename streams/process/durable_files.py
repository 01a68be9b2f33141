"""Files that a power loss leaves as they were or as they were to be, and never in between."""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(path: Path, content: bytes, mode: int) -> None:
    """Put a file in its place with all of its bytes on the disk, and its name before the return.

    A file that is written under its name can be there without its bytes: after a power loss, or
    where the disk was full.

    Args:
        path: The file; another of the name is replaced.
        content: Its bytes.
        mode: Its permissions.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode)
        with open(descriptor, "wb") as stream:  # noqa: PTH123 - the descriptor carries the mode
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Return once the names in a directory are on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
