"""Weighting of units in a comparison of variants."""

from __future__ import annotations

from enum import StrEnum


class Weighting(StrEnum):
    """Weight of a unit in a comparison."""

    PLAIN = "plain"
    """Its share of the traffic has never changed, so all units of a variant count alike."""

    OVERLAP = "overlap"
    """Overlap of the pair over the propensity: no unit counts much, so precision depends on no
    floor."""

    INVERSE = "inverse"
    """1 / propensity, where the weights of all variants are not known for every unit, or are those
    of more variants than a receipt carries."""
