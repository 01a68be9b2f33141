"""Base of the models of query strings: their numbers are read strictly."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationInfo, field_validator

from streams.model.number_texts import decimal_number, whole_number
from streams.model.validation import problem


class TextQuery(BaseModel):
    """Base of models whose fields come as texts.

    A number is read in the notation of JSON, and one in any other that Python knows is refused
    (`WRONG_TYPE`): pydantic would take `1_0` for 10.
    """

    @field_validator("*", mode="before")
    @classmethod
    def _strict_number(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, str) or info.field_name is None:
            return value
        kind = _kind(cls.model_fields[info.field_name].annotation)
        if kind is int and (value := whole_number(value)) is None:
            raise problem("WRONG_TYPE", "must be a whole number in digits, as 10")
        if kind is float and (value := decimal_number(value)) is None:
            raise problem("WRONG_TYPE", "must be a decimal number, as 10 or 0.5")
        return value


def is_number(annotation: Any) -> bool:
    """Return whether the values of a type are numbers, None aside."""
    return _kind(annotation) is not None


def _kind(annotation: Any) -> type | None:
    """Return `int` or `float` for a type whose values are such, None aside; None for another."""
    if annotation is int or annotation is float:
        return annotation
    return next((kind for each in get_args(annotation) if (kind := _kind(each))), None)
