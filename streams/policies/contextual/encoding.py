"""Encoding of the context of a request as a vector of integers.

Models are fitted and evaluated with the same rounded numbers, so that rounding causes no bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from streams.model.errors import InputError, quoted
from streams.model.vectors import FEATURE_ONE, INTERCEPT, Vector
from streams.policies.contextual.features import Feature, FeatureType

_HASH_BITS = 63  # of 64, since one is the sign

Entries = Callable[[Any, str], Vector]
"""Returns the entries of a value of a feature, given the name of the feature for errors."""


class FeatureSpace:
    """Declared features, compiled for many requests.

    Each feature has its own entries, in the order of declaration, after the intercept.

    Args:
        features: Checked by `check_features`.

    Attributes:
        dimension: Length of the vectors, with the intercept.
    """

    __slots__ = ("_encoders", "dimension")

    def __init__(self, features: Sequence[Feature]) -> None:
        self.dimension = 1
        self._encoders: list[tuple[str, Entries]] = []
        for feature in features:
            self._encoders.append((feature.name, _encoder(feature, self.dimension)))
            self.dimension += feature.width

    def encode(
        self,
        features: Mapping[str, Any] | None = None,
        device: str | None = None,
        location: str | None = None,
    ) -> Vector:
        """Return the vector of a request.

        A missing or null feature adds nothing: a number counts as the middle of its range, a text
        as unknown. Undeclared features are ignored.

        Args:
            features: Features of the request, by name.
            device, location: Fields of the request, for features of that name.

        Raises:
            InputError: a number is not a number (`WRONG_TYPE`) or not finite (`NOT_FINITE`), or a
                text is neither text, nor boolean, nor whole number (`WRONG_TYPE`).
        """
        context = {"device": device, "location": location, **(features or {})}
        vector = INTERCEPT
        for name, entries in self._encoders:
            value = context.get(name)
            if value is not None:
                vector += entries(value, name)
        return vector


def _encoder(feature: Feature, start: int) -> Entries:
    match feature.type:
        case FeatureType.NUMBER:
            return number_entries(start, feature.minimum or 0.0, feature.maximum or 0.0)
        case FeatureType.CATEGORY:
            return _category(start, feature.values or ())
        case FeatureType.HASHED:
            return _hashed(start, feature.name, feature.buckets or 0)


def number_entries(start: int, minimum: float, maximum: float) -> Entries:
    """Return the encoder of a number: one entry at `start`, or none for 0."""
    width = maximum - minimum

    def entries(value: Any, name: str) -> Vector:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InputError("WRONG_TYPE", f"{quoted(value)} is not a number", f"features.{name}")
        if value != value or value in {math.inf, -math.inf}:  # noqa: PLR0124  an int may be too large for isfinite
            raise InputError("NOT_FINITE", f"{quoted(value)} is not finite", f"features.{name}")
        within = float(min(max(value, minimum), maximum))
        scaled = round(FEATURE_ONE * (2.0 * ((within - minimum) / width) - 1.0))
        return ((start, scaled),) if scaled else ()

    return entries


def _category(start: int, values: Sequence[str]) -> Entries:
    known: dict[str, Vector] = {
        text: ((start + index, FEATURE_ONE),) for index, text in enumerate(values)
    }

    def entries(value: Any, name: str) -> Vector:
        return known.get(_text(value, name), ())

    return entries


def _hashed(start: int, name: str, buckets: int) -> Entries:
    # Keyed with the name, so that collisions of texts differ between features.
    keyed = blake2b(digest_size=8, key=name.encode())

    def entries(value: Any, name: str) -> Vector:
        state = keyed.copy()
        state.update(_text(value, name).encode("utf-8", "surrogatepass"))
        bits = int.from_bytes(state.digest(), "big")
        bucket = (bits >> 1) * buckets >> _HASH_BITS
        return ((start + bucket, FEATURE_ONE if bits & 1 else -FEATURE_ONE),)

    return entries


def _text(value: Any, name: str) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            message = f"{type(value).__name__} is not a category"
            raise InputError("WRONG_TYPE", message, f"features.{name}")
