"""Numbers, times and names as people read them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import Protocol
from unicodedata import east_asian_width

from streams.model.decimals import significant_decimals, without_zeros, written
from streams.model.times import calendar_time
from streams.stats.kinds import MetricKind

MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"

_LARGE = ((1e12, "T"), (1e9, "B"), (1e6, "M"))
_UNWIELDY = 1e15
"""Numbers from here on are short: they have three digits and an exponent."""

_SIGNIFICANT = 3
_SIGNIFICANT_OF_AMOUNT = 2
_LOG_STEPS = math.log10(2.5)
"""An interval is 25 to 250 steps of its last digit wide, so that rounding hides no end of it."""
_MOST_DECIMALS = 8
_KIB = 1_024
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
_ALMOST_CERTAIN = 0.9995
_PLAIN = 0.4
"""Probabilities so near to one half are written without decimals."""
_LIKELY_ODDS = 10.0

_POP = "\N{POP DIRECTIONAL ISOLATE}"
_LABEL = 32
"""Characters of a name in a chart: as many as a phone has room for."""
_WIDE = frozenset({"F", "W"})
"""Classes of characters that take the room of two (Unicode Standard Annex 11)."""

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
DAY_MS = 24 * _HOUR_MS

ZONE = "UTC"
"""The one time zone of all pages, charts and tables."""

_UNITS = {
    "user": ("user", "users"),
    "session": ("session", "sessions"),
    "impression": ("impression", "impressions"),
}


@dataclass(frozen=True, slots=True)
class Scale:
    """Spelling of the values of a metric.

    Attributes:
        is_rate: Whether they are shares: written in percent, and differences of them in points.
    """

    is_rate: bool

    @property
    def unit(self) -> str:
        """Unit of a difference."""
        return "points" if self.is_rate else ""

    def shown(self, value: float) -> float:
        """Return a value or a difference in the unit that is shown."""
        return 100.0 * value if self.is_rate else value

    def value(self, value: float | None, width: float | None = None) -> str:
        """Return a mean, with as many digits as the width of its interval leaves a meaning."""
        if value is None:
            return "–"
        text = number(self.shown(value), None if width is None else self.shown(width))
        return f"{text}{SPACE}%" if self.is_rate else text

    def bare_difference(self, value: float | None, width: float | None = None) -> str:
        """Return a difference with its sign, without the unit; infinity for no end."""
        if value is None:
            return "–"
        return signed(self.shown(value), None if width is None else self.shown(width))

    def difference(self, value: float | None, width: float | None = None) -> str:
        """Return a difference with its sign and unit."""
        text = self.bare_difference(value, width)
        return f"{text}{SPACE}points" if self.is_rate else text

    def amount(self, value: float) -> str:
        """Return the size of a difference in a sentence, without its sign.

        Its digits follow the value alone, so that every page says the same of it.

        >>> scale_of("continuous").amount(-3.262), scale_of("continuous").amount(326.2)
        ('3.3', '326')
        """
        size = abs(self.shown(value))
        decimals = _decimals(size, None, _SIGNIFICANT_OF_AMOUNT)
        text = without_zeros(_with_decimals(size, decimals))
        return f"{text}{SPACE}points" if self.is_rate else text

    def interval(self, lower: float | None, upper: float | None) -> str:
        """Return the ends of an interval of a difference."""
        if lower is None and upper is None:
            return "not known yet"
        width = None if lower is None or upper is None else upper - lower
        low = "no lower end" if lower is None else self.bare_difference(lower, width)
        high = "no upper end" if upper is None else self.bare_difference(upper, width)
        return f"{low} to {high}{SPACE}points" if self.is_rate else f"{low} to {high}"


class RelativeDifference(Protocol):
    """A relative difference with the ends of its interval; None where they are not defined."""

    @property
    def relative(self) -> float | None:
        """The difference, as a share of the control's mean."""

    @property
    def relative_lower(self) -> float | None:
        """Lower end of its interval."""

    @property
    def relative_upper(self) -> float | None:
        """Upper end of its interval."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text."""

    text: str
    is_code: bool


def scale_of(kind: str) -> Scale:
    """Return how values of a metric of this kind are written."""
    return Scale(is_rate=kind == MetricKind.BINARY)


def number(value: float, width: float | None = None) -> str:
    """Return a number with digits that follow the width of its interval.

    >>> number(10.0196, 3.7), number(1234.5678, 250), number(0.0, 0.02), number(12_345_678)
    ('10.0', '1,235', '0.0000', '12,345,678')
    >>> number(-4e-12), number(4e-12, 1e-11), number(0.0, 1e-11), number(math.nan)
    ('>−0.000001', '<0.000001', '0', '–')
    """
    return _written(value, width, is_signed=False)


def signed(value: float, width: float | None = None) -> str:
    """Return a number with its sign.

    >>> signed(0.31, 2.0), signed(-4.0, 20.0), signed(0.0), signed(4e-12)
    ('+0.31', '−4.0', '0', '<0.000001')
    """
    return _written(value, width, is_signed=True)


def axis_marks(values: Sequence[float], *, is_signed: bool = False) -> list[str]:
    """Return the marks of an axis in one unit, as short as a narrow chart needs them.

    >>> axis_marks([-5e12, 0.0, 5e12], is_signed=True), axis_marks([1.2e6, 1.4e6])
    (['−5T', '0', '+5T'], ['1.20M', '1.40M'])
    >>> axis_marks([0.0, 0.5, 1.0]), axis_marks([2e15])
    (['0.0', '0.5', '1.0'], ['2e+15'])
    """
    largest = max(map(abs, values), default=0.0)
    size, unit = next((each for each in _LARGE if each[0] <= largest < _UNWIELDY), (1.0, ""))
    step = 10.0 * abs(values[1] - values[0]) / size if len(values) > 1 else None
    texts = [_written(value / size, step, is_signed=is_signed) for value in values]
    return [f"{text}{unit}" if value else text for value, text in zip(values, texts, strict=True)]


def _written(value: float, width: float | None, *, is_signed: bool) -> str:
    if math.isnan(value):
        return "–"
    return _with_decimals(value, _decimals(value, width), is_signed=is_signed)


def _with_decimals(value: float, decimals: int, *, is_signed: bool = False) -> str:
    return written(value, decimals, is_signed=is_signed).replace("-", MINUS)


def _decimals(value: float, width: float | None, digits: int = _SIGNIFICANT) -> int:
    if width is not None and width > 0 and math.isfinite(width):
        return min(max(1 - math.floor(math.log10(width) - _LOG_STEPS), 0), _MOST_DECIMALS)
    if not math.isfinite(value) or value == round(value):
        return 0
    return significant_decimals(value, digits)


def percent(share: float | None, decimals: int = 1) -> str:
    """Return a share in percent.

    >>> [percent(each).replace(SPACE, " ") for each in (0.5, 0.12345, None, 0.0004, -0.0004)]
    ['50 %', '12.3 %', '–', '< 0.1 %', '> −0.1 %']
    """
    if share is None or math.isnan(share):
        return "–"
    value, smallest = share * 100.0, 10.0**-decimals
    if 0 < abs(value) < smallest / 2.0:
        bound = written(smallest, decimals)
        text = f">{SPACE}-{bound}" if value < 0 else f"<{SPACE}{bound}"
    else:
        text = without_zeros(written(value, decimals))
    return f"{text.replace('-', MINUS)}{SPACE}%"


def probability(value: float) -> str:
    """Return a probability in percent; one that rounds to certainty is not shown as certain.

    >>> [probability(each).replace(SPACE, " ") for each in (0.9996, 0.22, 0.0001)]
    ['> 99.9 %', '22 %', '< 0.1 %']
    """
    if value > _ALMOST_CERTAIN:
        return f">{SPACE}99.9{SPACE}%"
    if value < 1.0 - _ALMOST_CERTAIN:
        return f"<{SPACE}0.1{SPACE}%"
    return percent(value, 0 if abs(value - 0.5) <= _PLAIN else 1)


def signed_percent(share: float | None, width: float | None = None) -> str:
    """Return a relative difference; what rounds to zero has no sign.

    Args:
        share: The difference; None where it is not defined.
        width: Width of its interval, which its digits follow; None where it has none.

    >>> [signed_percent(each).replace(SPACE, " ") for each in (0.123, -1e-7, math.inf)]
    ['+12.3 %', '0.000 %', '+∞ %']
    >>> signed_percent(0.2104, 1.5).replace(SPACE, " ")
    '+21 %'
    """
    if share is None or math.isnan(share):
        return "–"
    if width is None:
        width = max(abs(share), 0.001)
    return f"{signed(share * 100.0, width * 100.0)}{SPACE}%"


def lift(against: RelativeDifference) -> str:
    """Return the relative difference to the control, with the digits that its interval leaves."""
    lower, upper = against.relative_lower, against.relative_upper
    width = None if lower is None or upper is None else upper - lower
    return signed_percent(against.relative, width)


def percent_field(share: float) -> str:
    """Return a share in percent as a field of a form has it, which reads it back as it was.

    >>> percent_field(0.07), percent_field(1), percent_field(1e-9), percent_field(0.123456789)
    ('7', '100', '0.0000001', '12.3456789')
    """
    return f"{(Decimal(repr(float(share))) * 100).normalize():f}"


def count(value: int) -> str:
    """Return a whole number with separators."""
    return f"{value:,}"


def chance_of(p_value: float) -> str:
    """Return how seldom chance does something, for a sentence.

    >>> chance_of(0.00034), chance_of(1e-15), chance_of(0.2)
    ('below 1 in 2,900', 'below 1 in 1,000,000', 'about 1 in 5')
    """
    odds = 1.0 / max(p_value, 1e-6)
    if odds < _LIKELY_ODDS:
        return f"about 1 in {odds:.0f}"
    return f"below 1 in {round(float(f'{odds:.1e}')):,}"


def size(n_bytes: int) -> str:
    """Return a number of bytes.

    >>> [size(each).replace(SPACE, " ") for each in (0, 1_023, 1_536, 268_435_456)]
    ['0 B', '1,023 B', '1.50 KiB', '256 MiB']
    """
    value = float(n_bytes)
    unit, *larger = _SIZES
    while value >= _KIB and larger:
        value, unit, *larger = value / _KIB, *larger
    return f"{number(value)}{SPACE}{unit}"


def sentence(text: str) -> str:
    """Return a message as a sentence.

    >>> sentence("no worker is alive"), sentence("`x` is no event."), sentence("")
    ('No worker is alive.', '`x` is no event.', '')
    """
    if not text:
        return ""
    return f"{text[0].upper()}{text[1:]}" + ("" if text[-1] in ".!?" else ".")


def spans(text: str) -> tuple[Span, ...]:
    """Return a text by what stands between backticks in it, and what does not.

    >>> [(each.text, each.is_code) for each in spans("Run `experiment doctor`.")]
    [('Run ', False), ('experiment doctor', True), ('.', False)]
    >>> spans("a lone ` tick")
    (Span(text='a lone ` tick', is_code=False),)
    """
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return (Span(text, is_code=False),)
    return tuple(Span(part, index % 2 == 1) for index, part in enumerate(parts) if part)


def moment(ms: int | None) -> str:
    """Return a time, with its zone; its milliseconds where no calendar has it.

    >>> moment(1795978407049)
    '29 Nov 2026, 18:53:27 UTC'
    """
    if not ms:
        return "–"
    at = calendar_time(ms)
    return f"{ms} ms" if at is None else f"{at.day} {at:%b %Y, %H:%M:%S} {ZONE}"


def forecast(ms: int, ahead_ms: float) -> str:
    """Return a time that is expected, as exactly as a pace can say it.

    Args:
        ms: The time, which a calendar has.
        ahead_ms: How far ahead it is.

    >>> forecast(1795978407049, 90_000), forecast(1795978407049, 5 * DAY_MS)
    ('29 Nov 2026, 18:53 UTC', '29 Nov 2026')
    """
    at = calendar_time(ms)
    if at is None:
        return moment(ms)
    day = f"{at.day} {at:%b %Y}"
    return f"{day}, {at:%H:%M} {ZONE}" if ahead_ms < DAY_MS else day


def iso(ms: int | None) -> str:
    """Return a time for machines; empty for none, and for one that no calendar has."""
    at = calendar_time(ms) if ms else None
    return "" if at is None else at.isoformat()


def duration(ms: float) -> str:
    """Return a length of time, rounded.

    >>> duration(30_000), duration(3_700_000), duration(9.4 * DAY_MS)
    ('under a minute', '1 hour', '9 days')
    """
    for size, one in ((DAY_MS, "day"), (_HOUR_MS, "hour"), (_MINUTE_MS, "minute")):
        if ms >= size:
            n = int(ms // size)
            return f"{n} {one}" if n == 1 else f"{n:,} {one}s"
    return "under a minute"


def day_of(duration_ms: float) -> int:
    """Return the day of an experiment, from 1."""
    return int(duration_ms // DAY_MS) + 1


def units_of(unit: str, n: int = 2) -> str:
    """Return the name of units of randomization.

    >>> units_of("user"), units_of("session", 1)
    ('users', 'session')
    """
    one, many = _UNITS.get(unit, ("unit", "units"))
    return one if n == 1 else many


def shortened(name: str) -> str:
    """Return a name for a place where no line can break; the whole name stands beside it.

    One that is isolated (`dashboard.views.isolation`) stays so. Characters of full width, as those
    of Chinese, count twice.

    >>> shortened("Blue"), len(shortened("x" * 100)), len(shortened("藍" * 100))
    ('Blue', 32, 16)
    """
    ends = [*accumulate(2 if east_asian_width(each) in _WIDE else 1 for each in name)]
    if not ends or ends[-1] <= _LABEL:
        return name
    end = _POP if name.endswith(_POP) else ""
    return f"{name[: bisect_right(ends, _LABEL - 1)]}…{end}"


def listed(names: list[str]) -> str:
    """Return names as a sentence has them.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
