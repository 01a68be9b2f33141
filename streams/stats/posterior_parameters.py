"""Posterior distributions as they are published: a family, and parameters by name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.model.published import Open, Published


class PosteriorFamily(StrEnum):
    """Family of the posterior distribution of a mean, with the names of its parameters.

    `beta`: `alpha`, `beta`. `gamma`: `shape`, `rate`. `beta_prime`: the mean over `scale` has the
    beta prime distribution of `alpha` and `beta`, that of the odds of a Beta variable. `student_t`:
    the mean less `location`, over `scale`, has the t distribution of `degrees`.
    """

    BETA = "beta"
    GAMMA = "gamma"
    BETA_PRIME = "beta_prime"
    STUDENT_T = "student_t"


@dataclass(frozen=True, slots=True)
class MetricPosterior(Published):
    """Posterior distribution of the mean of a metric of one variant.

    Attributes:
        family: Its family.
        parameters: Its parameters by name, finite; scale, location and the inverse of the rate are
            in units of the metric.
    """

    family: Open[PosteriorFamily]
    parameters: dict[str, float]
