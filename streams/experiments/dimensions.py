"""Dimensions: attributes of a request by whose values the statistics are broken down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Self

from pydantic import AfterValidator, StringConstraints, model_validator

from streams.model.dimensions import MAX_DIMENSIONS, OTHER
from streams.model.errors import quoted
from streams.model.text import has_controls
from streams.model.validation import InputModel, JsonList, problem
from streams.targeting.attributes import Read, reader_of

MAX_VALUES = 20
"""Values of a dimension, at most; all other values are `OTHER`."""

_MAX_TEXT = 256  # of device and location in a request
_EXACT = 1 << 53  # integers that JSON of every sender keeps
_UNITS = frozenset({"userId", "sessionId"})


def _attribute(name: str) -> str:
    if has_controls(name):
        raise problem("INVALID_NAME", "has control characters")
    if name in _UNITS or reader_of(name) is None:
        known = "device, location, features.*"
        raise problem("UNKNOWN_ATTRIBUTE", f"{quoted(name)} is not one of {known}")
    return name


def _value(text: str) -> str:
    if has_controls(text):
        raise problem("INVALID_NAME", "has control characters")
    return text


_Text = StringConstraints(min_length=1, max_length=_MAX_TEXT)


class Dimension(InputModel):
    """An attribute of a request, and the values that are distinguished.

    Attributes:
        name: The attribute, as in a targeting rule: `device`, `location` or `features.NAME`.
        values: Its values, compared exactly; numbers and booleans as in JSON. All other values, and
            a missing one, form one further value.
    """

    name: Annotated[str, _Text, AfterValidator(_attribute)]
    values: Annotated[
        tuple[Annotated[str, _Text, AfterValidator(_value)], ...],
        JsonList(min_length=1, max_length=MAX_VALUES),
    ]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for index, value in enumerate(self.values):
            if value in self.values[:index]:
                message = f"{quoted(value)} is given twice"
                raise problem("DUPLICATE_VALUE", message, f"values[{index}]")
        return self


Dimensions = Annotated[tuple[Dimension, ...], JsonList(max_length=MAX_DIMENSIONS)]


def check_dimensions(dimensions: Sequence[Dimension]) -> None:
    """Refuse an attribute that is given twice.

    Raises:
        PydanticCustomError: as `problem`, to be raised from a validator of the configuration.
    """
    names = [dimension.name for dimension in dimensions]
    for index, name in enumerate(names):
        if name in names[:index]:
            message = f"two dimensions are of {quoted(name)}"
            raise problem("DUPLICATE_NAME", message, f"dimensions[{index}].name")


class _Request(NamedTuple):
    """Attributes of a request that a dimension may read."""

    device: str | None
    location: str | None
    features: Mapping[str, Any] | None
    user_id: None = None
    session_id: None = None


class DimensionSpace:
    """Declared dimensions, compiled for many requests.

    Args:
        dimensions: Checked by `check_dimensions`.

    Attributes:
        unknown: The values of a request without known attributes.
    """

    __slots__ = ("_readers", "unknown")

    def __init__(self, dimensions: Sequence[Dimension]) -> None:
        self._readers: list[tuple[Read, dict[str, int]]] = []
        for dimension in dimensions:
            read = reader_of(dimension.name)
            assert read is not None  # noqa: S101 - the configuration was checked
            self._readers.append(
                (read, {value: index for index, value in enumerate(dimension.values, 1)})
            )
        self.unknown = bytes([OTHER] * len(self._readers))

    def encode(
        self,
        features: Mapping[str, Any] | None = None,
        device: str | None = None,
        location: str | None = None,
    ) -> bytes:
        """Return the values of a request, one byte each, in the order of the declaration.

        A byte is the 1-based index of the value among the declared ones, or `OTHER`. No value of a
        request is an error.
        """
        request = _Request(device, location, features)
        texts = [(index, _text(read(request))) for read, index in self._readers]
        return bytes([OTHER if text is None else index.get(text, OTHER) for index, text in texts])


def _text(value: Any) -> str | None:
    """Return a value as JSON writes it; None unless it is a text, number or boolean.

    >>> _text("a"), _text(True), _text(3), _text(3.0), _text(0.5), _text([])
    ('a', 'true', '3', '3', '0.5', None)
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, int | float) or not abs(value) < _EXACT:
        return None
    is_whole = isinstance(value, int) or (math.isfinite(value) and value == int(value))
    return str(int(value)) if is_whole else repr(value)
