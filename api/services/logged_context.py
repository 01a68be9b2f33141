"""The part of an assignment's context that is logged with its impression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from streams.model.errors import InputError
from streams.model.events import ALIASES
from streams.targeting.attributes import RequestAttributes

MAX_CONTEXT_BYTES = 16_384
"""Longest JSON that is logged of one request."""


def logged_context(context: RequestAttributes, aliases: Sequence[int] = ()) -> str:
    """Return what is logged of a request: JSON, empty if there is nothing.

    The ids of user and session are not: the log identifies a unit by its hash.

    Args:
        context: The request.
        aliases: Unit hashes of other ids of the unit; its first receipts are rebuilt from them.

    Raises:
        InputError: it is too long (`OUT_OF_RANGE`) or nested too deeply (`TOO_DEEP`).
    """
    logged: dict[str, Any] = {}
    if context.device:
        logged["device"] = context.device
    if context.location:
        logged["location"] = context.location
    if context.features:
        logged["features"] = context.features
    if aliases:
        logged[ALIASES] = [f"{alias:016x}" for alias in aliases]
    if not logged:
        return ""
    try:
        text = orjson.dumps(logged)
    except orjson.JSONEncodeError as error:
        raise InputError("TOO_DEEP", f"cannot be logged: {error}", "features") from error
    if len(text) > MAX_CONTEXT_BYTES:
        raise InputError(
            "OUT_OF_RANGE",
            f"the logged part has {len(text)} bytes, must be <= {MAX_CONTEXT_BYTES}",
            "features",
        )
    return text.decode()
