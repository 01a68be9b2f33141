"""Layers: hash ranges of units, shared by several experiments."""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from streams.model.experiment_keys import KEY_PATTERN
from streams.model.quantities import PROPENSITY_ONE
from streams.model.validation import InputModel, JsonList, problem
from streams.policies.bucketing import shared_state

_LAYER = b"layer"

SharedKey = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]


def _numerator(share: float) -> int:
    """Return a share as a numerator over 2**32: equal ends stay equal."""
    return round(share * PROPENSITY_ONE)


class SharedPart:
    """A hash range of units, compiled for many requests."""

    __slots__ = ("_begin", "_end", "_state")

    def __init__(self, state: blake2b, begin: int, end: int) -> None:
        self._state = state
        self._begin = begin
        self._end = end

    def has(self, unit_key: bytes) -> bool:
        """Return whether a unit, its id in UTF-8, is in the part."""
        state = self._state.copy()
        state.update(unit_key)
        return self._begin <= int.from_bytes(state.digest()) < self._end


class LayerSpec(InputModel):
    """Part of the units of a layer; experiments with disjoint parts have no unit in common.

    Attributes:
        key: The layer.
        range: Begin and end of the part, in [0, 1]; the end is not in it.
    """

    key: SharedKey
    range: Annotated[
        tuple[Annotated[float, Field(ge=0.0, le=1.0)], Annotated[float, Field(ge=0.0, le=1.0)]],
        JsonList(),
    ]

    @model_validator(mode="after")
    def _check(self) -> Self:
        begin, end = self.ends
        if begin >= end:
            message = f"range == {list(self.range)}, its end must be above its begin"
            raise problem("EMPTY_RANGE", message, "range")
        return self

    @property
    def ends(self) -> tuple[int, int]:
        """Begin and end, as numerators over 2**32."""
        begin, end = self.range
        return _numerator(begin), _numerator(end)

    @property
    def part(self) -> SharedPart:
        """The part, compiled."""
        return SharedPart(shared_state(_LAYER, self.key), *self.ends)

    def has(self, unit_key: str) -> bool:
        """Return whether a unit is in the part."""
        return self.part.has(unit_key.encode())
