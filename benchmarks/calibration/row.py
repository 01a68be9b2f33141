"""A row of the page: what is simulated, how often, and what is claimed of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.calibration.results import Claim, Result

Progress = Callable[[Iterable[int]], Iterable[int]]
"""Wraps an iteration over looks or runs, to show how far it is."""

_POINTS = 40


@dataclass(frozen=True, slots=True)
class Size:
    """Size at which a row is run.

    Attributes:
        repetitions: Experiments or runs, >= 1.
        is_quick: Whether it is the smaller cut, with fewer looks.
    """

    repetitions: int
    is_quick: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    Attributes:
        name: Its name within its group, part of a command.
        cells: What the table says of its setting, by column.
        run: Measures it.
        repetitions: How often it is repeated.
        quick_repetitions: How often in the smaller cut; 0 to leave it out.
        claims: What is promised.
        is_alone: Whether it measures time, so that nothing else may run beside it.
    """

    name: str
    cells: Mapping[str, str]
    run: Callable[[Size, Progress], Result]
    repetitions: int
    quick_repetitions: int = 0
    claims: tuple[Claim, ...] = ()
    is_alone: bool = False

    @property
    def quick(self) -> Size:
        """The smaller cut."""
        return Size(self.quick_repetitions, is_quick=True)

    def scaled(self, part: float) -> Size:
        """Return the size at a part of the repetitions, two at least."""
        return Size(max(2, round(self.repetitions * part)))


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page.

    Attributes:
        name: Its name in commands and files.
        title: Its heading.
        text: What is shown and why, in Markdown.
        columns: Measures that the table has, by name, with their headings.
        rows: The rows.
        is_pooled: Whether the rows promise the same and share no draws, so that the page adds up
            their proportions.
    """

    name: str
    title: str
    text: str
    columns: Mapping[str, str]
    rows: tuple[Row, ...]
    is_pooled: bool = False


def thinned(counts: Sequence[int], repetitions: int) -> tuple[list[float], list[float]]:
    """Return shares by look at a few looks, some evenly spaced and some on a logarithmic axis.

    Args:
        counts: Experiments in which something had happened by each look.
        repetitions: Number of experiments.
    """
    last = len(counts)
    spaced = (np.geomspace(1, last, _POINTS), np.linspace(1, last, _POINTS))
    looks = np.unique(np.concatenate(spaced).round().astype(int)).tolist()
    return [float(look) for look in looks], [counts[look - 1] / repetitions for look in looks]
