"""Files with the definition of an experiment, in JSON or YAML."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import yaml

from streams.cli.input_files import read_text, unreadable
from streams.model.errors import InputError, quoted

MAX_VALUES = 100_000
"""Most values in a definition. The aliases of a few lines of YAML can stand for any number."""


def read_definition(file: Path) -> dict[str, Any]:
    """Return the `config` and `variants` of a JSON or YAML file; `-` is standard input.

    Raises:
        InputError: the file cannot be read (`UNREADABLE_FILE`), does not have exactly these two or
            a value that JSON does not have (`WRONG_TYPE`), or too many (`DEFINITION_TOO_LARGE`).
    """
    text = read_text(file)
    try:
        definition = _parsed(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # as of a date, or of nesting
        raise unreadable(file, error) from error
    if not isinstance(definition, dict) or definition.keys() != {"config", "variants"}:
        raise InputError("WRONG_TYPE", "must be an object of `config` and `variants`", str(file))
    if not isinstance(definition["config"], dict) or not _are_objects(definition["variants"]):
        raise InputError(
            "WRONG_TYPE", "`config` must be an object and `variants` a list of objects", str(file)
        )
    for number, value in enumerate(_values(definition)):
        if number >= MAX_VALUES:
            raise InputError(
                "DEFINITION_TOO_LARGE", f"it has more than {MAX_VALUES:,} values", str(file)
            )
        if not _is_json(value):
            raise InputError("WRONG_TYPE", f"{quoted(value)} is no value of JSON", str(file))
    return definition


def _parsed(text: str) -> Any:
    """Return JSON, or else YAML; the parser of YAML 1.1 takes JSON's 1e-3 for a string."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return yaml.safe_load(text)


def _values(value: Any) -> Iterator[Any]:
    """Yield a value and all in it, each as often as it is there: of a cycle, without an end."""
    left = [iter((value,))]
    while left:
        found = next(left[-1], left)
        if found is left:
            left.pop()
            continue
        yield found
        if isinstance(found, dict):
            left.append(iter(found.values()))
        elif isinstance(found, list):
            left.append(iter(found))


def _is_json(value: Any) -> bool:
    match value:
        case dict():
            return all(isinstance(key, str) for key in value)
        case float():
            return math.isfinite(value)
        case _:
            return value is None or isinstance(value, str | int | list)


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(member, dict) for member in value)
