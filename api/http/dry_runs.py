"""Responses to dry runs, made of previews."""

from __future__ import annotations

from api.http.models.dry_run import DryRun, DryRunEffect
from api.http.models.history import HistoryChange
from api.http.payloads import experiment_response
from api.services.control import Preview
from streams.experiments.effects import effects_of
from streams.experiments.history import MAX_CHANGES, changes_between
from streams.model.events import CommandKind


def dry_run_response(kind: CommandKind, preview: Preview) -> DryRun:
    """Return the response to a dry run."""
    snapshot, after = preview
    before = None if snapshot is None else snapshot.experiment
    units = () if snapshot is None else tuple(each.assignments for each in snapshot.variants)
    changes = [] if before is None else list(changes_between(before, after))
    return DryRun(
        command=kind.value,
        effects=tuple(
            DryRunEffect(
                code=each.code,
                variant_id=None if each.variant is None else after.variant_id(each.variant),
                units=each.units,
                before=each.before,
                after=each.after,
            )
            for each in effects_of(before, after, units)
        ),
        changes=tuple(
            HistoryChange(
                path=each.path, before=each.before, after=each.after, is_omitted=each.is_omitted
            )
            for each in changes[:MAX_CHANGES]
        ),
        omitted_changes=max(0, len(changes) - MAX_CHANGES),
        experiment=experiment_response(after),
    )
