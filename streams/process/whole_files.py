"""Files that are read whole: up to a limit, since a device or a pipe may have no end."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import BinaryIO

MIB = 2**20


def read_whole(file: Path, limit: int = MIB) -> bytes:
    """Return the bytes of a file.

    Raises:
        OSError: it cannot be read, or has more than `limit` bytes.
        ValueError: its name has a null byte.
    """
    with file.open("rb") as opened:
        return read_rest(opened, str(file), limit)


def read_rest(opened: BinaryIO, name: str, limit: int = MIB) -> bytes:
    """Return what is left of an open file.

    Raises:
        OSError: it cannot be read, or that is more than `limit` bytes.
    """
    content = opened.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", name)
    return content
