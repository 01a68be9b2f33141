"""Features of the requests that a contextual experiment learns from."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from streams.model.errors import quoted
from streams.model.validation import InputModel, JsonList, problem
from streams.model.vectors import MAX_DIMENSION

MAX_COEFFICIENTS = 1_024
"""Variants times dimension, at most: sixteen variants of the longest vectors, or more of shorter
ones. It bounds a snapshot to half a megabyte and a request to a fraction of a millisecond."""

MAX_CATEGORIES = MAX_DIMENSION - 1
NUMBER_LIMIT = 1e15

FeatureName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.:\-]{0,63}$")]
Category = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class FeatureType(StrEnum):
    """Encoding of a feature as numbers."""

    NUMBER = "number"
    """One entry, from -1 at `minimum` to 1 at `maximum`."""
    CATEGORY = "category"
    """One entry for each of `values`, 1 for the present one (one-hot)."""
    HASHED = "hashed"
    """`buckets` entries for any text: 1 or -1 in the one given by its hash (signed hashing)."""


class Feature(InputModel):
    """A feature of the requests of a contextual experiment.

    Attributes:
        name: Its key in `features` of a request; `device` and `location` besides name those fields
            of the request itself, where `features` has no such key.
        type: Its encoding.
        minimum: Smallest number of a `number`; smaller ones are clipped to it.
        maximum: Largest number of a `number`, above `minimum`; larger ones are clipped to it.
        values: The texts of a `category`; any other text counts as missing.
        buckets: Entries of a `hashed` one.

    Source: Weinberger et al. (2009), "Feature hashing for large scale multitask learning", section
        2: the sign makes collisions cancel on average.
    """

    name: FeatureName
    type: Annotated[FeatureType, Field(strict=False)]
    minimum: float | None = Field(default=None, ge=-NUMBER_LIMIT, le=NUMBER_LIMIT)
    maximum: float | None = Field(default=None, ge=-NUMBER_LIMIT, le=NUMBER_LIMIT)
    values: (
        Annotated[
            tuple[Category, ...],
            JsonList(min_length=1, max_length=MAX_CATEGORIES),
        ]
        | None
    ) = None
    buckets: int | None = Field(default=None, ge=1, le=MAX_CATEGORIES)

    @model_validator(mode="after")
    def _check(self) -> Self:
        needed = _FIELDS[self.type]
        for field in ("minimum", "maximum", "values", "buckets"):
            is_given = getattr(self, field) is not None
            if is_given and field not in needed:
                raise problem("FIELD_NOT_USED", f"a {self.type} has no {field}", field)
            if not is_given and field in needed:
                raise problem("MISSING_FIELD", f"a {self.type} needs {field}", field)
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            message = f"maximum == {self.maximum}, must be above minimum"
            raise problem("EMPTY_RANGE", message, "maximum")
        values = self.values or ()
        if len(set(values)) < len(values):
            raise problem("DUPLICATE_VALUE", "a value is given twice", "values")
        return self

    @property
    def width(self) -> int:
        """Number of its entries in the vector."""
        match self.type:
            case FeatureType.NUMBER:
                return 1
            case FeatureType.CATEGORY:
                return len(self.values or ())
            case FeatureType.HASHED:
                return self.buckets or 0


_FIELDS = {
    FeatureType.NUMBER: ("minimum", "maximum"),
    FeatureType.CATEGORY: ("values",),
    FeatureType.HASHED: ("buckets",),
}


def check_features(features: Sequence[Feature]) -> None:
    """Refuse repeated names, or more than `MAX_DIMENSION` entries.

    Raises:
        PydanticCustomError: as `problem`, to be raised from a validator of the field `features`.
    """
    names = [feature.name for feature in features]
    if len(set(names)) < len(names):
        again = next(i for i, name in enumerate(names) if name in names[:i])
        raise problem(
            "DUPLICATE_NAME",
            f"two features are named {quoted(names[again])}",
            f"features[{again}].name",
        )
    dimension = 1 + sum(feature.width for feature in features)
    if dimension > MAX_DIMENSION:
        message = f"the features have {dimension} entries with the intercept, {MAX_DIMENSION} fit"
        raise problem("TOO_MANY_DIMENSIONS", message, "features")
