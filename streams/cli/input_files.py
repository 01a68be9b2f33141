"""Files that arguments name, read whole; `-` is standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from streams.model.errors import InputError

STDIN = Path("-")


def read_bytes(file: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        InputError: it cannot be read (`UNREADABLE_FILE`).
    """
    try:
        return sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
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


def unreadable(file: Path, error: Exception) -> InputError:
    """Return the error of a file that cannot be read, or of which the content cannot."""
    return InputError("UNREADABLE_FILE", str(error).replace("\n", " "), str(file))
