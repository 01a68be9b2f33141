"""Times that senders state: milliseconds since the epoch, and a hint where they look like others.

A time in seconds is a time of January 1970 when it is read in milliseconds, and one in microseconds
lies tens of thousands of years ahead. Both are refused by the rules for early and late times; the
hint says what the sender most probably did.
"""

from __future__ import annotations

SECONDS_BELOW = 100_000_000_000
"""As milliseconds a time of before March 1973, as seconds one of before the year 5138."""

MICROSECONDS_FROM = 100_000_000_000_000
"""As milliseconds a time of after the year 5138, as microseconds one of after March 1973."""

NANOSECONDS_FROM = 100_000_000_000_000_000


def unit_hint(time_ms: int) -> str:
    """Return a question about the unit of a time, to be appended to a message; empty for most.

    >>> unit_hint(1_764_000_000)
    ' (seconds? the unit is milliseconds since the epoch)'
    >>> unit_hint(1_764_000_000_000)
    ''
    """
    if time_ms < SECONDS_BELOW:
        unit = "seconds"
    elif time_ms >= NANOSECONDS_FROM:
        unit = "nanoseconds"
    elif time_ms >= MICROSECONDS_FROM:
        unit = "microseconds"
    else:
        return ""
    return f" ({unit}? the unit is milliseconds since the epoch)"
