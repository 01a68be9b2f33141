"""Snapshots of experiments whose evaluation has failed: a new lifecycle, and the last statistics.

The lifecycle of an experiment depends on its commands only, and is published even if its statistics
fail. Nothing here computes statistics, so the failure cannot recur.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.roster import fixed_weights, spread
from streams.experiments.snapshot import Allocation, CellPlace, Snapshot
from streams.experiments.statistics.failure import Failure, FailureCode
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.experiments.statistics.variant_report import VariantReport
from streams.fold.writable import ENTRY_TOO_LARGE
from streams.model.errors import EngineError
from streams.model.quantities import ALLOCATION_TOTAL
from streams.policies.weights import integer_weights
from streams.tallies.cell import Cell

_ERROR_CHARACTERS = 100
_NOTHING = VariantReport(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, {})


def failed_snapshot(
    experiment: Experiment, cells: Iterable[Cell], error: Exception, last: Snapshot | None
) -> Snapshot:
    """Return the snapshot of an experiment that cannot be evaluated.

    Args:
        experiment: State after its commands.
        cells: Its newest cells.
        error: The error that ended the evaluation.
        last: The newest snapshot published before; None if it does not exist or had no statistics
            either.
    """
    chosen = sorted(cells, key=lambda cell: (cell.source, cell.partition))
    places = tuple(CellPlace(cell.source, cell.partition, cell.last_offset) for cell in chosen)
    version = experiment.version + sum(place.last_offset + 1 for place in places)
    if last is None:
        last = _unknown(experiment)
    failure = _failure(error, last)
    has_varied = _has_varied(experiment, last)
    allocation = _allocation(experiment, last, version)
    added = len(experiment.definition.variants) - len(last.variants)
    if added > 0:
        last = replace(last, variants=(*last.variants, *[_NOTHING] * added), evidence=None)
    is_over = experiment.status is Status.ARCHIVED
    action = RecommendedAction.CONTINUE if is_over else RecommendedAction.INVESTIGATE
    return replace(
        last,
        experiment=experiment,
        version=version,
        allocation=allocation,
        model=None if experiment.promotion is not None or has_varied else last.model,
        winner=experiment.winner,
        recommended_action=action,
        reason_code=ReasonCode(failure.code.value),
        duplicates=sum(cell.duplicates for cell in chosen),
        cells=places,
        as_of_ms=max((cell.last_at_ms for cell in chosen), default=0),
        failure=failure,
    )


def _failure(error: Exception, last: Snapshot) -> Failure:
    is_large = isinstance(error, EngineError) and error.code == ENTRY_TOO_LARGE
    code = FailureCode.SNAPSHOT_TOO_LARGE if is_large else FailureCode.EVALUATION_FAILED
    since = last.version if last.failure is None else last.failure.statistics_version
    return Failure(code, type(error).__name__[:_ERROR_CHARACTERS], since)


def _allocation(experiment: Experiment, last: Snapshot, version: int) -> Allocation:
    """Return the weights in force: the last ones, unless a command has set others.

    Args:
        experiment: The experiment.
        last: The newest snapshot.
        version: Version of the next one.
    """
    definition, promotion = experiment.definition, experiment.promotion
    if promotion is not None:
        n_variants = len(definition.variants)
        return Allocation(
            promotion.version, promotion.weights(n_variants, definition.control_index)
        )
    if not definition.config.parameters.adaptive:
        # The version is kept, so that every unit keeps its receipt.
        return Allocation(experiment.fixed_version, fixed_weights(definition))
    if not _has_varied(experiment, last):
        return last.allocation
    known = [*last.allocation.weights, *[0] * len(definition.variants)]
    # A new variant gets the average weight of the others, a stopped one gets 0.
    average = ALLOCATION_TOTAL // len(definition.active)
    weights = integer_weights([known[index] or average for index in definition.active], 1)
    return Allocation(version, spread(weights, definition.active, len(definition.variants)))


def _has_varied(experiment: Experiment, last: Snapshot) -> bool:
    """Return whether a variant was added, stopped or reactivated since the last snapshot."""
    before, after = last.experiment.definition, experiment.definition
    return (before.active, len(before.variants)) != (after.active, len(after.variants))


def _unknown(experiment: Experiment) -> Snapshot:
    """Return the snapshot of an experiment without published statistics."""
    definition = experiment.definition
    n_variants = len(definition.variants)
    share = 1.0 / n_variants
    weights = [definition.weights[index] for index in definition.active]
    nothing = replace(_NOTHING, probability_best=share)
    none_yet = Failure(FailureCode.EVALUATION_FAILED, "", 0)
    return Snapshot(
        experiment=experiment,
        version=experiment.version,
        allocation=Allocation(
            experiment.version, spread(integer_weights(weights, 1), definition.active, n_variants)
        ),
        variants=(nothing,) * n_variants,
        winner=None,
        confidence=share,
        recommended_action=RecommendedAction.INVESTIGATE,
        reason_code=ReasonCode.EVALUATION_FAILED,
        duplicates=0,
        cells=(),
        as_of_ms=0,
        failure=none_yet,
    )
