"""Render docs/reference/settings.md from the descriptions in streams/settings.py.

Usage: python -m scripts.render_settings
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from streams.settings import ENVIRONMENT_PREFIX, Settings

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"

INTRODUCTION = """\
# Settings

Every process reads its settings once, from the environment alone, when it starts. A value outside
its domain stops the process with exit code 2 and the name of the variable. Worker and API share
one set; each ignores what it does not need.

Rendered from `streams/settings.py` by `python -m scripts.render_settings`; a test compares them.
"""


def render() -> str:
    """Return the page, one section a variable, in the order of the fields."""
    sections = [INTRODUCTION]
    for name, field in Settings.model_fields.items():
        sections.append(
            f"## `{ENVIRONMENT_PREFIX}{name.upper()}`\n\n"
            f"{field.description}\n\n"
            f"Default: {default_text(field)}. {domain_text(field)}".rstrip()
            + "\n"
        )
    return "\n".join(sections)


def default_text(field: FieldInfo) -> str:
    """Return the default as a reader would write it."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "default_text" in extra:
        return str(extra["default_text"])
    if field.default is None:
        return "not set"
    return f"`{field.default}`" if field.default != "" else "empty"


def domain_text(field: FieldInfo) -> str:
    """Return choices and bounds; empty when any value of the type will do."""
    parts = []
    if get_origin(field.annotation) is Literal:
        parts.append("One of " + ", ".join(f"`{choice}`" for choice in get_args(field.annotation)))
    if SecretStr in get_args(field.annotation):
        parts.append("Secret: never shown or logged")
    words = {"gt": "above", "ge": "at least", "le": "at most", "max_length": "length at most"}
    bounds = [
        f"{word} {getattr(constraint, bound):,}"
        for constraint in field.metadata
        for bound, word in words.items()
        if getattr(constraint, bound, None) is not None
    ]
    if bounds:
        parts.append(", ".join(bounds).capitalize())
    return ". ".join(parts) + "." if parts else ""


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render())
