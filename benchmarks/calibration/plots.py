"""The plots of docs/explanation/calibration.md, as SVG with the same bytes for the same results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.calibration.losses import HORIZON
from benchmarks.calibration.results import Result, Store
from benchmarks.calibration.winners import LEAST_UNITS
from benchmarks.simulation.regret import LOW_CLICK_RATES

Rows = Mapping[str, Result]

# Okabe and Ito (2008): distinguishable for colour-blind readers too.
_BLUE, _ORANGE, _GREEN, _RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
_PINK, _SKY, _GREY, _BLACK = "#CC79A7", "#56B4E9", "#7F7F7F", "#222222"
_STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "calibration",
}
_SIZE = (8.2, 4.2)  # inches
_C = LOW_CLICK_RATES.lai_robbins

PLOTS: dict[str, tuple[tuple[str, str], ...]] = {
    "errors": (
        ("coverage", "Share of experiments whose confidence sequence has never missed, over looks"),
    ),
    "peeking": (("errors", "Share of experiments in which a variant was declared, over looks"),),
    "power": (("power", "Share of experiments in which a variant was declared, over units"),),
    "promotion": (
        ("promotion", "Share of experiments in which a winner was declared, over units"),
    ),
    "regret": (
        ("regret", "Clicks lost over units, by policy"),
        ("floor", "Clicks lost over units under several floors"),
    ),
    "changing": (("changing", "Conversions lost over hours, with all units alike and by period"),),
    "slope": (("slope", "Clicks lost from 1,000 to 1,000,000 units beside C ln T"),),
}
"""Plots of each group: name of the file, and what it shows."""


def draw(store: Store, directory: Path, suffix: str = "svg") -> None:
    """Draw every plot whose results are there.

    Args:
        store: Where the results are.
        directory: Where the files go.
        suffix: `svg`, or `png` to look at them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for group, plots in PLOTS.items():
        rows = store.read(group)
        if not rows:
            continue
        for name, _ in plots:
            with mpl.rc_context(_STYLE):
                figure = Figure(figsize=_SIZE, layout="constrained")
                axes = figure.subplots()
                _DRAWN[name](axes, rows)
                # Without the date, the same results give the same bytes.
                metadata = {"Date": None} if suffix == "svg" else None
                figure.savefig(directory / f"{name}.{suffix}", metadata=metadata, dpi=110)


def _errors(axes: Axes, rows: Rows) -> None:
    lines = (
        ("p-best-95", "stop when P(best) > 95 %", _RED, "-"),
        ("p-5-of-a-fixed-test", "stop when p < 5 %", _ORANGE, "-"),
        ("growthbook-s-sequential-rule", "GrowthBook", _GREEN, "--"),
        ("statsig-s-sequential-rule", "Statsig", _PINK, "--"),
        ("planned", "ours, size planned", _SKY, "-"),
        ("sequence", "ours", _BLUE, "-"),
    )
    _lines(axes, rows, "named", lines)
    axes.axhline(0.05, color=_BLACK, linewidth=1, linestyle=":")
    axes.annotate("5 %", (1.0, 0.05), xytext=(2, 3), textcoords="offset points", fontsize=9)
    axes.set(
        title="Two equal variants, a look every 200 units: how often one has been declared",
        xlabel="looks",
        ylabel="experiments in error",
        xscale="log",
        yscale="log",
        xlim=(1, 1_000),
        ylim=(0.001, 1),
    )
    _finish(axes)


def _coverage(axes: Axes, rows: Rows) -> None:
    families = (
        ("plain sums, shares fixed", _BLUE, "plain-sums"),
        ("the same, 1,000 units planned", _SKY, "plain-sums-1000-planned"),
        ("overlap weights, shares moving", _GREEN, "overlap-weights"),
        ("weights 1 / p, shares moving", _ORANGE, "weights-1-p"),
    )
    for label, colour, ending in families:
        chosen = [row for name, row in sorted(rows.items()) if name.endswith(ending)]
        for index, row in enumerate(chosen):
            looks, missed = row.curves["missed"]
            axes.plot(
                looks,
                [1.0 - share for share in missed],
                color=colour,
                linewidth=1.1,
                alpha=0.75,
                label=f"{label} ({len(chosen)})" if index == 0 else None,
            )
    axes.axhline(0.95, color=_BLACK, linewidth=1, linestyle=":")
    axes.annotate("95 %", (1.0, 0.95), xytext=(2, 3), textcoords="offset points", fontsize=9)
    axes.set(
        title="Sequences that have never missed; one line for each row of the table",
        xlabel="looks",
        ylabel="experiments",
        xscale="log",
        xlim=(1, 1_000),
        ylim=(0.945, 1.001),
    )
    _finish(axes)


def _power(axes: Axes, rows: Rows) -> None:
    lines = (
        ("planned", "ours, 20,000 planned", _SKY, "-"),
        ("sequence", "ours, none planned", _BLUE, "-"),
        ("growthbook-s-sequential-rule", "GrowthBook", _GREEN, "--"),
        ("statsig-s-sequential-rule", "Statsig", _PINK, "--"),
    )
    _lines(axes, rows, "named", lines)
    if "fixed-horizon" in rows:
        units, shares = rows["fixed-horizon"].curves["named"]
        axes.plot(units[-1], shares[-1], "D", color=_BLACK, label="fixed horizon, one look")
    axes.axhline(0.8, color=_BLACK, linewidth=1, linestyle=":")
    axes.set(
        title="11 % against 10 %: experiments in which a variant has been declared",
        xlabel="units of both variants",
        ylabel="experiments",
        xlim=(0, 42_000),
        ylim=(0, 1),
    )
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    _finish(axes)


def _promotion(axes: Axes, rows: Rows) -> None:
    lines = (
        ("even-plain-sums", "even shares", _BLUE, "-"),
        ("top-two-0.01-overlap-weights", "top-two Thompson", _SKY, "-"),
        ("thompson-0.25-overlap-weights", "Thompson, floor 0.25", _BLACK, "-"),
        ("thompson-0.2-overlap-weights", "Thompson, floor 0.2", _GREEN, "-"),
        ("thompson-0.1-overlap-weights", "Thompson, floor 0.1", _ORANGE, "-"),
        ("thompson-0.05-overlap-weights", "Thompson, floor 0.05", _PINK, "-"),
        ("thompson-0.01-overlap-weights", "Thompson, floor 0.01", _RED, "-"),
        ("thompson-0.01-weights-1-p", "the same by weights 1 / p", _GREY, "--"),
    )
    _lines(axes, rows, "named", lines)
    for times, label, height in ((1, "the bound of the mean", 0.62), (3, "three times", 0.02)):
        axes.axvline(times * LEAST_UNITS, color=_BLACK, linewidth=1, linestyle=":")
        axes.annotate(
            label,
            (times * LEAST_UNITS, height),
            xytext=(-3, 0),
            textcoords="offset points",
            rotation=90,
            ha="right",
            fontsize=8,
        )
    axes.set(
        title="5 % against 4 %: experiments in which a winner has been declared",
        xlabel="units of both variants",
        ylabel="experiments",
        xscale="log",
        xlim=(1_000, 200_000),
        ylim=(0, 1),
    )
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    _finish(axes)


def _regret(axes: Axes, rows: Rows) -> None:
    lines = (
        ("ucb1-c-sqrt-2", "UCB1, c = √2", _GREY, "-"),
        ("top-two-thompson", "top-two Thompson", _SKY, "-"),
        ("ucb-tuned", "UCB-Tuned", _ORANGE, "-"),
        ("kl-ucb", "KL-UCB", _PINK, "-"),
        ("kl-ucb-c-0", "KL-UCB, c = 0", _PINK, "--"),
        ("epsilon-greedy-0.1", "ε-greedy 0.1", _GREEN, "-"),
        ("epsilon-greedy-0.1-with-decay-d-50", "ε-greedy, decay 50", _GREEN, "--"),
        ("thompson", "Thompson", _BLUE, "-"),
    )
    _lines(axes, rows, "lost", lines)
    axes.set(
        title="Ten variants, low click rates, no floor",
        xlabel="units",
        ylabel="clicks lost",
        xscale="log",
        yscale="log",
        xlim=(100, HORIZON),
        ylim=(4, 1_500),
    )
    _plain(axes)
    _finish(axes, is_share=False)


def _floor(axes: Axes, rows: Rows) -> None:
    lines = (
        ("thompson-the-default-floor", "0.01, the default", _RED, "-"),
        ("thompson-a-floor-from-0.01-to-0.001", "from 0.01 falling to 0.001", _ORANGE, "-"),
        ("thompson-a-floor-of-0.001", "0.001", _GREEN, "-"),
        ("thompson-every-100-units", "none", _BLUE, "-"),
    )
    _lines(axes, rows, "lost", lines)
    axes.set(
        title="Thompson sampling on the same ten variants, by floor",
        xlabel="units",
        ylabel="clicks lost",
        xlim=(0, HORIZON),
        ylim=(0, None),
    )
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    _finish(axes, is_share=False)


def _slope(axes: Axes, rows: Rows) -> None:
    units, lost = rows["thompson"].curves["lost"]
    axes.plot(units, lost, color=_BLUE, marker="o", markersize=3, label="Thompson")
    start = units.index(100_000.0)
    for times, style in ((1.3, ":"), (1.0, "--"), (0.7, ":")):
        grown = [lost[start] + times * _C * math.log(each / units[start]) for each in units[start:]]
        label = f"{times:.1f} C per e-fold, C = {_C:.2f}"
        axes.plot(units[start:], grown, style, color=_BLACK, linewidth=1.2, label=label)
    axes.set(
        title="Thompson sampling in the long run, and the slope of Lai and Robbins from 100,000 on",
        xlabel="units",
        ylabel="clicks lost",
        xscale="log",
        xlim=(1_000, 1_000_000),
        ylim=(30, None),
    )
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    _finish(axes, is_share=False)


def _changing(axes: Axes, rows: Rows) -> None:
    environments = (
        ("turned", "rates that turn", "half-life of a day", _BLUE),
        ("week-ends", "week-ends", "strata", _ORANGE),
        ("delays", "delays", "what can have arrived", _GREEN),
    )
    for name, environment, option, colour in environments:
        if name in rows:
            curves = rows[name].curves
            axes.plot(*curves["alike"], "--", color=colour, label=f"{environment}, all units alike")
            axes.plot(*curves["lost"], color=colour, label=f"{environment}, {option}")
    axes.set(
        title="Thompson sampling in a changing environment",
        xlabel="hours of 500 units",
        ylabel="conversions lost",
        xlim=(0, None),
        ylim=(0, None),
    )
    _finish(axes, is_share=False)


_DRAWN: dict[str, Callable[[Axes, Rows], None]] = {
    "errors": _errors,
    "coverage": _coverage,
    "power": _power,
    "promotion": _promotion,
    "regret": _regret,
    "floor": _floor,
    "slope": _slope,
    "changing": _changing,
}


def _lines(axes: Axes, rows: Rows, curve: str, lines: Sequence[tuple[str, str, str, str]]) -> None:
    for name, label, colour, style in lines:
        if name in rows:
            axes.plot(*rows[name].curves[curve], style, color=colour, label=label)


def _finish(axes: Axes, *, is_share: bool = True) -> None:
    if is_share:
        axes.yaxis.set_major_formatter(FuncFormatter(_per_cent))
    if axes.get_xscale() == "log":
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def _plain(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(_thousands))


def _per_cent(share: float, _: object) -> str:
    return f"{100.0 * share:g} %"


def _thousands(value: float, _: object) -> str:
    return f"{value:,.0f}"
