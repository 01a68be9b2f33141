"""Files that arguments name, whole or by lines; `-` is standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from streams.model.errors import InputError
from streams.process.whole_files import MIB, read_rest, read_whole

STDIN = Path("-")

MAX_BYTES = 4 * MIB
"""Largest file that is read whole: four times what the API takes unless configured otherwise."""

MAX_LINE_BYTES = MAX_BYTES
"""Longest line. One that the API does not take is refused alone; after a longer one, which may have
no end, nothing is read."""


def read_bytes(file: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        InputError: it cannot be read, or has more than `MAX_BYTES` (`UNREADABLE_FILE`).
    """
    try:
        if file == STDIN:
            return read_rest(sys.stdin.buffer, str(file), MAX_BYTES)
        return read_whole(file, MAX_BYTES)
    except (OSError, ValueError) as error:  # ValueError: its name has a null byte
        raise unreadable(file, error) from error


def read_text(file: Path) -> str:
    """Return the text of a file in UTF-8.

    Raises:
        InputError: it cannot be read, or is no such text (`UNREADABLE_FILE`).
    """
    try:
        return read_bytes(file).decode()
    except UnicodeDecodeError as error:
        raise unreadable(file, error) from error


def lines_of(file: Path) -> Iterator[bytes]:
    """Yield the lines of a file of any size, as they come.

    Raises:
        InputError: it cannot be read (`UNREADABLE_FILE`), or a line of it has more than
            `MAX_LINE_BYTES` (`LINE_TOO_LONG`).
    """
    try:
        with nullcontext(sys.stdin.buffer) if file == STDIN else file.open("rb") as opened:
            number = 0
            while line := opened.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                    message = f"line {number} has more than {MAX_LINE_BYTES:,} bytes"
                    raise InputError("LINE_TOO_LONG", message, str(file))
                yield line
    except (OSError, ValueError) as error:  # ValueError: its name has a null byte
        raise unreadable(file, error) from error


def unreadable(file: Path, error: Exception) -> InputError:
    """Return the error of a file that cannot be read, or of which the content cannot."""
    return InputError("UNREADABLE_FILE", str(error).replace("\n", " "), str(file))
