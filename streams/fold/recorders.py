"""Units and their observations one by one, as many as are counted and no others.

The folds decide what counts, by sequences, windows and attribution, and call these with it. So what
is recorded is exactly what the tallies are the sums of. Events of other experiments decide nothing
about this one, and are passed by.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress, repeat

import numpy as np
from numpy.typing import NDArray

from streams.fold.verification import VerifiedObservations
from streams.model.events import ImpressionGroup


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
        features: Different features that units had, packed as in `ImpressionGroup`; the first are
            those of a unit of which nothing is known.
        places: Weights of each unit, as a place in `weights`.
        weights: Different weights that receipts say, packed likewise; the first are of one that
            says none.
    """

    units: array[int] = field(default_factory=_unsigned)
    variants: array[int] = field(default_factory=_integers)
    propensities: array[int] = field(default_factory=_integers)
    assigned_at_ms: array[int] = field(default_factory=_integers)
    contexts: array[int] = field(default_factory=_integers)
    features: dict[bytes, int] = field(default_factory=lambda: {b"": 0})
    places: array[int] = field(default_factory=_integers)
    weights: dict[bytes, int] = field(default_factory=lambda: {b"": 0})

    def record(self, group: ImpressionGroup, is_counted: Sequence[bool]) -> None:
        """Add impressions that have been counted; the listener of an `ImpressionFold`."""
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
class Values:
    """Observations of one metric that were counted, in order of the log, as columns.

    Attributes:
        metric: The metric.
        units, variants, assigned_at_ms: Of the assignment, as its receipt says.
        values: Micro-units.
        observed_at_ms: Time of the observation.
        voided_units, voided_variants: Assignments that were voided: what is recorded of them,
            before and after, does not count.
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
