"""The one place where exposures are counted, and observations of units that count by exposure.

An exposure of a unit without entries adds a unit to a cell, and commutes with all others; most are
such, and those of one bucket of the window are counted together. All other events are counted after
them in the order of the log, unit by unit (`exposed_units`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from streams.experiments.exposure import WINDOWS_BY_EXPOSURE, exposure_not_used
from streams.fold.buckets import deadlines
from streams.fold.cohorts import add_to_cohorts, counted
from streams.fold.exposed_units import ENTRIES, ExposedUnit, ReceiptOfUnit, exposed
from streams.fold.partition import Ledger
from streams.fold.slices import add_to_slices
from streams.fold.verification import VerifiedObservations
from streams.fold.window_memory import WindowFullError
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.events import EXPOSURE
from streams.model.vectors import Vector
from streams.tallies.fields import Chance
from streams.tallies.periods import tick_of

TOGETHER_FROM = 32
"""Number of events from which batch counting of new units is faster."""


def is_by_exposure(ledger: Ledger) -> bool:
    """Return whether the units of an experiment count from their first exposure."""
    return ledger.plan is not None and ledger.plan.by_exposure


def by_exposure(ledgers: Mapping[int, Ledger]) -> list[int]:
    """Return the experiments whose units count from their first exposure."""
    return [experiment for experiment, ledger in ledgers.items() if is_by_exposure(ledger)]


def count_exposed(
    rows: VerifiedObservations,
    chosen: NDArray[np.int64],
    ledgers: Mapping[int, Ledger],
    vectors: Mapping[int, Vector],
) -> tuple[NDArray[np.bool_], dict[int, Exception | None]]:
    """Count exposures, and the observations of experiments that count by exposure.

    Args:
        rows: Verified observations.
        chosen: Which of them to count, ascending.
        ledgers: Ledgers of their experiments, to be changed.
        vectors: Features of their units, by row, where the receipt has any.

    Returns:
        Which of the rows were handled, and the reasons by row for those not counted; None for a
        duplicate observation, and for an exposure after the first of its unit.
    """
    exposing = by_exposure(ledgers)
    are_of = np.isin(rows.receipts.experiment[chosen], np.array(exposing, np.uint64))
    not_used = exposures_among(rows, chosen) & ~are_of
    uncounted: dict[int, Exception | None] = {
        row: exposure_not_used(int(rows.receipts.experiment[row]))
        for row in chosen[not_used].tolist()
    }
    own = {experiment: ledgers[experiment] for experiment in exposing}
    left = chosen[are_of]
    if len(left) >= TOGETHER_FROM:
        left = _count_new_units(rows, left, own, vectors)
    if len(left):
        uncounted.update(_count_one_by_one(rows, left, own, vectors))
    return are_of | not_used, uncounted


def exposures_among(rows: VerifiedObservations, chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of some rows are exposures."""
    names = rows.read.names
    if EXPOSURE not in names:
        return np.zeros(len(chosen), np.bool_)
    return np.asarray(rows.read.metrics[chosen] == names.index(EXPOSURE))


def _count_new_units(
    rows: VerifiedObservations,
    chosen: NDArray[np.int64],
    ledgers: Mapping[int, Ledger],
    vectors: Mapping[int, Vector],
) -> NDArray[np.int64]:
    """Count exposures of units without entries; return the remaining rows."""
    receipts = rows.receipts
    candidates = chosen[exposures_among(rows, chosen)]
    # Events before an exposure in the same records are counted in the order of the log.
    done: list[NDArray[np.int64]] = []
    for experiment, ledger in ledgers.items():
        own = candidates[receipts.experiment[candidates] == np.uint64(experiment)]
        others = chosen[receipts.experiment[chosen] == np.uint64(experiment)]
        if not len(own):
            continue
        ends = deadlines(
            receipts.assigned_at_ms[own], WINDOWS_BY_EXPOSURE * receipts.attribution_window_s[own]
        )
        for deadline in np.unique(ends).tolist():
            piece = own[ends == deadline]
            keys = rows.keys[piece].tolist()
            window = ledger.window
            if int(rows.offsets[others[0]]) <= ledger.builder.folded or not window.has_room(
                (deadline,), ENTRIES * len(others)
            ):
                continue
            known = set(window.known(deadline, keys))
            # The earliest of several exposures counts, which need not be the first in the log.
            identities = receipts.identity[piece]
            _, places, counts = np.unique(identities, return_inverse=True, return_counts=True)
            several = np.flatnonzero(counts[places] > 1).tolist()
            known.update(several)
            if known:
                new = [place for place in range(len(piece)) if place not in known]
                piece, keys = piece[new], [keys[place] for place in new]
            if len(piece):
                _add_new_units(rows, piece, keys, deadline, ledger, vectors)
                done.append(piece)
    return chosen[~np.isin(chosen, np.concatenate(done))] if done else chosen


def _add_new_units(
    rows: VerifiedObservations,
    piece: NDArray[np.int64],
    keys: Sequence[int],
    deadline: int,
    ledger: Ledger,
    vectors: Mapping[int, Vector],
) -> None:
    receipts, builder, plan = rows.receipts, ledger.builder, ledger.plan
    assert plan is not None  # noqa: S101 - else it would not count by exposure
    variants = receipts.variant[piece].tolist()
    chances: list[Chance] = list(
        zip(
            variants,
            receipts.propensity[piece].tolist(),
            receipts.weights[piece].tolist(),
            strict=True,
        )
    )
    times = rows.observed_at_ms[piece].tolist()
    known = [vectors.get(row) for row in piece.tolist()] if vectors else [None] * len(piece)
    offset = int(rows.offsets[piece].max())
    builder.add_chances(offset, chances, min(times), max(times))
    seen = zip(chances, known, strict=True)
    builder.sums.add_contexts((chance, vector) for chance, vector in seen if vector is not None)
    if plan.slices is not None:
        values = (receipts.dimensions.get(row, b"") for row in piece.tolist())
        add_to_slices(builder, zip(chances, values, strict=True))
    if plan.by_period is not None:
        ticks = counted(zip(variants, map(tick_of, times), strict=True))
        n_variants = plan.by_period.n_variants
        builder.sums.add_assigned({key: n for key, n in ticks.items() if key[0] < n_variants})
    covariates = known if plan.has_covariates else [None] * len(piece)
    units = list(zip(chances, times, covariates, strict=True))
    for window_s in sorted(set(plan.windows.values())):
        add_to_cohorts(builder, window_s, units)
    ledger.window.add(deadline, keys, list(map(exposed, times)))


def _count_one_by_one(
    rows: VerifiedObservations,
    chosen: NDArray[np.int64],
    ledgers: Mapping[int, Ledger],
    vectors: Mapping[int, Vector],
) -> Iterator[tuple[int, Exception | None]]:
    """Count rows in the order of the log, and yield those that are not counted."""
    read, receipts, all_names = rows.read, rows.receipts, rows.read.names
    columns = (
        chosen,
        rows.offsets[chosen],
        rows.timestamps_ms[chosen] - CLOCK_SKEW_MS,
        receipts.experiment[chosen],
        receipts.variant[chosen],
        receipts.propensity[chosen],
        receipts.weights[chosen],
        receipts.assigned_at_ms[chosen],
        receipts.attribution_window_s[chosen],
        receipts.identity[chosen],
        read.metrics[chosen],
        read.values[chosen],
        rows.events[chosen],
        rows.observed_at_ms[chosen],
    )
    for (
        row,
        offset,
        now_ms,
        experiment,
        variant,
        propensity,
        weights,
        assigned_at_ms,
        window_s,
        identity,
        metric,
        value,
        event,
        at_ms,
    ) in zip(*(column.tolist() for column in columns), strict=True):
        ledger, name = ledgers[experiment], all_names[metric]
        chance = variant, propensity, weights
        vector = vectors.get(row)
        assignment = ReceiptOfUnit(
            offset,
            now_ms,
            chance,
            identity,
            assigned_at_ms,
            window_s,
            vector,
            int(receipts.unit[row]),
            partial(read.assignment_id, row),
            receipts.dimensions.get(row, b""),
        )
        unit = ExposedUnit(ledger, assignment)
        try:
            has_effect = (
                unit.expose(at_ms) if name == EXPOSURE else unit.observe(name, value, event, at_ms)
            )
            if not has_effect:
                yield row, None
        except Exception as error:  # noqa: BLE001 - one event's must not cost the others
            if isinstance(error, WindowFullError) and offset > ledger.builder.folded:
                ledger.builder.add_unremembered(offset)
            yield row, error
