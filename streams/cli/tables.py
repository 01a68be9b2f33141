"""Tables for the terminal, and the formats of what is in their cells."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from experiment_streams_client import ListedExperiment
from streams.cli.fitting_table import LEAST_WIDTH, FittingTable
from streams.cli.numbers import number
from streams.model.quantities import MICRO
from streams.model.times import calendar_time

BAR_WIDTH = 8

INTERVALS = "Intervals are 95 % credible intervals of the mean per unit."
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_MAY_WRAP = frozenset({"key", "name", "variant", "experiment", "created"})
_STATUS_STYLES = {"running": "green", "paused": "yellow", "draft": "cyan"}


def experiments_table(experiments: Iterable[ListedExperiment]) -> Table:
    """Return one line an experiment, in their order."""
    table = table_of(
        "id", "key", "name", "owner", "type", "status", "recommended", ">units", "created"
    )
    for experiment in experiments:
        summary = experiment.summary
        table.add_row(
            experiment.id,
            experiment.key or "",
            Text(experiment.name),
            Text(str(experiment.config.get("owner") or "")),
            str(experiment.config.get("type", "")),
            status_text(experiment.status),
            _recommended(experiment),
            "" if summary is None else f"{summary.units:,}",
            moment(experiment.created_at),
        )
    return table


def _recommended(experiment: ListedExperiment) -> Text:
    """Return the recommended action of a list, with its health unless that is good."""
    summary = experiment.summary
    if summary is None:
        return Text("")
    if summary.health == "ok":
        return Text(summary.action)
    codes = ", ".join(summary.health_codes)
    return Text(f"{summary.action}: {codes}", "red" if summary.health == "error" else "yellow")


def interval(mean: float | None, lower: float | None, upper: float | None) -> str:
    """Return a mean with its interval, as in `0.0512 [0.0431, 0.0603]`; `-` if missing."""
    if mean is None or lower is None:
        return "-"
    end = "∞)" if upper is None else f"{number(upper)}]"
    return f"{number(mean)} [{number(lower)}, {end}"


def bar(filled: float, width: int = BAR_WIDTH) -> str:
    """Return a bar of `width` characters, `filled` in [0, 1] in eighths of a character.

    >>> bar(0.5, 4)
    '██  '
    """
    eighths = round(min(max(filled, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return (_EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def share(allocation: float) -> str:
    """Return a share in [0, 1] as a bar and a percentage."""
    return f"{bar(allocation)} {allocation:6.1%}"


def exact(micro: int) -> str:
    """Return a sum of micro-units as an exact decimal, without trailing zeros.

    >>> exact(49_990_000), exact(-1), exact(3_000_000)
    ('49.99', '-0.000001', '3')
    """
    whole, rest = divmod(abs(micro), MICRO)
    decimals = f"{rest:06d}".rstrip("0")
    return f"{'-' if micro < 0 else ''}{whole:,}{'.' if decimals else ''}{decimals}"


def moment(at_ms: int | None) -> str:
    """Return a time in milliseconds since the epoch as UTC, to the second; empty for None.

    One that a producer chose may be one that no calendar has; its milliseconds are returned.
    """
    if at_ms is None:
        return ""
    at = calendar_time(at_ms)
    return f"{at_ms} ms" if at is None else at.isoformat(" ", "seconds").removesuffix("+00:00")


def table_of(*columns: str) -> Table:
    """Return an empty table; a column whose title begins with `>` is aligned to the right."""
    table = FittingTable(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for title in columns:
        side: JustifyMethod = "right" if title.startswith(">") else "left"
        # As text: what stands in brackets would be taken for a style.
        name = Text(title.removeprefix(">"))
        may_wrap = title in _MAY_WRAP
        table.add_column(
            name, justify=side, no_wrap=not may_wrap, min_width=LEAST_WIDTH if may_wrap else None
        )
    return table


def status_text(status: str) -> Text:
    """Return the status of an experiment in its color."""
    return Text(status, _STATUS_STYLES.get(status, "dim"))
