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


@dataclass(frozen=True, slots=True)
class Counts(Amounts):
    """Poisson counts over their mean: whole multiples of one amount, with many ties.

    Attributes:
        mean: Their mean, > 0.
    """

    mean: float

    def draw(self, random: np.random.Generator, n: int) -> FloatArray:
        """Return `n` amounts."""
        return random.poisson(self.mean, n) / self.mean

    @property
    def name(self) -> str:
        """Name with the mean."""
        return f"counts {self.mean:g}"


@dataclass(frozen=True, slots=True)
class Seldom(Amounts):
    """Log-normal amounts that some units have; of the others the amount is 0.

    Attributes:
        share: Share of the units that have one, in (0, 1].
        spread: Standard deviation of the logarithm, > 0.
    """

    share: float
    spread: float

    def draw(self, random: np.random.Generator, n: int) -> FloatArray:
        """Return `n` amounts."""
        has = random.random(n) < self.share
        return has * LogNormal(self.spread).draw(random, n) / self.share

    @property
    def name(self) -> str:
        """Name with share and spread."""
        return f"{self.share:.0%} log-normal {self.spread:g}"
