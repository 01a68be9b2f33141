"""Times in milliseconds since the epoch: of a calendar, and with a hint at another unit.

A time in seconds is a time of January 1970 when it is read in milliseconds, and one in microseconds
lies tens of thousands of years ahead. Both are refused by the rules for early and late times; the
hint says what the sender most probably did.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

LAST_MS = 253_402_300_799_999
"""End of the year 9999, the last of four digits: calendars and their texts have no later one."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SECONDS_BELOW = 100_000_000_000
"""As milliseconds a time of before March 1973, as seconds one of before the year 5138."""

MICROSECONDS_FROM = 100_000_000_000_000
"""As milliseconds a time of after the year 5138, as microseconds one of after March 1973."""

NANOSECONDS_FROM = 100_000_000_000_000_000


def calendar_time(time_ms: int) -> datetime | None:
    """Return a time in UTC; None before the year 1 and after the year 9999.

    Producers choose times, and some choose what no calendar has.

    >>> calendar_time(1_764_000_000_123).isoformat(timespec="milliseconds")
    '2025-11-24T16:00:00.123+00:00'
    >>> calendar_time(LAST_MS + 1) is None
    True
    """
    try:
        return _EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return None


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
