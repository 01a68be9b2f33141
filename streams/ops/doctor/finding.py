"""Findings of checks. Codes are part of the public contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_SHOWN = 3


class Severity(StrEnum):
    """Severity of a finding; a note is not a fault."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        code: Stable name, upper snake case.
        severity: An error loses or delays answers now; a warning may; a note is for information.
        what: What was seen, one sentence.
        advice: What to do about it.
    """

    code: str
    severity: Severity
    what: str
    advice: str


def shortened(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: the first three, and the number of the others."""
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else shown
