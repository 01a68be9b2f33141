"""Correction of p-values for multiple comparisons.

Always-valid p-values are p-values at every look, so any correction of p-values applies to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Tried:
    """Variants that an experiment has compared with its control, of which some were added later.

    While s variants are compared from the start, each comparison has 1 / s of the error, and any of
    them may use it up before another variant is added. So what is left for later ones is not the
    k-th part: k variants one after the other, each at 1 / k of the error, would err with 1 + 1/2 +
    1/3 + ... times the error. From k > s variants on each comparison has s / k^2 of the error. The
    sum over all that were added is then s (1 / (s + 1)^2 + 1 / (s + 2)^2 + ...), less than 0.65 for
    s = 1 and less than 1 for any s.

    Attributes:
        at_start: Variants beside the control at the start, >= 1.
        so_far: Those that there ever were, including stopped ones, >= `at_start`.

    Source: Foster and Stine (2008), "Alpha-investing", section 1, for a fixed sequence of errors
        with a finite sum ("alpha-spending").
    """

    at_start: int
    so_far: int

    def __post_init__(self) -> None:
        if not 1 <= self.at_start <= self.so_far:
            raise InvalidParameterError("at_start", self.at_start, f"in 1..{self.so_far}")

    @property
    def share(self) -> float:
        """Share of the error that all comparisons have together, in (0, 1].

        >>> Tried(1, 1).share, Tried(2, 2).share, Tried(1, 4).share
        (1.0, 1.0, 0.25)
        """
        return self.at_start / self.so_far


ONE = Tried(1, 1)
"""One variant and the control, as after a promotion."""


def holm(p_values: Sequence[float], *, among: int = 0, share: float = 1.0) -> FloatArray:
    """Return p-values that hold for all comparisons together, in their order.

    Comparing all of them with alpha, the probability of one or more false rejections is at most
    alpha, whatever depends on what. With always-valid p-values it is so at every look at once: the
    first false rejection needs a true hypothesis whose p-value, at some time, is at most alpha over
    the number of true ones, and each does that with that probability at most.

    Args:
        p_values: Shape (n,), each in [0, 1].
        among: Comparisons that there ever were. Those that are not here count as not rejected.
        share: Share of the error that they have together (`Tried`), in (0, 1].

    Raises:
        InvalidParameterError: a p-value is outside [0, 1].

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
        >>> holm([0.01], among=2, share=0.5)
        array([0.04])
    """
    values = [float(each) for each in p_values]
    if not all(0.0 <= each <= 1.0 for each in values):
        raise InvalidParameterError("p_values", values, "in [0, 1]")
    adjusted, most, n_all = np.empty(len(values)), 0.0, max(among, len(values))
    for place, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        most = max(most, min(values[index] * (n_all - place) / share, 1.0))
        adjusted[index] = most
    return adjusted


def holm_by_column(columns: Sequence[Sequence[float]], tried: Tried) -> list[list[float]]:
    """Return p-values of several metrics that hold for all of them together, in their places.

    Args:
        columns: P-values of each metric by variant.
        tried: Variants that each metric was compared for.
    """
    flat = [p for column in columns for p in column]
    found = iter(holm(flat, among=len(columns) * tried.so_far, share=tried.share).tolist())
    return [[next(found) for _ in column] for column in columns]
