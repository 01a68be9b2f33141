"""Dataclasses that are published: pydantic derives their Avro and JSON values from the fields.

A published dataclass has one definition and two forms. In Avro its fields keep their names, and
variants are indices. In JSON the names are camelCase, and variants are ids; whatever has to
translate between the two gets the ids of the variants as `context`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WrapSerializer,
)
from pydantic.alias_generators import to_camel

T = TypeVar("T")

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
