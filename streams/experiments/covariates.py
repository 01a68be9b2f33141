"""Covariates: numbers known about a unit before its assignment that explain its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from streams.model.errors import quoted
from streams.model.validation import InputModel, problem
from streams.model.vectors import FEATURE_ONE, INTERCEPT, MAX_DIMENSION, Vector
from streams.policies.contextual.encoding import number_entries
from streams.policies.contextual.features import NUMBER_LIMIT, FeatureName

MAX_COVARIATES = 8
"""Covariates of one experiment, at most: they add half the square of twice as many sums to every
variant of a cell."""

_WIDTH = 2
"""Entries of a covariate in a vector: its value, and whether it is missing."""

assert 1 + _WIDTH * MAX_COVARIATES <= MAX_DIMENSION  # noqa: S101 - of two constants


class Covariate(InputModel):
    """A number that is known about a unit before its assignment, such as its earlier spending.

    Attributes:
        name: Its key in `features` of a request.
        minimum: Smallest number; smaller ones are clipped to it.
        maximum: Largest number, above `minimum`; larger ones are clipped to it.
    """

    name: FeatureName
    minimum: float = Field(ge=-NUMBER_LIMIT, le=NUMBER_LIMIT)
    maximum: float = Field(ge=-NUMBER_LIMIT, le=NUMBER_LIMIT)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.minimum >= self.maximum:
            message = f"maximum == {self.maximum}, must be above minimum"
            raise problem("EMPTY_RANGE", message, "maximum")
        return self


def check_covariates(covariates: Sequence[Covariate]) -> None:
    """Refuse a name that is given twice.

    Raises:
        PydanticCustomError: as `problem`, to be raised from a validator of the configuration.
    """
    names = [covariate.name for covariate in covariates]
    for index, name in enumerate(names):
        if name in names[:index]:
            message = f"two covariates are named {quoted(name)}"
            raise problem("DUPLICATE_NAME", message, f"covariates[{index}].name")


class CovariateSpace:
    """Declared covariates, compiled for many requests.

    A covariate has two entries of the vector: its value, from -1 at `minimum` to 1 at `maximum`,
    and 1 where it is missing. A regression on both fits a separate mean for units without it.

    Args:
        covariates: Checked by `check_covariates`.
    """

    __slots__ = ("_encoders",)

    def __init__(self, covariates: Sequence[Covariate]) -> None:
        self._encoders = [
            (each.name, number_entries(1 + _WIDTH * place, each.minimum, each.maximum), missing)
            for place, each in enumerate(covariates)
            for missing in (((missing_entry(place), FEATURE_ONE),),)
        ]

    def encode(self, features: Mapping[str, Any] | None = None) -> Vector:
        """Return the vector of a request; a covariate that is null is missing.

        Raises:
            InputError: a covariate is not a number (`WRONG_TYPE`) or not finite (`NOT_FINITE`).
        """
        given = features or {}
        vector = INTERCEPT
        for name, entries, missing in self._encoders:
            value = given.get(name)
            vector += missing if value is None else entries(value, name)
        return vector


def missing_entry(place: int) -> int:
    """Return the index of the entry that flags the covariate at `place` as missing."""
    return 2 + _WIDTH * place


def dimension(n_covariates: int) -> int:
    """Return the length of the vectors, with the intercept."""
    return 1 + _WIDTH * n_covariates
