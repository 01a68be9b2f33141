"""Credible intervals of means."""

from __future__ import annotations

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray
from streams.stats.posteriors.base import Posteriors


def equal_tailed(posteriors: Posteriors, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Return the equal-tailed credible intervals of the means.

    They describe the posterior at a fixed look and are not anytime-valid: a rule that stops when
    one of them first excludes a value errs more often than its level.

    Args:
        posteriors: Posteriors of the means.
        level: Probability inside, in (0, 1).

    Returns:
        Lower and upper ends; shape (n_arms,) each.

    Raises:
        InvalidParameterError: `level` is outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise InvalidParameterError("level", level, "in (0, 1)")
    tail = (1.0 - level) / 2.0
    return posteriors.quantiles(tail), posteriors.quantiles(1.0 - tail)
