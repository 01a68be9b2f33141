"""An evaluation that failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import computed_field

from streams.model.published import Open, Published


class FailureCode(StrEnum):
    """Reason why a version has no statistics."""

    EVALUATION_FAILED = "EVALUATION_FAILED"
    SNAPSHOT_TOO_LARGE = "SNAPSHOT_TOO_LARGE"


@dataclass(frozen=True, slots=True)
class Failure(Published):
    """A failed evaluation; the lifecycle and version of its snapshot are current nevertheless.

    Attributes:
        code: Stable code.
        error: Class of the error; at most 100 characters.
        statistics_version: Version of the snapshot that statistics and weights are of; 0 without
            one: then they are those of an experiment without events.
    """

    code: Open[FailureCode]
    error: str
    statistics_version: int

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorator above a property
    @property
    def message(self) -> str:
        """One sentence for a person."""
        since = self.statistics_version
        kept = f"those of version {since} are shown" if since else "no earlier ones exist"
        return f"The statistics of this version failed ({self.code}, {self.error}): {kept}."
