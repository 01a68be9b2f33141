"""The one place where verified observations are counted.

First observations of units, which are most, are counted together (`streams.fold.new_units`).
Observations that open a bucket or add a metric are counted before them, unless they evict entries
or are refused. Observations that may evict a bucket, be refused, or be duplicates depend on the
order, and are counted after them in the order of the log. So are voids, which remove units again
(`streams.fold.voiding`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from streams.experiments.exposure import WINDOWS_BY_EXPOSURE
from streams.fold.buckets import deadlines
from streams.fold.deduplication import SEEN
from streams.fold.exposures import by_exposure, count_exposed, is_by_exposure
from streams.fold.measuring import CountedObservation
from streams.fold.metric_slots import check_slot, take_slot
from streams.fold.new_units import count_new_units
from streams.fold.partition import Ledger
from streams.fold.verification import VerifiedObservations
from streams.fold.voiding import VoidedAssignment, void_unit
from streams.fold.window_memory import WindowFullError
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.events import EXPOSURE
from streams.model.vectors import Vector
from streams.tallies.builder import CellBuilder
from streams.tallies.heavy_units import HEAVY_FROM
from streams.tallies.plan import ALWAYS, MAX_EVENTS

TOGETHER_FROM = 32
"""Number of observations from which batch counting of new units is faster."""


def count_observations(
    rows: VerifiedObservations,
    chosen: NDArray[np.int64],
    ledgers: Mapping[int, Ledger],
    vectors: Mapping[int, Vector],
) -> dict[int, Exception | None]:
    """Count observations; return the reasons by row for those not counted.

    The reason is None for a duplicate, for an observation before the delay or after the conversion
    window of its metric, and for one of a voided unit.

    Args:
        rows: Verified observations.
        chosen: Which of them to count, ascending.
        ledgers: Ledgers of their experiments, to be changed.
        vectors: Features of their units, by row, if the receipt has any.
    """
    if not rows.void_reasons:
        return _count(rows, chosen, ledgers, vectors)
    uncounted: dict[int, Exception | None] = {}
    are_voids = rows.are_voids(chosen)
    changes = np.flatnonzero(np.diff(are_voids)) + 1
    for run in np.split(chosen, changes):  # in the order of the log
        if len(run) and rows.are_voids(run[:1]).all():
            uncounted.update(_void(rows, run, ledgers, vectors))
        else:
            uncounted.update(_count(rows, run, ledgers, vectors))
    return uncounted


def _void(
    rows: VerifiedObservations,
    chosen: NDArray[np.int64],
    ledgers: Mapping[int, Ledger],
    vectors: Mapping[int, Vector],
) -> Iterator[tuple[int, Exception | None]]:
    """Remove the units of rows, and yield the rows without effect."""
    receipts = rows.receipts
    for row in chosen.tolist():
        void = VoidedAssignment(
            int(rows.offsets[row]),
            int(rows.timestamps_ms[row]),
            rows.void_reasons[int(rows.read.metrics[row])],
            (int(receipts.variant[row]), int(receipts.propensity[row]), receipts.weights[row]),
            vectors.get(row),
            int(receipts.identity[row]),
            int(receipts.assigned_at_ms[row]),
            int(receipts.attribution_window_s[row]),
            receipts.dimensions.get(row, b""),
        )
        try:
            ledger = ledgers[int(receipts.experiment[row])]
            if not void_unit(ledger, void):
                yield row, None
            elif void.offset > ledger.builder.folded:
                ledger.builder.void_heavy(rows.read.assignment_id(row))
        except Exception as error:  # noqa: BLE001 - one event's must not cost the others
            yield row, error


def _of_voided_units(
    rows: VerifiedObservations, chosen: NDArray[np.int64], ledgers: Mapping[int, Ledger]
) -> list[int]:
    """Return the rows of voided units."""
    windows = {number: each.window for number, each in ledgers.items() if each.window.has_voids}
    if not windows:
        return []
    receipts = rows.receipts
    asked = chosen[np.isin(receipts.experiment[chosen], np.fromiter(windows, np.uint64))]
    exposing = np.isin(receipts.experiment[asked], np.array(by_exposure(ledgers), np.uint64))
    windows_s = receipts.attribution_window_s[asked] * np.where(exposing, WINDOWS_BY_EXPOSURE, 1)
    buckets = deadlines(receipts.assigned_at_ms[asked], windows_s)
    columns = asked, receipts.experiment[asked], buckets, receipts.identity[asked]
    return [
        row
        for row, experiment, deadline, identity in zip(
            *(column.tolist() for column in columns), strict=True
        )
        if windows[experiment].is_void(deadline, identity)
    ]


def _count(
    rows: VerifiedObservations,
    chosen: NDArray[np.int64],
    ledgers: Mapping[int, Ledger],
    vectors: Mapping[int, Vector],
) -> dict[int, Exception | None]:
    """Count observations without voids, like `count_observations`."""
    voided = _of_voided_units(rows, chosen, ledgers)
    untimely = _untimely(rows, chosen, ledgers)
    uncounted: dict[int, Exception | None] = dict.fromkeys(untimely + voided)
    if uncounted:
        chosen = chosen[~np.isin(chosen, list(uncounted))]
    if EXPOSURE in rows.read.names or by_exposure(ledgers):
        exposed, found = count_exposed(rows, chosen, ledgers, vectors)
        chosen = chosen[~exposed]
        uncounted.update(found)
    if len(chosen) >= TOGETHER_FROM:
        chosen, openers = count_new_units(rows, chosen, ledgers)
        if len(openers):
            uncounted.update(_count_one_by_one(rows, openers, ledgers, vectors))
            chosen = np.setdiff1d(chosen, openers, assume_unique=True)
            if len(chosen) >= TOGETHER_FROM:
                chosen, _ = count_new_units(rows, chosen, ledgers)
    if len(chosen):
        uncounted.update(_count_one_by_one(rows, chosen, ledgers, vectors))
    return uncounted


def _untimely(
    rows: VerifiedObservations, chosen: NDArray[np.int64], ledgers: Mapping[int, Ledger]
) -> list[int]:
    """Return the rows outside the time span of their metric, and count them as early or late."""
    have_spans = {
        experiment: ledger
        for experiment, ledger in ledgers.items()
        if ledger.measurement is not None
        and ledger.measurement.spans
        and not is_by_exposure(ledger)
    }
    if not have_spans:
        return []
    experiments = rows.receipts.experiment[chosen]
    ages_ms = rows.observed_at_ms[chosen] - rows.receipts.assigned_at_ms[chosen]
    metrics = rows.read.metrics[chosen]
    found: list[int] = []
    for experiment, ledger in have_spans.items():
        assert ledger.measurement is not None  # noqa: S101 - these have spans
        spans = [ledger.measurement.spans.get(name, ALWAYS) for name in rows.read.names]
        are_of = experiments == np.uint64(experiment)
        is_late = are_of & (ages_ms > np.array([each.last_ms for each in spans], np.int64)[metrics])
        # An age below 0 is clock skew, and counts if there is no delay.
        delays_ms = np.array([each.first_ms for each in spans], np.int64)[metrics]
        is_early = are_of & (delays_ms > 0) & (ages_ms < delays_ms)
        builder = ledger.builder
        for add, left_out in ((builder.add_late, is_late), (builder.add_early, is_early)):
            untimely = chosen[left_out]
            moments = rows.offsets[untimely].tolist(), rows.observed_at_ms[untimely].tolist()
            for offset, at_ms in zip(*moments, strict=True):
                if offset > builder.folded:
                    add(offset, at_ms)
            found += untimely.tolist()
    return found


def _count_one_by_one(
    rows: VerifiedObservations,
    chosen: NDArray[np.int64],
    ledgers: Mapping[int, Ledger],
    vectors: Mapping[int, Vector],
) -> Iterator[tuple[int, Exception | None]]:
    """Count rows in the order of the log, and yield those that are not counted."""
    read, receipts, all_names = rows.read, rows.receipts, rows.read.names
    dimensions = receipts.dimensions
    columns = (
        chosen,
        rows.offsets[chosen],
        rows.timestamps_ms[chosen],
        receipts.experiment[chosen],
        receipts.variant[chosen],
        receipts.propensity[chosen],
        receipts.weights[chosen],
        receipts.assigned_at_ms[chosen],
        receipts.attribution_window_s[chosen],
        receipts.identity[chosen],
        rows.keys[chosen],
        read.metrics[chosen],
        read.values[chosen],
        rows.events[chosen],
        rows.observed_at_ms[chosen],
    )
    for (
        row,
        offset,
        timestamp_ms,
        experiment,
        variant,
        propensity,
        weights,
        assigned_at_ms,
        window_s,
        identity,
        unit,
        metric,
        value,
        event,
        observed_at_ms,
    ) in zip(*(column.tolist() for column in columns), strict=True):
        ledger, name = ledgers[experiment], all_names[metric]
        builder, measurement = ledger.builder, ledger.measurement
        try:
            has_slot = name in ledger.metric_hashes
            if not has_slot:
                check_slot(ledger, name, identity)
            if measurement is not None:
                measurement.check(name, value)
            before = ledger.window.observe(
                assigned_at_ms, window_s, unit, event, value, timestamp_ms - CLOCK_SKEW_MS
            )
            if before is SEEN:
                if offset > builder.folded:
                    builder.add_duplicate(offset)
                yield row, None
                continue
            if measurement is not None:
                # Before skipping folded records: the window is rebuilt from the log.
                arrival = variant, name, identity, assigned_at_ms, window_s, observed_at_ms
                measurement.remember(ledger.window, *arrival)
            if not has_slot:
                take_slot(ledger, name, identity)
            if offset <= builder.folded:
                yield row, None
                continue
            if before is not None:
                _note_events(builder, rows, row, ledger.window.events)
            key = (variant, propensity, weights, name)
            vector = vectors.get(row)
            if measurement is None:
                builder.add_value(offset, key, before, value, observed_at_ms, vector)
                continue
            counted = CountedObservation(
                offset,
                key,
                before,
                value,
                observed_at_ms,
                vector,
                identity,
                assigned_at_ms,
                window_s,
                dimensions.get(row, b""),
            )
            measurement.count(builder, ledger.window, counted)
        except Exception as error:  # noqa: BLE001 - one event's must not cost the others
            _note(builder, offset, error)
            yield row, error


def _note_events(builder: CellBuilder, rows: VerifiedObservations, row: int, events: int) -> None:
    """Record the number of observations of a metric by a repeatedly observed unit."""
    builder.add_events(events, is_full=events == MAX_EVENTS)
    if events >= HEAVY_FROM:
        builder.note_heavy(rows.heavy_unit(row, events))


def _note(builder: CellBuilder, offset: int, error: Exception) -> None:
    """Count an observation that did not fit into the deduplication memory."""
    if isinstance(error, WindowFullError) and offset > builder.folded:
        builder.add_unremembered(offset)
