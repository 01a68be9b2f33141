"""Frozen, strict input models, and their errors in the engine's own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from annotated_types import GroupedMetadata, MaxLen, MinLen
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, PydanticKnownError

from streams.model.errors import PATH_CHARACTERS, InputError


class InputModel(BaseModel):
    """Base of everything a user may send: camelCase outside, snake_case inside, nothing extra.

    Numbers are strict (no numeric strings, no booleans) and finite. An object with more members
    than there are fields is refused by its first unknown one before the rest is looked at: with an
    error for each of 100,000, a body of 1 MB would keep the event loop for 0.2 s.
    """

    _n_fields: ClassVar[int] = 0  # looked up in the class, it would cost half of the check

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        alias_generator=to_camel,
        populate_by_name=True,
        validate_default=True,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Count the fields of a model."""
        cls._n_fields = len(cls.model_fields)

    @model_validator(mode="before")
    @classmethod
    def _bound_members(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > cls._n_fields:
            known = {each.alias for each in cls.model_fields.values()} | cls.model_fields.keys()
            unknown = next((name for name in value if name not in known), None)
            if unknown is not None:
                raise problem("UNKNOWN_FIELD", "Extra inputs are not permitted", str(unknown))
        return value


@dataclass(frozen=True, slots=True)
class JsonList(GroupedMetadata):
    """Annotation of a tuple that is a list in JSON.

    Members are checked up to the first bad one, as `parse` names no other: an error for each of
    500,000 bad members of a body of 1 MB would keep the event loop for seconds.

    Attributes:
        min_length: Fewest members.
        max_length: Most members; None for no bound.
    """

    min_length: int = 0
    max_length: int | None = None

    def __iter__(self) -> Iterator[object]:
        """Yield what pydantic makes of it."""
        yield Strict(strict=False)  # a list is no tuple to a strict model
        if self.min_length:
            yield MinLen(self.min_length)
        if self.max_length is not None:
            yield MaxLen(self.max_length)
        yield FailFast()


@dataclass(frozen=True, slots=True)
class JsonObject(GroupedMetadata):
    """Annotation of a mapping; its members are counted before they are checked.

    Attributes:
        max_length: Most members.
    """

    max_length: int

    def __iter__(self) -> Iterator[object]:
        """Yield what pydantic makes of it."""
        yield MaxLen(self.max_length)
        yield BeforeValidator(self._counted)

    def _counted(self, value: object) -> object:
        if isinstance(value, Mapping) and len(value) > self.max_length:
            lengths = {"max_length": self.max_length, "actual_length": len(value)}
            raise PydanticKnownError("too_long", {"field_type": "Object", **lengths})
        return value


M = TypeVar("M", bound=BaseModel)

_CODES = {
    "missing": "MISSING_FIELD",
    "extra_forbidden": "UNKNOWN_FIELD",
    "finite_number": "NOT_FINITE",
    "greater_than": "OUT_OF_RANGE",
    "greater_than_equal": "OUT_OF_RANGE",
    "less_than": "OUT_OF_RANGE",
    "less_than_equal": "OUT_OF_RANGE",
    "too_short": "OUT_OF_RANGE",
    "too_long": "OUT_OF_RANGE",
    "string_too_short": "OUT_OF_RANGE",
    "string_too_long": "OUT_OF_RANGE",
    "string_pattern_mismatch": "INVALID_NAME",
    "enum": "UNKNOWN_VALUE",
    "literal_error": "UNKNOWN_VALUE",
}


_NO_OBJECT = "Input should be a valid object"
_MESSAGES = {
    "tuple_type": "Input should be a valid list",
    "dict_type": _NO_OBJECT,
    "mapping_type": _NO_OBJECT,
    "model_type": _NO_OBJECT,
    "model_attributes_type": _NO_OBJECT,
    "too_short": "Input should have at least {min_length} items, not {actual_length}",
    "too_long": "Input should have at most {max_length} items, not {actual_length}",
}
"""Messages in the words of JSON, where pydantic's are in those of Python: the sender's list is a
tuple here alone."""

_OF_A_KEY = "[key]"  # where pydantic says that the key of a mapping is at fault, not its value


def problem(code: str, message: str, path: str = "") -> PydanticCustomError:
    """Return the error a validator raises to refuse its field with a stable `code`.

    Args:
        code: Stable name of the condition, upper snake case.
        message: One sentence for a person.
        path: Field at fault below the validated one, as in `variants[1].weight`.
    """
    return PydanticCustomError(code, "{message}", {"message": message, "path": path})


def parse(model: type[M], data: Mapping[str, Any], root: str = "") -> M:
    """Return `data` as a `model`.

    Args:
        model: The model that it must satisfy.
        data: JSON-like mapping.
        root: Path of `data` itself, put before the path of a field.

    Raises:
        InputError: the first thing that is wrong, with its stable code and its path.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise input_error(error, root) from error


def check_change(update: BaseModel) -> None:
    """Refuse an update without a field that is to change.

    Raises:
        InputError: each is left out or null (`MISSING_FIELD`).
    """
    names = type(update).model_fields
    if all(getattr(update, name) is None for name in names):
        raise InputError("MISSING_FIELD", "no field is given that is to change")


def code_of(kind: str) -> str:
    """Return the stable code of a kind of pydantic's errors."""
    return kind if kind.isupper() else _CODES.get(kind, "WRONG_TYPE")


def input_error(error: ValidationError, root: str = "") -> InputError:
    """Return the first thing that is wrong, with its stable code and its path below `root`."""
    details = error.errors(include_url=False)[0]
    kind = details["type"]
    path = root
    for part in details["loc"]:
        if part == _OF_A_KEY:
            continue
        path += (
            f"[{part}]"
            if isinstance(part, int)
            else f"{'.' if path and part else ''}{part[:PATH_CHARACTERS]}"
        )
    within = details.get("ctx", {}).get("path", "")
    if within:
        separator = "." if path and not within.startswith("[") else ""  # `[1]` of a list
        path += f"{separator}{within[:PATH_CHARACTERS]}"
    if code_of(kind) == "UNKNOWN_FIELD" and ".parameters." in f".{path}":
        return InputError("UNKNOWN_PARAMETER", "the policy has no such parameter", path)
    worded = _MESSAGES.get(kind)
    message = details["msg"] if worded is None else worded.format(**details.get("ctx", {}))
    return InputError(code_of(kind), message, path)
