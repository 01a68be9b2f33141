"""Response to a dry run."""

from __future__ import annotations

from api.http.models.history import HistoryChange
from api.http.models.responses import Experiment, ResponseModel


class DryRunEffect(ResponseModel):
    """A predicted effect of a command.

    Attributes:
        code: Stable code, such as `ASSIGNMENT_STARTS` or `VARIANT_STOPPED`.
        variant_id: Affected variant; None for the experiment.
        units: Affected units among those assigned so far; None if not applicable.
        before, after: Share of the traffic, or of the control; None if not applicable.
    """

    code: str
    variant_id: str | None = None
    units: int | None = None
    before: float | None = None
    after: float | None = None


class DryRun(ResponseModel):
    """Predicted result of a command; nothing was changed.

    Attributes:
        dry_run: True.
        command: Kind of the command.
        effects: Its effects for units and statistics.
        changes: Values that it would change, in the form of the history.
        omitted_changes: Number of changes that are not in `changes`.
        experiment: The resulting experiment; the id of a new one without a `key` is an example.
    """

    dry_run: bool = True
    command: str
    effects: tuple[DryRunEffect, ...]
    changes: tuple[HistoryChange, ...]
    omitted_changes: int
    experiment: Experiment
