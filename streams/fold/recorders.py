"""Recorders of individual units and observations: exactly the counted ones.

The folds decide what counts, by sequences, windows and attribution, and call these recorders with
it. So the records are exactly the terms of the tallies. Events of other experiments do not affect
this one, and are skipped.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress, repeat

import numpy as np
from numpy.typing import NDArray

from streams.fold.verification import VerifiedObservations
from streams.model.events import EXPOSURE, ImpressionGroup
from streams.tallies.plan import ALWAYS, TimeSpan


def _integers() -> array[int]:
    return array("q")


def _unsigned() -> array[int]:
    return array("Q")


@dataclass(slots=True)
class Assignments:
    """Units that were counted, in order of the log, as columns of equal length.

    Attributes:
        units: 64-bit unit hash.
        variants, propensities, assigned_at_ms: As in `ImpressionGroup`.
        contexts: Features of each unit, as a place in `features`.
        features: Distinct features of units, packed as in `ImpressionGroup`; the first are those of
            a unit without known features.
        places: Weights of each unit, as a place in `weights`.
        weights: Distinct weights in receipts, packed in the same way; the first are those of a
            receipt without weights.
    """

    units: array[int] = field(default_factory=_unsigned)
    variants: array[int] = field(default_factory=_integers)
    propensities: array[int] = field(default_factory=_integers)
    assigned_at_ms: array[int] = field(default_factory=_integers)
    contexts: array[int] = field(default_factory=_integers)
    features: dict[bytes, int] = field(default_factory=lambda: {b"": 0})
    places: array[int] = field(default_factory=_integers)
    weights: dict[bytes, int] = field(default_factory=lambda: {b"": 0})

    def record(
        self, offset: int, index: int, group: ImpressionGroup, is_counted: Sequence[bool]
    ) -> None:
        """Add impressions that have been counted; the listener of an `ImpressionFold`."""
        del offset, index
        self.units.extend(compress(group.units, is_counted))
        self.variants.extend(compress(group.variants, is_counted))
        self.propensities.extend(compress(group.propensities, is_counted))
        self.assigned_at_ms.extend(compress(group.assigned_at_ms, is_counted))
        for known, places, packed in (
            (self.features, self.contexts, group.features),
            (self.weights, self.places, group.weights),
        ):
            of_each = packed or repeat(b"", len(group.units))
            places.extend(
                known.setdefault(each, len(known)) for each in compress(of_each, is_counted)
            )


@dataclass(slots=True)
class CountedValues:
    """Observations of one metric that were counted, in order of the log, as columns.

    Attributes:
        metric: The metric.
        units, variants, assigned_at_ms: Of the assignment, as its receipt says.
        values: Micro-units.
        observed_at_ms: Time of the observation.
        voided_units, voided_variants: Voided assignments: their records, before and after, do not
            count.
    """

    metric: str
    units: array[int] = field(default_factory=_unsigned)
    variants: array[int] = field(default_factory=_integers)
    assigned_at_ms: array[int] = field(default_factory=_integers)
    values: array[int] = field(default_factory=_integers)
    observed_at_ms: array[int] = field(default_factory=_integers)
    voided_units: array[int] = field(default_factory=_unsigned)
    voided_variants: array[int] = field(default_factory=_integers)

    def record(self, rows: VerifiedObservations, counted: NDArray[np.int64]) -> None:
        """Add observations that have been counted; the listener of an `ObservationFold`."""
        read, receipts = rows.read, rows.receipts
        if rows.void_reasons:
            voids = counted[rows.are_voids(counted)]
            self.voided_units.frombytes(receipts.unit[voids].tobytes())
            self.voided_variants.frombytes(receipts.variant[voids].tobytes())
        if self.metric not in read.names:
            return
        chosen = counted[read.metrics[counted] == read.names.index(self.metric)]
        self.units.frombytes(receipts.unit[chosen].tobytes())
        self.variants.frombytes(receipts.variant[chosen].tobytes())
        self.assigned_at_ms.frombytes(receipts.assigned_at_ms[chosen].tobytes())
        self.values.frombytes(read.values[chosen].tobytes())
        self.observed_at_ms.frombytes(rows.observed_at_ms[chosen].tobytes())


@dataclass(slots=True)
class Exposures:
    """Exposures and observations of one metric, of an experiment that counts by exposure.

    Which of them count is known only at the end, so all are recorded.

    Attributes:
        metric: The metric.
        span: When its observations count.
        exposed: Exposures that were the earliest of their unit so far; the unit is the hash of its
            receipt.
        observed: Every observation that is no duplicate; likewise.
        windows_s: Attribution window of each observation, in seconds; 0 for no limit.
    """

    metric: str
    span: TimeSpan = ALWAYS
    exposed: Assignments = field(default_factory=Assignments)
    observed: CountedValues = field(init=False)
    windows_s: array[int] = field(default_factory=_integers)

    def __post_init__(self) -> None:
        self.observed = CountedValues(self.metric)

    def record(self, rows: VerifiedObservations, counted: NDArray[np.int64]) -> None:
        """Add rows that were neither refused nor duplicates; the listener of an `ObservationFold`.

        Args:
            rows: Verified observations.
            counted: Which of them to add.
        """
        read, receipts = rows.read, rows.receipts
        if rows.void_reasons:
            voids = counted[rows.are_voids(counted)]
            self.observed.voided_units.frombytes(receipts.identity[voids].tobytes())
        for name in {EXPOSURE, self.metric}.intersection(read.names):
            chosen = counted[read.metrics[counted] == read.names.index(name)]
            units, variants = (
                receipts.identity[chosen].tobytes(),
                receipts.variant[chosen].tobytes(),
            )
            times = rows.observed_at_ms[chosen].tobytes()
            if name == EXPOSURE:
                found = self.exposed
                found.units.frombytes(units)
                found.variants.frombytes(variants)
                found.propensities.frombytes(receipts.propensity[chosen].tobytes())
                found.assigned_at_ms.frombytes(times)
                known = found.features
                packed = (receipts.features.get(row, b"") for row in chosen.tolist())
                found.contexts.extend(known.setdefault(each, len(known)) for each in packed)
                weights = found.weights
                said = receipts.weights[chosen].tolist()
                found.places.extend(weights.setdefault(each, len(weights)) for each in said)
                continue
            self.observed.units.frombytes(units)
            self.observed.variants.frombytes(variants)
            self.observed.assigned_at_ms.frombytes(receipts.assigned_at_ms[chosen].tobytes())
            self.observed.values.frombytes(read.values[chosen].tobytes())
            self.observed.observed_at_ms.frombytes(times)
            self.windows_s.frombytes(receipts.attribution_window_s[chosen].tobytes())

    def counted(self) -> tuple[Assignments, CountedValues]:
        """Return the units as assigned when they were first exposed, and the values that count."""
        exposed, observed = self.exposed, self.observed
        units = np.frombuffer(exposed.units, np.uint64)
        voided = np.frombuffer(observed.voided_units, np.uint64)
        times = np.frombuffer(exposed.assigned_at_ms, np.int64)
        order = np.lexsort((times, units))
        order = order[~np.isin(units[order], voided)]
        known, places = np.unique(units[order], return_index=True)
        first = order[places]
        assigned = Assignments(
            array("Q", units[first].tobytes()),
            _chosen(exposed.variants, first),
            _chosen(exposed.propensities, first),
            _chosen(exposed.assigned_at_ms, first),
            _chosen(exposed.contexts, first),
            exposed.features,
            _chosen(exposed.places, first),
            exposed.weights,
        )
        of = np.frombuffer(observed.units, np.uint64)
        is_known = np.isin(of, known)
        begun = np.zeros(len(of), np.int64)
        begun[is_known] = times[first][np.searchsorted(known, of[is_known])]
        ages_ms = np.frombuffer(observed.observed_at_ms, np.int64) - begun
        first_ms, last_ms = self.span
        limits_ms = 1000 * np.frombuffer(self.windows_s, np.int64)
        limits_ms = np.minimum(np.where(limits_ms > 0, limits_ms, last_ms), last_ms)
        counts = np.flatnonzero(is_known & (ages_ms >= first_ms) & (ages_ms <= limits_ms))
        values = CountedValues(
            self.metric,
            array("Q", of[counts].tobytes()),
            _chosen(observed.variants, counts),
            array("q", begun[counts].tobytes()),
            _chosen(observed.values, counts),
            _chosen(observed.observed_at_ms, counts),
        )
        return assigned, values


def _chosen(column: array[int], places: NDArray[np.int64]) -> array[int]:
    return array("q", np.frombuffer(column, np.int64)[places].tobytes())
