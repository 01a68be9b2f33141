"""Dataclasses that are published: pydantic derives their Avro and JSON values from the fields.

A published dataclass has one definition and two forms. In Avro its fields keep their names, and
variants are indices. In JSON the names are camelCase, and variants are ids; whatever has to
translate between the two gets the ids of the variants as `context`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapSerializer,
    WrapValidator,
)
from pydantic.alias_generators import to_camel

from streams.model.integers import integer, integer_bytes
from streams.model.validation import input_error

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
P = TypeVar("P", bound="Published")

_INT_LIMIT = 1 << 31


def json_name(name: str) -> str:
    """Return the name of a field in JSON; a field called `variant` holds the id of one there.

    >>> json_name("difference_lower"), json_name("variant")
    ('differenceLower', 'variantId')
    """
    return "variantId" if name == "variant" else to_camel(name)


class Published:
    """Base of published dataclasses; it has no fields."""

    __slots__ = ()
    __pydantic_config__ = ConfigDict(
        alias_generator=json_name, validate_by_name=True, validate_by_alias=True
    )


def _index(value: Any, info: ValidationInfo) -> Any:
    return _variant_ids(info.context).index(value) if isinstance(value, str) else value


def _id(index: int, info: Any) -> str:
    return _variant_ids(info.context)[index]


def _in_order(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, Mapping):
        return value
    return tuple(value[each] for each in _variant_ids(info.context))


def _by_id(value: Any, handler: SerializerFunctionWrapHandler, info: Any) -> Any:
    return dict(zip(_variant_ids(info.context), handler(value), strict=True))


def _variant_ids(context: Any) -> Sequence[str]:
    if not isinstance(context, Sequence):
        raise TypeError("variants have ids only in the context of their experiment")
    return context


VariantIndex = Annotated[
    int,
    Field(ge=0, lt=_INT_LIMIT),
    BeforeValidator(_index),
    PlainSerializer(_id, return_type=str, when_used="json"),
]
"""Index of a variant, an `int` of Avro; in JSON the id of the variant."""

PerVariant = Annotated[
    tuple[T, ...], BeforeValidator(_in_order), WrapSerializer(_by_id, when_used="json")
]
"""One value for each variant, in the order of the definition; in JSON an object by id."""

Int32 = Annotated[int, Field(ge=0, lt=_INT_LIMIT)]
"""An `int` of Avro that is not negative: a reader takes more, and no writer could write it."""


def _exact(value: Any) -> Any:
    return integer(value, "integer") if isinstance(value, bytes) else value


def _exact_bytes(number: int, info: Any) -> Any:
    return number if info.mode == "json" else integer_bytes(number)


def _open(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    try:
        return handler(value)
    except ValidationError:
        if info.context is None or not isinstance(value, str):
            raise
        return value


Open = Annotated[E, WrapValidator(_open)]
"""Member of an enumeration; of a member that a newer engine has added, a client gets the text."""

ExactInteger = Annotated[
    int,
    BeforeValidator(_exact),
    PlainSerializer(_exact_bytes),
    WithJsonSchema({"type": "integer"}),
]
"""Integer of any size: `bytes` of Avro (`integer_bytes`), a number in JSON."""


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(model: type[Any]) -> TypeAdapter[Any]:
    if model not in _ADAPTERS:
        _ADAPTERS[model] = TypeAdapter(model)
    return _ADAPTERS[model]


def avro_record(value: Published, exclude: Collection[str] = ()) -> dict[str, Any]:
    """Return the Avro record of a published dataclass, without the fields in `exclude`."""
    record: dict[str, Any] = _adapter(type(value)).dump_python(
        value, exclude=set(exclude), exclude_computed_fields=True
    )
    return record


def from_avro(model: type[P], record: Mapping[str, Any], root: str = "") -> P:
    """Return the dataclass of an Avro record.

    Args:
        model: What it should be.
        record: The record, as `avro_record` returns it.
        root: Path of `record` itself, put before the path of a field.

    Raises:
        InputError: a value cannot be used, with its stable code and its path.
    """
    try:
        found: P = _adapter(model).validate_python(record)
    except ValidationError as error:
        raise input_error(error, root) from error
    return found


def json_value(
    value: Published, variant_ids: Sequence[str], *, is_stored: bool = False
) -> dict[str, Any]:
    """Return the JSON value of a published dataclass.

    Args:
        value: The dataclass.
        variant_ids: Ids of the variants, in the order of their indices.
        is_stored: Whether it is stored: without computed fields, of which some are sentences.
    """
    found: dict[str, Any] = _adapter(type(value)).dump_python(
        value,
        mode="json",
        by_alias=True,
        exclude_computed_fields=is_stored,
        context=variant_ids,
    )
    return found


def json_bytes(
    value: Published, variant_ids: Sequence[str], exclude: Collection[str] = ()
) -> bytes:
    """Return the JSON of a published dataclass, without the fields in `exclude`."""
    return _adapter(type(value)).dump_json(
        value, by_alias=True, exclude=set(exclude), context=variant_ids
    )


def from_json(model: type[P], payload: Mapping[str, Any], variant_ids: Sequence[str]) -> P:
    """Return the dataclass of a JSON value; fields it does not have are ignored.

    Raises:
        ValidationError: a field is missing or has another type.
    """
    found: P = _adapter(model).validate_python(payload, context=variant_ids)
    return found


def field_values(value: Published) -> dict[str, Any]:
    """Return the values of the fields of a published dataclass, by name."""
    return {each.name: getattr(value, each.name) for each in fields(value)}  # type: ignore[arg-type]
