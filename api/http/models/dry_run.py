"""Response to a dry run."""

from __future__ import annotations

from api.http.models.history import HistoryChange
from api.http.models.responses import Experiment, ResponseModel


class DryRunEffect(ResponseModel):
    """An effect that a command would have.

    Attributes:
        code: Stable code, as `ASSIGNMENT_STARTS` or `VARIANT_STOPPED`.
        variant_id: Variant that it is of; None of the experiment.
        units: Units that are assigned so far and are affected; None if that does not apply.
        before, after: Share of the traffic, or of the control; None if that does not apply.
    """

    code: str
    variant_id: str | None = None
    units: int | None = None
    before: float | None = None
    after: float | None = None


class DryRun(ResponseModel):
    """Result that a command would have; nothing was changed.

    Attributes:
        dry_run: True.
        command: Kind of the command.
        effects: Its effects for units and statistics.
        changes: Values that it would change, as the history would have them.
        omitted_changes: Number of changes that are not in `changes`.
        experiment: The experiment as it would be; of a new one without a `key` the id is an
            example.
    """

    dry_run: bool = True
    command: str
    effects: tuple[DryRunEffect, ...]
    changes: tuple[HistoryChange, ...]
    omitted_changes: int
    experiment: Experiment
