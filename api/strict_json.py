"""JSON decoded strictly: what is refused has a code, and a path where one is known."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import orjson

from streams.model.errors import PATH_CHARACTERS, InputError


def decode_json(body: bytes) -> Any:
    """Return the JSON value of a body.

    Raises:
        InputError: it holds a NaN, an infinity or a number too large for one (`NOT_FINITE`, with
            the path), or is not JSON for another reason (`INVALID_JSON`).
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        path = path_of_not_finite(decode_loosely(body))
        if path is not None:
            raise InputError("NOT_FINITE", "a number must be finite", path) from error
        raise InputError("INVALID_JSON", f"the body is not JSON: {error}") from error


def decode_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; an empty body is an empty object.

    Raises:
        InputError: as `decode_json`, or it is no object (`WRONG_TYPE`).
    """
    value = decode_json(body) if body else {}
    if not isinstance(value, dict):
        raise InputError("WRONG_TYPE", "the body must be a JSON object")
    return value


def decode_loosely(body: bytes) -> Any:
    """Return the value of a body that is JSON but for NaN, infinities and lone surrogates.

    None stands for a body that is not even that.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def path_of_not_finite(value: Any) -> str | None:
    """Return where a JSON value has its first NaN or infinity, None if nowhere.

    Takes time and memory in proportion to the value: a path is put together once, at the end.
    """
    keys: list[str | int] = []
    levels: list[Iterator[tuple[str | int, Any]]] = [iter([("", value)])]
    while levels:
        for key, member in levels[-1]:
            if type(member) is float:
                if not math.isfinite(member):
                    return _path([*keys[1:], key] if keys else [])
            elif type(member) is dict:
                keys.append(key)
                levels.append(iter(member.items()))
                break
            elif type(member) is list:
                keys.append(key)
                levels.append(iter(enumerate(member)))
                break
        else:
            levels.pop()
            if keys:
                keys.pop()
    return None


def _path(keys: list[str | int]) -> str:
    path = ""
    for key in keys:
        if isinstance(key, int):
            path += f"[{key}]"
        else:
            path += f"{'.' if path else ''}{key[:PATH_CHARACTERS]}"
        if len(path) > PATH_CHARACTERS:
            break
    return path
