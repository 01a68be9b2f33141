"""Reasons why a confidence sequence lacks an end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import computed_field

from streams.model.published import Open, Published


class UndefinedSequenceCode(StrEnum):
    """Stable code of the reason why a confidence sequence lacks an end, or both."""

    NOT_PRIMARY = "NOT_PRIMARY"
    STOPPED = "STOPPED"
    ELIGIBILITY_UNKNOWN = "ELIGIBILITY_UNKNOWN"
    TAILS_UNSEEN = "TAILS_UNSEEN"
    NOT_ENOUGH_YET = "NOT_ENOUGH_YET"


_MESSAGES: dict[str, str] = {
    UndefinedSequenceCode.NOT_PRIMARY: "only the primary metric has a sequence: it alone decides",
    UndefinedSequenceCode.STOPPED: "the variant is stopped, and nothing is decided about it",
    UndefinedSequenceCode.ELIGIBILITY_UNKNOWN: (
        "not all variants were eligible for all units, and which were is not kept by pairs"
    ),
    UndefinedSequenceCode.TAILS_UNSEEN: (
        "the values are too skew for so few units to bound the difference of their means"
    ),
    UndefinedSequenceCode.NOT_ENOUGH_YET: "too few units have been counted to bound the difference",
}


@dataclass(frozen=True, slots=True)
class UndefinedSequence(Published):
    """Reason why a confidence sequence lacks an end, or both.

    Attributes:
        code: Stable code.
    """

    code: Open[UndefinedSequenceCode]

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorator above a property
    @property
    def message(self) -> str:
        """One sentence for a person."""
        return _MESSAGES.get(self.code, str(self.code))
