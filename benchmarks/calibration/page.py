"""docs/explanation/calibration.md from the results that there are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from benchmarks.calibration.results import Claim, Mean, Measure, Result, Store, Verdict, pooled
from benchmarks.calibration.row import Row, Section
from benchmarks.simulation.proportion import Proportion

_ALL = "all of them"
_FINE = 0.01  # shares this near to 0 or 1 are shown with another decimal
_PLAIN_FROM = 100.0  # means from here on are shown without decimals

_INTRODUCTION = """\
# Calibration

What the statistics promise, validated against simulated experiments whose truth is known. `make
calibrate` runs every row, keeps what it measured under `benchmarks/results/calibration/` and writes
this page and its plots from that. Everything is seeded, so a row gives the same figures again; the
command above each table makes any one of its rows. A smaller cut is a long test
([`tests/benchmarks/test_calibrate.py`](../../tests/benchmarks/test_calibrate.py)).

In brackets stands the 95 % confidence interval: of a share by Clopper and Pearson, of a mean by
Student's t. A claim **holds** if the whole interval is within it, **fails** if the whole interval
is outside, and is **open** if its bound lies inside: then more repetitions decide. Rows without
a verdict are there for comparison; "400 of 2,000" repetitions were run at a fifth of the full size.
How the figures are computed in production is in [statistics.md](statistics.md); the simulations are
in [`benchmarks/simulation/`](../../benchmarks/simulation/claims.py).
"""


def page(
    groups: Sequence[Section], store: Store, plots: Mapping[str, Sequence[tuple[str, str]]]
) -> str:
    """Return the page in Markdown.

    Args:
        groups: All groups, in order.
        store: Where their results are.
        plots: Names of the plots of each group, with what they show.
    """
    results = {group.name: store.read(group.name) for group in groups}
    sections = [_section(group, results[group.name], plots.get(group.name, ())) for group in groups]
    return "\n".join([_INTRODUCTION, _summary(groups, results), *sections])


def shown(measure: Measure | None, *, in_full: bool = True) -> str:
    """Return a measure as text, with its confidence interval.

    Args:
        measure: The measure; None for one a row does not have.
        in_full: Whether with the interval.
    """
    match measure:
        case None:
            return ""
        case Proportion():
            low, high = measure.interval()
            value, ends = _percent(measure.share), f"{_percent(low)} – {_percent(high)}"
        case Mean():
            low, high = measure.interval()
            value, ends = _number(measure.mean), f"{_number(low)} – {_number(high)}"
            in_full = in_full and measure.error > 0.0
    return f"{value} ({ends})" if in_full else value


def _summary(groups: Sequence[Section], results: Mapping[str, Mapping[str, Result]]) -> str:
    lines = []
    for group in groups:
        for name, heading in group.columns.items():
            rows = [
                (claim, row, result.measures[name])
                for row, result in _readings(group, results[group.name])
                for claim in row.claims
                if claim.measure == name
            ]
            for bounds in dict.fromkeys((claim.at_least, claim.at_most) for claim, _, _ in rows):
                chosen = [each for each in rows if (each[0].at_least, each[0].at_most) == bounds]
                lines.append(_summary_line(group, heading, chosen))
    return "\n".join(
        [
            "| claim | bound | nearest to it | rows |",
            "|---|---|---|---|",
            *lines,
            "",
        ]
    )


def _readings(group: Section, results: Mapping[str, Result]) -> list[tuple[Row, Result]]:
    """Return the rows that have been run, or all of them as one if they are pooled."""
    found = [(row, results[row.name]) for row in group.rows if row.name in results]
    if not group.is_pooled or not found:
        return found
    whole = replace(found[0][0], name=_ALL, repetitions=sum(row.repetitions for row, _ in found))
    return [(whole, pooled([result for _, result in found]))]


def _summary_line(group: Section, heading: str, rows: Sequence[tuple[Claim, Row, Measure]]) -> str:
    claim, row, measure = max(rows, key=lambda each: _strain(each[0], each[2]))
    verdicts = [claim.verdict(measure) for claim, _, measure in rows]
    counts = ", ".join(
        f"{verdicts.count(verdict)} {_PLURAL[verdict]}"
        for verdict in Verdict
        if verdict in verdicts
    )
    anchor = "".join(
        letter
        for letter in group.title.lower().replace(" ", "-")
        if letter.isalnum() or letter == "-"
    )
    return (
        f"| [{group.title}](#{anchor}): {heading} | {_bounds(claim, measure)} "
        f"| {shown(measure)}, `{row.name}` | {counts} |"
    )


_PLURAL = {Verdict.HOLDS: "hold", Verdict.OPEN: "open", Verdict.FAILS: "**fail**"}


def _strain(claim: Claim, measure: Measure) -> float:
    """Return how near a measure is to the bound of its claim; larger is nearer, or past it."""
    value = measure.share if isinstance(measure, Proportion) else measure.mean
    above = value - claim.at_most if math.isfinite(claim.at_most) else -math.inf
    below = claim.at_least - value if math.isfinite(claim.at_least) else -math.inf
    return max(above, below)


def _bounds(claim: Claim, measure: Measure) -> str:
    render = _percent if isinstance(measure, Proportion) else _number
    least, most = math.isfinite(claim.at_least), math.isfinite(claim.at_most)
    if least and most:
        return f"{render(claim.at_least)} to {render(claim.at_most)}"
    return f"≥ {render(claim.at_least)}" if least else f"≤ {render(claim.at_most)}"


def _section(
    group: Section, results: Mapping[str, Result], plots: Iterable[tuple[str, str]]
) -> str:
    settings = list(dict.fromkeys(name for row in group.rows for name in row.cells))
    rows = [(row, results[row.name]) for row in group.rows if row.name in results]
    if group.is_pooled:
        rows += [
            (replace(row, cells={settings[0]: f"**{row.name}**"}), result)
            for row, result in _readings(group, results)
        ]
    header = [*settings, "repetitions", *group.columns.values(), "verdict", "ROW"]
    body = [
        [
            *(row.cells.get(name, "") for name in settings),
            _size(row, result),
            *(shown(result.measures.get(name)) for name in group.columns),
            _verdict(group, row, result),
            f"`{row.name}`" if row.name != _ALL else "",
        ]
        for row, result in rows
    ]
    missing = sum(row.name not in results for row in group.rows)
    return "\n".join(
        [
            f"## {group.title}",
            "",
            group.text,
            "",
            *(f"![{text}](calibration/{name}.svg)\n" for name, text in plots),
            f"`python -m benchmarks.calibrate --rows {group.name}/ROW`",
            *([f"({missing} of {len(group.rows)} rows have not been run.)"] if missing else []),
            "",
            f"| {' | '.join(header)} |",
            "|" + "---|" * len(header),
            *(f"| {' | '.join(cells)} |" for cells in body),
            "",
        ]
    )


def _size(row: Row, result: Result) -> str:
    whole = f"{row.repetitions:,}"
    return whole if result.repetitions == row.repetitions else f"{result.repetitions:,} of {whole}"


def _verdict(group: Section, row: Row, result: Result) -> str:
    """Return the worst verdict of a row, with the measures that have it unless it holds."""
    measures: dict[Verdict, list[str]] = {}
    for claim in row.claims:
        verdict = claim.verdict(result.measures[claim.measure])
        measures.setdefault(verdict, []).append(group.columns[claim.measure])
    for verdict, text in ((Verdict.FAILS, "**fails**"), (Verdict.OPEN, "open")):
        if verdict in measures:
            return f"{text}: {', '.join(measures[verdict])}"
    return "holds" if measures else ""


def _percent(share: float) -> str:
    if share in {0.0, 1.0}:
        return f"{share:.0%}".replace("%", " %")
    decimals = 2 if min(share, 1.0 - share) < _FINE else 1
    return f"{100.0 * share:.{decimals}f} %"


def _number(value: float) -> str:
    is_plain = abs(value) >= _PLAIN_FROM or value.is_integer()
    return f"{value:,.0f}" if is_plain else f"{value:.2f}"
