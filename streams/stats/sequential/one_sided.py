"""One-sided p-values for the comparison of two variants, valid at every look.

A question with one side, such as "is this variant worse by more than is tolerated", needs no half
of its error for the other side: a two-sided p-value is up to twice as large, which costs units.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from streams.stats.arrays import FloatArray
from streams.stats.sequential.confidence_sequences import (
    PLANNED_UNITS,
    asymptotic_tuning,
)
from streams.stats.sequential.contrasts import Contrast
from streams.stats.sequential.readings import ConfidenceSequence

_TUNED_ERROR = 0.05  # of both sides, as in the sequences
_SIDE = _TUNED_ERROR / 2.0


def one_sided_p_values(compared: Contrast) -> FloatArray:
    """Return always-valid p-values of "mean a is at most mean b"; of the shape of the contrasts.

    If it is so, the probability that one is ever at most p is at most p. They are exact where
    values are bounded, and asymptotic elsewhere; 1 while tails do not allow it (`has_lower`).

    Args:
        compared: The contrasts; `reversed()` for the other side.

    Source: values with a bound: `ConfidenceSequence`. Others: the mixture of exp(l S - l^2 V / 2)
        over l >= 0 with a half-normal density, Howard, Ramdas, McAuliffe and Sekhon, arXiv
        1810.08240, proposition 6 (one-sided normal mixture), with the tuning of
        `asymptotic_radius`.
    """
    if compared.is_bounded or compared.quantiles is not None:
        return ConfidenceSequence().p_values(compared, np.full_like(compared.total, _SIDE))
    error = compared.standard_error
    z = np.divide(compared.difference, error, out=np.zeros_like(error), where=error > 0.0)
    scaled = compared.time * asymptotic_tuning(_TUNED_ERROR, PLANNED_UNITS)
    share = scaled / (scaled + 1.0)
    log_mixture: FloatArray = (
        math.log(2.0)
        + 0.5 * z * z * share
        + special.log_ndtr(z * np.sqrt(share))
        - 0.5 * np.log1p(scaled)
    )
    return np.where(compared.has_lower, np.exp(-np.maximum(log_mixture, 0.0)), 1.0)
