"""The log of a process: one format, and nothing in it that a sender could forge a line with."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

from streams.model.text import LINE_BREAK, printable
from streams.process.outages import OutageFilter

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_INDENT = "    "


class EscapingFormatter(logging.Formatter):
    """A formatter for messages that quote untrusted input.

    A record is one line, in which control characters are escaped; the lines of a traceback follow
    indented, so that none of them can be taken for a record.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return the line of a record."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - as above
        """Return a traceback, indented."""
        return _indented(super().formatException(ei))  # type: ignore[arg-type]

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - as above
        """Return a stack, indented."""
        return _indented(super().formatStack(stack_info))


def configure_logging(level: str) -> None:
    """Log to stderr from now on: uncaught exceptions as well, and outages now and then."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EscapingFormatter(FORMAT))
    handler.addFilter(OutageFilter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for every request
    sys.excepthook = _log_uncaught


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logging.getLogger(__name__).critical("uncaught", exc_info=(kind, error, trace))


def _indented(text: str) -> str:
    lines = printable(text, LINE_BREAK).split(LINE_BREAK)
    return LINE_BREAK.join(f"{_INDENT}{line}" for line in lines)
