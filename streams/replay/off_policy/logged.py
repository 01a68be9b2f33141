"""The units of an experiment and their observations, as they were counted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.vectors import INTERCEPT, Vector

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class UnitLog:
    """The units of one experiment in order of their assignments, and one metric of them.

    Attributes:
        metric: Name of the metric.
        n_arms: Variants of the experiment.
        variants: Variant of each unit; shape (n,), in [0, n_arms).
        propensities: Probability it had, numerator over 2**32; shape (n,), in 1..2**32.
        assigned_at_ms: Time of the assignment; shape (n,), ascending.
        observed_units: Which unit each observation is of, in order of the log; shape (m,).
        observed_values: Its value in micro-units; shape (m,).
        observed_at_ms: Its time; shape (m,).
        unmatched: Observations counted whose assignment is not in the log.
        cap, floor: Largest and smallest value of a unit, in micro-units; None for no bound.
        by_period: Whether tallies of it are to be kept by period of assignment, too.
        contexts: Features of each unit, as a place in `vectors`; shape (n,), or (0,) where nothing
            is known of any.
        vectors: Different features that units had.
        sets: Variants that each unit could have, as a place in `eligible`; shape (n,), or (0,)
            where every unit could have all.
        eligible: Different sets of variants; shape (n_sets, n_arms).
    """

    metric: str
    n_arms: int
    variants: IntArray
    propensities: IntArray
    assigned_at_ms: IntArray
    observed_units: IntArray
    observed_values: IntArray
    observed_at_ms: IntArray
    unmatched: int = 0
    cap: int | None = None
    floor: int | None = None
    by_period: bool = False
    contexts: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    vectors: tuple[Vector, ...] = (INTERCEPT,)
    sets: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    eligible: NDArray[np.bool_] = field(default_factory=lambda: np.ones((1, 1), np.bool_))

    def __post_init__(self) -> None:
        n_units, n_observations = len(self.variants), len(self.observed_units)
        if {len(self.propensities), len(self.assigned_at_ms)} != {n_units}:
            raise InvalidParameterError("propensities", len(self.propensities), "one per unit")
        if {len(self.observed_values), len(self.observed_at_ms)} != {n_observations}:
            raise InvalidParameterError("observed_values", len(self.observed_values), "one each")
        if len(self.contexts) not in {0, n_units}:
            raise InvalidParameterError("contexts", len(self.contexts), "one per unit, or none")
        if len(self.contexts) and not 0 <= self.contexts.min() <= self.contexts.max() < (
            len(self.vectors)
        ):
            raise InvalidParameterError("contexts", int(self.contexts.max()), "places of vectors")
        if n_units and not 0 <= self.variants.min() <= self.variants.max() < self.n_arms:
            raise InvalidParameterError("variants", int(self.variants.max()), "in [0, n_arms)")
        if n_units and not 1 <= self.propensities.min() <= self.propensities.max() <= (
            PROPENSITY_ONE
        ):
            raise InvalidParameterError("propensities", int(self.propensities.min()), "in 1..2**32")
        if np.any(np.diff(self.assigned_at_ms) < 0):
            raise InvalidParameterError("assigned_at_ms", "unordered", "ascending")

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.variants)

    @property
    def has_features(self) -> bool:
        """Whether something is known of some unit."""
        return any(vector != INTERCEPT for vector in self.vectors)

    def vector(self, unit: int) -> Vector:
        """Return the features of a unit."""
        return self.vectors[self.contexts[unit]] if len(self.contexts) else INTERCEPT

    @property
    def bound(self) -> float | None:
        """Largest value, in units of the metric, if all are in [0, bound]; None without one."""
        is_bounded = self.cap is not None and self.cap > 0 and bool((self.values >= 0.0).all())
        return self.cap / MICRO if is_bounded and self.cap is not None else None

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Propensities in (0, 1]; shape (n,)."""
        return self.propensities / PROPENSITY_ONE

    @property
    def values(self) -> NDArray[np.float64]:
        """Value of each unit: the sum of its observations, in units of the metric; shape (n,).

        Of a bounded metric the cap where the sum is larger, and the floor where it is less.
        """
        values = np.zeros(self.n_units)
        np.add.at(values, self.observed_units, self.observed_values / MICRO)
        if self.floor is not None:  # a unit without an observation has the value 0
            observed = np.unique(self.observed_units)
            values[observed] = np.maximum(values[observed], self.floor / MICRO)
        return values if self.cap is None else np.minimum(values, self.cap / MICRO)
