"""Half-life: what happened long ago counts less, for rates that drift."""

from __future__ import annotations

import math
from dataclasses import dataclass

from streams.domain.errors import InvalidParameterError
from streams.inference.sample import Sample


@dataclass(frozen=True, slots=True)
class AgedSample:
    """What the units assigned in one period have told.

    Attributes:
        age_s: Seconds since the middle of the period, >= 0.
        sample: Sums over the units assigned in it.

    Raises:
        InvalidParameterError: the age is outside its domain.
    """

    age_s: float
    sample: Sample

    def __post_init__(self) -> None:
        if not 0.0 <= self.age_s < math.inf:
            raise InvalidParameterError("age_s", self.age_s, "finite and >= 0")


def faded(period: AgedSample, half_life_s: float) -> Sample:
    """Return the sample of a period in which every unit counts 2^(-age / half-life).

    The posterior of all periods, faded, is that of discounted Thompson sampling: as old units fade,
    it widens towards the prior again, so a variant that was dropped is tried anew. It says where a
    mean is now, and is for policies; an experiment's effect over its whole time is that of all
    units alike.

    A mean of such units has a smaller variance than one of as many new units, because many old
    units were averaged: intervals err to the side of caution, by a factor of at most sqrt(2) in
    width when units come evenly.

    Args:
        period: The period.
        half_life_s: Seconds after which a unit counts half, > 0; infinite for no forgetting.

    Raises:
        InvalidParameterError: the half-life is not positive.

    Source: Raj and Kalyani (2017), "Taming non-stationary bandits: a Bayesian approach",
        algorithm 1, arXiv 1707.09727.

    Examples:
        >>> week = Sample(100, 10, 10, 9, 0)
        >>> faded(AgedSample(604_800.0, week), half_life_s=604_800.0).units
        50.0
    """
    if not half_life_s > 0.0:
        raise InvalidParameterError("half_life_s", half_life_s, "> 0")
    return Sample.pooled([(math.exp2(-period.age_s / half_life_s), period.sample)])
