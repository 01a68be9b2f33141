"""Facts of experiments, in their snapshots."""

from __future__ import annotations

from collections.abc import Mapping

from streams.analysis.misspelled_metrics import misspelt_metrics
from streams.experiments.exposure import Exposure
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.schedule import held_by, next_at_ms
from streams.experiments.shared_unit_conflicts import refused_in_layers
from streams.experiments.snapshot import Snapshot
from streams.ops.doctor.facts import SnapshotFacts

Offsets = dict[tuple[str, int], int]
"""Last offset folded, by source and partition."""


def snapshot_facts(
    newest: Mapping[str, Snapshot],
    versions: Mapping[str, int],
    tallies: Mapping[str, Offsets],
    now_ms: int,
) -> tuple[SnapshotFacts, ...]:
    """Return the facts of experiments, in order of their ids.

    Args:
        newest: The newest snapshot of each in the log, by id.
        versions: Version of its snapshot in Redis, by id.
        tallies: Its newest cells, by id.
        now_ms: Time, milliseconds since the epoch.
    """
    refused = refused_in_layers(each.experiment for each in newest.values())
    return tuple(
        _facts(
            snapshot,
            versions.get(name),
            tallies.get(name, {}),
            refused.get(snapshot.experiment.number),
            now_ms,
        )
        for name, snapshot in sorted(newest.items())
        # What was archived and is not in Redis has ended.
        if name in versions or snapshot.experiment.status is not Status.ARCHIVED
    )


def _facts(
    snapshot: Snapshot,
    redis_version: int | None,
    tallies: Offsets,
    overlapping: Experiment | None,
    now_ms: int,
) -> SnapshotFacts:
    experiment = snapshot.experiment
    found = None if snapshot.evidence is None else snapshot.evidence.miscounts
    failure = snapshot.failure
    return SnapshotFacts(
        experiment_id=experiment.id,
        version=snapshot.version,
        redis_version=redis_version,
        cells={(cell.source, cell.partition): cell.last_offset for cell in snapshot.cells},
        tallies=tallies,
        has_receipts=experiment.started_at_ms is not None
        and experiment.status is not Status.ARCHIVED,
        receipt_key=experiment.definition.config.receipt_key,
        is_memory_full=found is not None and found.is_memory_full,
        crossed_units=0 if found is None else found.units_in_several_variants,
        heavy=()
        if found is None
        else tuple((each.assignment_id, each.metric, each.share) for each in found.heavy_units),
        misspelt=tuple((each.metric, each.observed) for each in misspelt_metrics(snapshot)),
        failure=None if failure is None else (failure.code, failure.error),
        dimensions=tuple(
            (each.code, each.message) for report in snapshot.dimensions for each in report.findings
        ),
        late_ms=max((each.at_ms - each.due_at_ms for each in experiment.history), default=0),
        overdue_ms=_overdue_ms(experiment, now_ms),
        ahead_ms=_ahead_ms(experiment, now_ms),
        events_ahead_ms=0
        if experiment.status is Status.ARCHIVED
        else max(0, snapshot.as_of_ms - now_ms),
        held_by=held_by(experiment.history),
        unexposed=_unexposed(snapshot),
        overlaps=None if overlapping is None else overlapping.id,
    )


def _ahead_ms(experiment: Experiment, now_ms: int) -> int:
    """Return by how much the start of an experiment is ahead of a time; 0 where it is not."""
    started_ms = experiment.started_at_ms
    if started_ms is None or experiment.status in {Status.CONCLUDED, Status.ARCHIVED}:
        return 0
    return max(0, started_ms - now_ms)


def _overdue_ms(experiment: Experiment, now_ms: int) -> int:
    """Return for how long something of a schedule has been due; 0 where nothing is."""
    schedule = experiment.definition.config.schedule
    if schedule is None or experiment.status in {Status.CONCLUDED, Status.ARCHIVED}:
        return 0
    due_ms = next_at_ms(schedule, experiment.history, experiment.started_at_ms)
    return 0 if due_ms is None else max(0, now_ms - due_ms)


def _unexposed(snapshot: Snapshot) -> int:
    """Return the assignments of an experiment that counts exposures and has none; else 0."""
    experiment = snapshot.experiment
    config = experiment.definition.config
    if config.exposure is not Exposure.EVENT or config.holdout is not None:
        return 0
    if not experiment.is_assigning or any(each.exposures for each in snapshot.variants):
        return 0
    return sum(each.assignments for each in snapshot.variants)
