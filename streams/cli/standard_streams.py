"""Standard input, output and error, whatever a process was started with.

A service manager or a script may close them, and a locale may have few characters. Python then has
None where a stream should be, gives the number of a closed one to the next file or socket, and
raises in the middle of an answer.
"""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress
from io import UnsupportedOperation
from typing import TextIO, cast

from streams.model.text import json_escaped

_ESCAPED = "experiment.json"
"""Name of the error handler that escapes what an encoding lacks, in text as in JSON."""

_UTF_8 = "utf-8"


def open_standard_streams() -> None:
    """Open what is closed on the null device, and escape what the encoding of an output lacks."""
    codecs.register_error(_ESCAPED, _escaped)
    sys.stdin = sys.stdin or _null(0, "r")
    sys.stdout = _able(sys.stdout or _null(1, "w"))
    sys.stderr = _able(sys.stderr or _null(2, "w"))


def drop_output() -> None:
    """Let what is left in the buffer of the output go nowhere, since it cannot be written."""
    with suppress(UnsupportedOperation):  # an output that is no file
        number = sys.stdout.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)


def _null(number: int, mode: str) -> TextIO:
    """Return a stream on the null device, which no file and no socket can be confused with."""
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    return cast(TextIO, open(number, mode, encoding=_UTF_8, closefd=False))


def _able(stream: TextIO) -> TextIO:
    """Return a stream that takes any character; of one in UTF-8 nothing changes."""
    encoding = getattr(stream, "encoding", None)
    if encoding is not None and codecs.lookup(encoding).name != _UTF_8:
        stream.reconfigure(errors=_ESCAPED)  # type: ignore[attr-defined]
    return stream


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - of an output
    return json_escaped(error.object[error.start : error.end]), error.end
