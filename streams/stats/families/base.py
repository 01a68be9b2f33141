"""Interface of the metric families: kind inference, priors and posterior of a metric kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streams.stats.arrays import FloatArray
from streams.stats.kinds import ContradictionCode, MetricKind
from streams.stats.posteriors.base import PublishedPosteriors
from streams.stats.posteriors.normal import NormalPrior
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally

PRIOR_OF_SHARE = frozenset({"alpha", "beta"})
PRIOR_OF_VALUES = frozenset({"mean", "variance", "units", "degrees"})


@dataclass(frozen=True, slots=True)
class Priors:
    """Priors of the mean of a metric; None is a weak one, separate for each variant.

    Attributes:
        alpha: Pseudo-units with a value, > 0 (binary; revenue). Binary: 1 unless stated.
        beta: Pseudo-units without, > 0 (binary; revenue). Binary: 1 unless stated.
        events: Pseudo-events of a rate, > 0 (count).
        event_units: Pseudo-units of a rate, > 0 (count).
        values: Mean and variance of the values (continuous), or of those units have (revenue).
    """

    alpha: float | None = None
    beta: float | None = None
    events: float | None = None
    event_units: float | None = None
    values: NormalPrior | None = None


WEAK_PRIORS = Priors()


@dataclass(frozen=True, slots=True)
class VariantMetric:
    """The tally of a metric of one variant, with the units assigned to the variant.

    Attributes:
        units: Units assigned.
        metric: The tally.
        parts: Tallies of disjoint sets of its units, where each must be of the kind as well.
    """

    units: int
    metric: MetricTally
    parts: Sequence[MetricTally] = ()


class Family(ABC):
    """Declarations and posterior of a metric kind; a subclass per kind.

    Code specific to `binary`, `ratio` and `quantile` is in `streams.analysis.binary_once`, `ratios`
    and `quantiles`.

    Attributes:
        kind: The kind.
        contradiction: Code for tallies that the kind does not allow; None if it allows any.
        prior_fields: Fields of a declared prior that the kind uses.
        is_whole: Whether values are whole numbers.
        is_not_negative: Whether values are >= 0, so that the floor of a unit is 0 unless declared.
        largest: Largest value of an observation and of a unit, in micro-units, if the kind implies
            one; the smallest is 0 then.
        cap_refusal: Why the kind does not allow a cap; None if it does.
        has_bounds: Whether floor and bounds of single values may be declared.
        needs_positive_prior_mean: Whether the mean of a declared prior must be > 0.
        is_exact: Whether values are >= 0 and bounded by 1, so that confidence sequences are exact
            at any number of units.
    """

    kind: ClassVar[MetricKind]
    contradiction: ClassVar[ContradictionCode | None] = None
    prior_fields: ClassVar[frozenset[str]] = frozenset()
    is_whole: ClassVar[bool] = False
    is_not_negative: ClassVar[bool] = False
    largest: ClassVar[int | None] = None
    cap_refusal: ClassVar[str | None] = None
    has_bounds: ClassVar[bool] = True
    needs_positive_prior_mean: ClassVar[bool] = False
    is_exact: ClassVar[bool] = False

    def allows(self, metric: MetricTally) -> bool:  # noqa: ARG002 - of any values unless overridden
        """Return whether the values of a tally may all be of this kind."""
        return True

    def is_inferred(self, variants: Sequence[VariantMetric]) -> bool:  # noqa: ARG002
        """Return whether tallies that no narrower kind allows are inferred as this kind."""
        return True

    @abstractmethod
    def posteriors(
        self, samples: Sequence[Sample], priors: Priors = WEAK_PRIORS
    ) -> PublishedPosteriors:
        """Return the posteriors of the means per unit of all arms.

        Args:
            samples: The arms, at least one.
            priors: Priors.

        Raises:
            InvalidParameterError: a sample is not of this kind.
        """

    def measure(self, metric: str) -> str:
        """Return the name of the mean of a metric, for sentences."""
        return f"{metric} per unit"


def not_below_zero(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return samples without the values of arms with a negative sum; their units remain.

    Sums over comparable units take differences, and those over mature units omit some: with
    refunds, either may be negative although the sum of all values is not.
    """
    if all(sample.total >= 0.0 for sample in samples):
        return samples
    return [
        sample if sample.total >= 0.0 else Sample(sample.units, 0.0, 0.0, 0.0, 0.0)
        for sample in samples
    ]


def column(samples: Sequence[Sample], name: str) -> FloatArray:
    """Return one field of all samples; shape (n_arms,)."""
    return np.array([getattr(sample, name) for sample in samples], dtype=np.float64)
