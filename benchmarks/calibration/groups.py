"""All groups of calibration rows, in the order of the page."""

from __future__ import annotations

from fnmatch import fnmatchcase

from benchmarks.calibration.bets import bets
from benchmarks.calibration.changing import changing
from benchmarks.calibration.combinations import combinations
from benchmarks.calibration.contextual import draws, floors, peers
from benchmarks.calibration.costs import cost
from benchmarks.calibration.covariates import covariates
from benchmarks.calibration.delays import delays
from benchmarks.calibration.eligible import eligible
from benchmarks.calibration.errors import errors, peeking
from benchmarks.calibration.futility import futility
from benchmarks.calibration.late import late
from benchmarks.calibration.losses import losses, slope
from benchmarks.calibration.off_policy import off_policy
from benchmarks.calibration.promotions import equivalence, guarded, rollbacks, weeks
from benchmarks.calibration.quantiles import quantiles
from benchmarks.calibration.ratios import mismatch
from benchmarks.calibration.reports import reports
from benchmarks.calibration.row import Row, Section
from benchmarks.calibration.slices import slices
from benchmarks.calibration.starved import starved
from benchmarks.calibration.tails import tails
from benchmarks.calibration.through import agreement, promoted
from benchmarks.calibration.variants import variants
from benchmarks.calibration.winners import power, promotion

GROUPS = (
    errors(),
    late(),
    combinations(),
    futility(),
    peeking(),
    tails(),
    starved(),
    quantiles(),
    power(),
    promotion(),
    bets(),
    promoted(),
    guarded(),
    weeks(),
    equivalence(),
    rollbacks(),
    agreement(),
    losses(),
    slope(),
    peers(),
    draws(),
    floors(),
    changing(),
    delays(),
    reports(),
    mismatch(),
    covariates(),
    eligible(),
    variants(),
    slices(),
    off_policy(),
    cost(),
)


def row_of(group: str, row: str) -> Row:
    """Return a row by the names of its group and its own.

    Raises:
        KeyError: it does not exist.
    """
    rows = {(group.name, row.name): row for group in GROUPS for row in group.rows}
    return rows[group, row]


def chosen(patterns: list[str]) -> list[tuple[Section, Row]]:
    """Return the rows that one of some patterns names; all of them without a pattern.

    Args:
        patterns: GROUP or GROUP/ROW, with the wildcards of a shell.

    Raises:
        ValueError: a pattern names no row.

    Examples:
        >>> [row.name for _, row in chosen(["slope"])]
        ['thompson']
    """
    rows = [(group, row) for group in GROUPS for row in group.rows]
    for pattern in patterns:
        if not any(_is_named(pattern, group, row) for group, row in rows):
            known = ", ".join(group.name for group in GROUPS)
            raise ValueError(f"--rows == {pattern!r}, must name rows of {known}")
    return [
        (group, row)
        for group, row in rows
        if not patterns or any(_is_named(pattern, group, row) for pattern in patterns)
    ]


def _is_named(pattern: str, group: Section, row: Row) -> bool:
    whole = f"{group.name}/{row.name}"
    return fnmatchcase(group.name, pattern) or fnmatchcase(whole, pattern)
