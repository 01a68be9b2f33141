"""Units of randomisation."""

from __future__ import annotations

from enum import StrEnum


class UnitKind(StrEnum):
    """Unit of randomisation."""

    IMPRESSION = "impression"
    USER = "user"
    SESSION = "session"
