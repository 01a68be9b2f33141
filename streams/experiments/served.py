"""Variant that is served to all units after a conclusion, without an experiment.

The variant is constant, so there is no receipt, nothing is logged, and no unit is needed.
Exclusions stay in force: overrides, holdouts and the targeting rule are checked first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.model.published import Published, VariantIndex


class Serve(StrEnum):
    """Answer of a concluded experiment until it is archived."""

    WINNER = "winner"
    """The winner it was concluded with."""
    CONTROL = "control"
    NONE = "none"
    """Nothing: callers get the error that the experiment is not running."""


@dataclass(frozen=True, slots=True)
class Served(Published):
    """Variant that a concluded experiment serves until it is archived.

    Attributes:
        variant: Its index.
        since_ms: Time of the command that began it: the conclusion or the roll-back.
    """

    variant: VariantIndex
    since_ms: int
