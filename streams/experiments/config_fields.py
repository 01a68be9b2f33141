"""Types of the fields that the author of an experiment writes, with their bounds."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from streams.experiments.ignored_units import MAX_UNIT_ID
from streams.experiments.promotion_state import MAX_CONTROL_SHARE
from streams.model.errors import quoted
from streams.model.experiment_keys import KEY_PATTERN, is_key
from streams.model.ids import is_experiment_id, is_variant_id
from streams.model.text import LAYOUT, has_controls
from streams.model.validation import JsonObject, problem

MAX_MIN_DURATION_S = 366 * 86_400

MAX_OVERRIDES = 100
"""Overrides of one experiment, at most: they are part of every snapshot of it."""


def _shown(text: str) -> str:
    if has_controls(text):
        raise problem("INVALID_NAME", "has control characters")
    return text


def _shown_in_lines(text: str) -> str:
    if has_controls(text, LAYOUT):
        raise problem("INVALID_NAME", "has control characters other than line breaks and tabs")
    return text


Description = Annotated[str, AfterValidator(_shown_in_lines)]

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, strip_whitespace=True),
    AfterValidator(_shown),
]


def _variant_name(text: str) -> str:
    if is_variant_id(text):
        raise problem("INVALID_NAME", f"{quoted(text)} is the id of a variant, not a name")
    return text


VariantName = Annotated[Name, AfterValidator(_variant_name)]
"""Name of a variant: calls that take an id or a name mean one variant by it."""


def _key(text: str) -> str:
    if is_experiment_id(text):
        raise problem("INVALID_KEY", f"{quoted(text)} is the id of an experiment, not a key")
    if not is_key(text):
        message = (
            f"{quoted(text)} is no key: 1 to 100 lower-case letters, digits, dots, hyphens and "
            "underscores, the first a letter or a digit"
        )
        raise problem("INVALID_KEY", message)
    return text


ValueField = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_shown)]

Key = Annotated[str, AfterValidator(_key), Field(json_schema_extra={"pattern": KEY_PATTERN})]


# Fields that an experiment is created with and that an update may change.
Share = Annotated[float, Field(ge=0.0, le=1.0)]
SampleSize = Annotated[int, Field(ge=0, le=10**12)]
Threshold = Annotated[float, Field(ge=0.5, lt=1.0)]
RelativeLoss = Annotated[float, Field(gt=0.0, le=1.0)]
NegligibleDifference = Annotated[float | None, Field(gt=0.0, le=1.0)]
Duration = Annotated[int | None, Field(ge=0, le=MAX_MIN_DURATION_S)]
ControlShare = Annotated[float | None, Field(ge=0.0, le=MAX_CONTROL_SHARE)]

Overrides = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1, max_length=MAX_UNIT_ID)], Name],
    JsonObject(MAX_OVERRIDES),
]
