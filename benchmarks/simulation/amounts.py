"""Amounts with the mean 1, of shapes from none to a tail without a variance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from streams.stats.arrays import FloatArray


class Amounts(ABC):
    """A distribution of amounts >= 0 with the mean 1."""

    @abstractmethod
    def draw(self, random: np.random.Generator, n: int) -> FloatArray:
        """Return `n` amounts."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in a table."""


@dataclass(frozen=True, slots=True)
class LogNormal(Amounts):
    """Log-normal amounts, as revenue often is.

    Attributes:
        spread: Standard deviation of the logarithm, > 0.
    """

    spread: float

    def draw(self, random: np.random.Generator, n: int) -> FloatArray:
        """Return `n` amounts."""
        return random.lognormal(-self.spread * self.spread / 2.0, self.spread, n)

    @property
    def name(self) -> str:
        """Name with the spread."""
        return f"log-normal {self.spread:g}"


@dataclass(frozen=True, slots=True)
class Pareto(Amounts):
    """Pareto amounts: no variance up to an index of 2, and no skewness up to 3.

    Attributes:
        index: P(amount > x) falls as x to the minus index, > 1.
    """

    index: float

    def draw(self, random: np.random.Generator, n: int) -> FloatArray:
        """Return `n` amounts."""
        return (self.index - 1.0) / self.index * (1.0 + random.pareto(self.index, n))

    @property
    def name(self) -> str:
        """Name with the index."""
        return f"Pareto {self.index:g}"


@dataclass(frozen=True, slots=True)
class Gamma(Amounts):
    """Gamma amounts.

    Attributes:
        shape: Shape, > 0: the skewness is 2 over its root.
    """

    shape: float

    def draw(self, random: np.random.Generator, n: int) -> FloatArray:
        """Return `n` amounts."""
        return random.gamma(self.shape, 1.0 / self.shape, n)

    @property
    def name(self) -> str:
        """Name with the shape."""
        return f"gamma {self.shape:g}"


@dataclass(frozen=True, slots=True)
class Mixed(Amounts):
    """Small log-normal amounts, and a few large ones.

    Attributes:
        share: Share of the large ones, in (0, 1).
        part: Part of the mean that they bring, in (0, 1).
    """

    share: float
    part: float

    def draw(self, random: np.random.Generator, n: int) -> FloatArray:
        """Return `n` amounts."""
        small = LogNormal(0.5).draw(random, n) * (1.0 - self.part)
        return small + (random.random(n) < self.share) * (self.part / self.share)

    @property
    def name(self) -> str:
        """Name with share and part."""
        return f"{self.share:.1%} bring {self.part:.0%}"
