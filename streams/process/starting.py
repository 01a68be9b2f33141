"""Signals while a process starts: its imports take seconds, and its handlers come after them."""

from __future__ import annotations

import signal

from streams.process.reload import ignore_hangups


def prepare_to_import() -> None:
    """Ignore SIGHUP, and end at SIGINT as at SIGTERM, until the process handles them itself."""
    ignore_hangups()
    end_at_interrupts()


def end_at_interrupts() -> None:
    """Let Ctrl-C end this process without a traceback, unless its parent has it ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_at_interrupts() -> None:
    """Have Ctrl-C raise `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
