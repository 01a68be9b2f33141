"""Authors of commands, and the reasons they give."""

from __future__ import annotations

from typing import NamedTuple

from streams.model.errors import InputError
from streams.model.text import has_controls

MAX_AUTHOR = 256
"""Characters of an author: the kind, the name of a key, and a declared name."""

MAX_KEY_NAME = 100
"""Characters of the name of an API key."""

MAX_DECLARED = 100
"""Characters of a name that the caller declares."""

MAX_REASON = 500
"""Characters of a reason."""

OPEN = "open"
"""Author of a command to an API without keys."""

SCHEDULE = "schedule"
"""Author of the commands that the schedule of an experiment gives."""

PROMOTION = "promotion"
"""Author of automatic promotions and of their roll-backs."""

CLOCK = "clock"
"""Author of ticks."""

EVALUATION = "evaluation"
"""Author of recommended actions."""


class Origin(NamedTuple):
    """Origin of a command.

    Attributes:
        author: Who gave it: `key:NAME` of an API key, `open` where the API has none, either
            followed by `/` and a name that the caller declared; or `SCHEDULE`, `PROMOTION`,
            `CLOCK`. Empty where it is not known, as of a command that others wrote to the log.
        reason: Why, as the author put it; empty for none.
    """

    author: str = ""
    reason: str = ""


UNKNOWN_ORIGIN = Origin()


def author_of(key_name: str, declared: str = "") -> str:
    """Return the author of a command that came with an API key.

    Args:
        key_name: Name of the key; empty where the API asks for none.
        declared: A name that the caller declared, which nothing has checked; empty for none.

    >>> author_of("analyst"), author_of("dashboard", "ana"), author_of("", "ana")
    ('key:analyst', 'key:dashboard/ana', 'open/ana')
    """
    own = f"key:{key_name}" if key_name else OPEN
    return f"{own}/{declared}" if declared else own


def checked(text: str, limit: int, path: str, keep: str = "") -> str:
    """Return a text without the white space around it.

    Args:
        text: The text.
        limit: Characters that it may have.
        path: Its path, for the error.
        keep: Control characters that it may have.

    Raises:
        InputError: it is longer (`OUT_OF_RANGE`), or has control characters (`INVALID_NAME`).
    """
    stripped = text.strip()
    if len(stripped) > limit:
        raise InputError("OUT_OF_RANGE", f"must have at most {limit} characters", path)
    if has_controls(stripped, keep):
        raise InputError("INVALID_NAME", "has control characters", path)
    return stripped
