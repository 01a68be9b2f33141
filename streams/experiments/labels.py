"""Owner and tags of an experiment, for searching."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from streams.model.errors import quoted
from streams.model.text import has_controls
from streams.model.validation import JsonList, problem

MAX_OWNER = 100
"""Characters of an owner."""

MAX_TAGS = 20
"""Tags of one experiment."""

MAX_TAG = 50
"""Characters of a tag."""


def _shown(text: str) -> str:
    if has_controls(text):
        raise problem("INVALID_NAME", "has control characters")
    return text


def _tag(text: str) -> str:
    if "," in text:
        raise problem("INVALID_NAME", "has a comma, which separates tags in a query")
    return _shown(text)


def _different(tags: tuple[str, ...]) -> tuple[str, ...]:
    for index, tag in enumerate(tags):
        if tag in tags[:index]:
            raise problem("DUPLICATE_VALUE", f"{quoted(tag)} stands there twice", f"[{index}]")
    return tags


Owner = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_OWNER, strip_whitespace=True),
    AfterValidator(_shown),
]

Tag = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_TAG, strip_whitespace=True),
    AfterValidator(_tag),
]

Tags = Annotated[
    tuple[Tag, ...],
    JsonList(max_length=MAX_TAGS),
    AfterValidator(_different),
]
