"""Tabulated distribution functions of the arms, computed from their densities.

Each arm has its own grid, equidistant in s, with coordinate = center + width * sinh(s): a bell is
sampled densely where it is high, and a power or exponential tail needs few additional points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import accumulate, groupby

import numpy as np
from numpy.typing import NDArray

from streams.stats.arrays import FloatArray, any_of
from streams.stats.posteriors.base import Posteriors

_STEPS = (72, 126, 252)  # of a grid
_LONGEST_SIDE = 3.1  # of a bell, in units of s: a count of 14, or 100 degrees of freedom
_WIDEST_BELL = 0.5  # between the quartiles of the logarithm: of a ratio of Gammas, a count of 15
_LONGEST_SPAN = 6.5  # in units of s, for all but the most steps: all but small counts
_STEPS_PER_NODE = (3, 2, 2)  # a sum needs fewer points than a table
_QUARTILE = 0.6745  # of a normal distribution, in standard deviations
_NARROWEST_SPREAD = 1e-9  # of the support, in values: more than 0
_EVERYTHING = np.array([[-np.inf], [np.inf]])
_SMOOTH_REACH = 12.0  # in widths: F leaves the end of its domain with nine derivatives of 0

# Integral over a step from six points around it, exact for polynomials of degree 5.
_OUTER, _MIDDLE, _INNER = 11.0 / 1440.0, -93.0 / 1440.0, 802.0 / 1440.0


@dataclass(frozen=True, slots=True, eq=False)
class TabulatedPosteriors:
    """Posteriors with the distribution functions of their arms.

    The arms of all families are stacked, so that each step is one array operation for all of them:
    for a few dozen arms, the cost of an operation is constant. Consecutive families of one class
    form one law, whose functions are called once.

    Attributes:
        families: The tabulated posteriors.
        laws: Those of one class that follow one another, joined.
        law: Index of the law of each arm; shape (n_arms,).
        law_edges: Index of the first arm of each law, and the number of arms.
        first: Index of the first arm of each family; shape (n_families,).
        family: Index of the family of each arm; shape (n_arms,).
        means: Posterior means; shape (n_arms,).
        lower, upper: Ends of the supports, as coordinates; shape (n_arms,).
        lowest, highest: Ends of the support of the mean at which the distribution function has a
            corner; infinite without a corner, or with a negligible one; shape (n_arms,).
        spread: Distances of the quartiles of the means, roughly, > 0; shape (n_arms,).
        log_spread: The same of their logarithms; not a number where a mean may be below 0.
        center, width: The map from s to a coordinate; shape (n_arms,).
        start, step: First s of the grid and the distance to the next; shape (n_arms,).
        values: Means at the points; shape (n_arms, n_points).
        density: Density over s times the step; shape (n_arms, n_points).
        below: Distribution function at the points; shape (n_arms, n_points).
        node_values, node_masses: Means and their masses, sum 1: expectations of what bends no more
            than the arm itself are sums over them; shape (n_arms, n_nodes).
    """

    families: tuple[Posteriors, ...]
    laws: tuple[Posteriors, ...]
    law: NDArray[np.intp]
    law_edges: tuple[int, ...]
    first: NDArray[np.intp]
    family: NDArray[np.intp]
    means: FloatArray
    lower: FloatArray
    upper: FloatArray
    lowest: FloatArray
    highest: FloatArray
    spread: FloatArray
    log_spread: FloatArray
    center: FloatArray
    width: FloatArray
    start: FloatArray
    step: FloatArray
    values: FloatArray
    density: FloatArray
    below: FloatArray
    node_values: FloatArray
    node_masses: FloatArray

    @classmethod
    def of(cls, *families: Posteriors) -> TabulatedPosteriors:
        """Return the tables of all arms; one density for each of 73 to 253 points and arm.

        Args:
            families: Posteriors of several metrics, each of its arms.
        """
        of_family = [family.means for family in families]
        sizes, means = [len(each) for each in of_family], np.concatenate(of_family)
        first = np.cumsum([0, *sizes])
        laws = tuple(own.joined(rest) if rest else own for own, *rest in _of_one_class(families))
        edges = (0, *accumulate(len(law.means) for law in laws))
        lower, upper = (np.concatenate(ends) for ends in zip(*map(_support, laws), strict=True))
        center, width = (np.concatenate(c) for c in zip(*map(_bells, laws), strict=True))
        quartiles, domain = np.empty((2, len(means))), np.empty((2, len(means)))
        around = center + _QUARTILE * width * np.array([[-1.0], [1.0]])
        for law, begin, end in zip(laws, edges, edges[1:], strict=False):
            quartiles[:, begin:end] = law.values(around[:, begin:end])
            domain[:, begin:end] = law.values(_EVERYTHING)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_quartiles = np.log(quartiles)
            log_spread = log_quartiles[1] - log_quartiles[0]
        start = np.arcsinh((lower - center) / width)
        span = np.arcsinh((upper - center) / width) - start
        side = max(float(-start.min()), float((start + span).max()))
        is_bell = side <= _LONGEST_SIDE and not any_of(log_spread > _WIDEST_BELL)
        rule = 0 if is_bell else 1 + int(span.max() > _LONGEST_SPAN)
        n_steps, stride = _STEPS[rule], _STEPS_PER_NODE[rule]
        step = span / n_steps
        # Half a sum and half a difference of exponentials: np.sinh takes three times as long.
        growth = np.exp(start[:, None] + step[:, None] * np.arange(n_steps + 1))
        decay = 1.0 / growth
        coordinates = center[:, None] + (0.5 * width)[:, None] * (growth - decay)
        density, values = np.empty_like(growth), np.empty_like(growth)
        for law, begin, end in zip(laws, edges, edges[1:], strict=False):
            density[begin:end] = law.density(coordinates[begin:end])
            values[begin:end] = law.values(coordinates[begin:end])
        growth += decay
        growth *= (0.5 * width * step)[:, None]
        density *= growth
        below = _running_integral(density)
        total = below[:, -1:].copy()
        density /= total
        below /= total
        nodes = density[:, ::stride]
        return cls(
            families=families,
            laws=laws,
            law=np.repeat(np.arange(len(laws)), np.diff(edges)),
            law_edges=edges,
            first=first[:-1],
            family=np.repeat(np.arange(len(families)), sizes),
            means=means,
            lower=lower,
            upper=upper,
            lowest=np.where(center - lower > _SMOOTH_REACH * width, domain[0], -np.inf),
            highest=np.where(upper - center > _SMOOTH_REACH * width, domain[1], np.inf),
            spread=np.maximum(
                quartiles[1] - quartiles[0], _NARROWEST_SPREAD * (values[:, -1] - values[:, 0])
            ),
            log_spread=log_spread,
            center=center,
            width=width,
            start=start,
            step=step,
            values=values,
            density=density,
            below=below,
            node_values=values[:, ::stride].copy(),
            node_masses=nodes / nodes.sum(axis=1, keepdims=True),
        )

    def of_family(self, index: int) -> TabulatedPosteriors:
        """Return the table of the arms of one family."""
        begin = int(self.first[index])
        end = begin + len(self.families[index].means)
        rows = {
            each.name: getattr(self, each.name)[begin:end]
            for each in fields(self)
            if each.name not in ("families", "laws", "law", "law_edges", "first", "family")
        }
        return TabulatedPosteriors(
            families=(self.families[index],),
            laws=(self.families[index],),
            law=np.zeros(end - begin, np.intp),
            law_edges=(0, end - begin),
            first=np.zeros(1, np.intp),
            family=np.zeros(end - begin, np.intp),
            **rows,
        )

    def below_values(self, arms: NDArray[np.intp], values: FloatArray) -> FloatArray:
        """Return P(X <= value) of some arms.

        Cubic interpolation by value and slope; the error is below 2e-6 for Beta, Gamma and t
        posteriors with parameters of 1/2 and more, and 3 degrees of freedom and more.

        Args:
            arms: Indices of the arms, in order of their families; shape (n,).
            values: Means; shape (n, n_values), or (1, n_values) for all arms of one family.
        """
        at, t = self._places(arms, values)
        return _interpolated(self.below, self.density, at, t)

    def below_and_excess(
        self, arms: NDArray[np.intp], values: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return P(X <= value), and E (value - X)+, by how much a value exceeds the arm's mean.

        Shapes as above.
        """
        at, t = self._places(arms, values)
        below = _interpolated(self.below, self.density, at, t)
        short = self.density * (self.means[:, None] - self.values)
        shortfall = _interpolated(_running_integral(short), short, at, t)
        return below, (values - self.means[arms][:, None]) * below + shortfall

    def masses_at_zero(self, arms: NDArray[np.intp]) -> FloatArray:
        """Return P(X <= 0) of some arms, in order of their families; shape (n,)."""
        masses = np.zeros(len(arms))
        around = np.flatnonzero(self.values[arms, 0] <= 0.0)
        if len(around):
            masses[around] = self.below_values(arms[around], np.zeros((len(around), 1)))[:, 0]
        return masses

    def roughly(self, probabilities: FloatArray) -> FloatArray:
        """Return quantiles of all means, as good as a cubic between two points.

        Args:
            probabilities: In (0, 1), shape (n,).

        Returns:
            Shape (n_arms, n).
        """
        reached = self.below[:, None, :] >= probabilities[:, None]
        after = np.maximum(reached.argmax(axis=2), 1)  # the last point has 1
        at = after + np.arange(len(after))[:, None] * self.below.shape[1]
        left, least = self.below.take(at - 1), np.finfo(np.float64).tiny
        rise = np.maximum(self.below.take(at) - left, least)
        first, last = (rise / np.maximum(self.density.take(each), least) for each in (at - 1, at))
        part = (probabilities - left) / rise
        part += part * (1.0 - part) * ((first - 1.0) * (1.0 - part) - (last - 1.0) * part)
        part = np.minimum(np.maximum(part, 0.0), 1.0)
        s = self.start[:, None] + self.step[:, None] * (after - 1 + part)
        return self.values_at(
            np.arange(len(after)), self.center[:, None] + self.width[:, None] * np.sinh(s)
        )

    def values_at(self, arms: NDArray[np.intp], coordinates: FloatArray) -> FloatArray:
        """Return the means at coordinates, as `Posteriors.values`.

        Args:
            arms: Indices of the arms, in order of their families; shape (n,).
            coordinates: Shape (n, n_coordinates).
        """
        return self._each(arms, coordinates, lambda law, _, rows: law.values(rows))

    def coordinates_of(self, arms: NDArray[np.intp], values: FloatArray) -> FloatArray:
        """Return the coordinates of means, as `Posteriors.coordinates`; shapes as there."""
        return self._each(arms, values, lambda law, _, rows: law.coordinates(rows))

    def density_at(self, arms: NDArray[np.intp], coordinates: FloatArray) -> FloatArray:
        """Return the densities at coordinates; shapes as there."""
        return self._each(arms, coordinates, lambda law, own, rows: law.take(own).density(rows))

    def _each(
        self,
        arms: NDArray[np.intp],
        rows: FloatArray,
        function: Callable[[Posteriors, NDArray[np.intp], FloatArray], FloatArray],
    ) -> FloatArray:
        """Return what every law says of its arms and their rows."""
        if len(self.laws) == 1:
            return function(self.laws[0], arms, rows)
        found = np.empty_like(rows)
        edges = self.law[arms].searchsorted(np.arange(len(self.laws) + 1)).tolist()
        for law, first, begin, end in zip(
            self.laws, self.law_edges, edges, edges[1:], strict=False
        ):
            if begin < end:
                found[begin:end] = function(law, arms[begin:end] - first, rows[begin:end])
        return found

    def _places(
        self, arms: NDArray[np.intp], values: FloatArray
    ) -> tuple[NDArray[np.intp], FloatArray]:
        """Return the flat indices of the points left of the values, and the part of a step on."""
        n_points = self.below.shape[1]
        place = self.coordinates_of(arms, values) - self.center[arms][:, None]
        place /= self.width[arms][:, None]
        np.arcsinh(place, out=place)
        place -= self.start[arms][:, None]
        place /= self.step[arms][:, None]
        np.maximum(place, 0.0, out=place)  # np.clip costs several times as much
        np.minimum(place, n_points - 1.0, out=place)
        index = place.astype(np.intp)
        np.minimum(index, n_points - 2, out=index)
        place -= index
        index += arms[:, None] * n_points
        return index, place


def _of_one_class(families: Iterable[Posteriors]) -> Iterator[list[Posteriors]]:
    """Yield families of one class that follow one another, together."""
    for _, group in groupby(families, type):
        yield list(group)


def _support(law: Posteriors) -> tuple[FloatArray, FloatArray]:
    return law.support()


def _bells(law: Posteriors) -> tuple[FloatArray, FloatArray]:
    return law.modes_and_scales()


def _interpolated(
    integral: FloatArray, slopes: FloatArray, at: NDArray[np.intp], t: FloatArray
) -> FloatArray:
    """Return the cubics with the values and slopes of the points on either side."""
    left, slope = integral.take(at), slopes.take(at)
    after = at + 1
    rise, bend = integral.take(after), slopes.take(after)
    rise -= left
    bend += slope
    bend -= 2.0 * rise
    # left + t * (slope + t * (rise - slope - bend + t * bend)), in place
    rise -= slope
    rise -= bend
    bend *= t
    bend += rise
    bend *= t
    bend += slope
    bend *= t
    bend += left
    return bend


def _running_integral(steps: FloatArray) -> FloatArray:
    """Return the integral from the first point to every point, of what is 0 beyond the ends."""
    padded = np.zeros((len(steps), steps.shape[1] + 4))
    padded[:, 2:-2] = steps
    each = padded[:, 2:-3] + padded[:, 3:-2]
    each *= _INNER
    for weight, left, right in (
        (_MIDDLE, padded[:, 1:-4], padded[:, 4:-1]),
        (_OUTER, padded[:, :-5], padded[:, 5:]),
    ):
        pair = left + right
        pair *= weight
        each += pair
    integral = np.zeros_like(steps)
    np.cumsum(each, axis=1, out=integral[:, 1:])
    return integral
