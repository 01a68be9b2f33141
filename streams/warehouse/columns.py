"""Columns of Arrow from what the folds hold: exact decimals, times of a calendar, clean text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streams.model.ids import MAX_VARIANTS, experiment_id, variant_id
from streams.model.times import LAST_MS
from streams.warehouse.tables import ColumnType

PHASES = ("trial", "promoted", "rolled_back")
"""Names of `streams.experiments.promotion_state.Phase`, by its numbers."""

OTHER_PHASE = "other"
"""Phase of an index beyond: of a receipt that a newer release has signed."""

FIRST_MS = -62_135_596_800_000
"""Begin of the year 1, the first of a calendar. A time before it or after `LAST_MS`, as any sender
may state it, is kept as the nearest of the two."""

_NUL, _SHOWN_NUL = "\x00", "\ufffd"


def times(milliseconds: NDArray[np.int64] | Sequence[int]) -> pa.Array:
    """Return times from milliseconds since the epoch."""
    found = np.clip(np.asarray(milliseconds, np.int64), FIRST_MS, LAST_MS)
    return pa.array(found * 1000, pa.int64()).cast(ColumnType.TIME.arrow)


def values(micro: NDArray[np.int64]) -> pa.Array:
    """Return values from micro-units, exactly."""
    unscaled = np.empty((len(micro), 2), "<i8")
    unscaled[:, 0] = micro
    unscaled[:, 1] = micro >> 63
    buffer = pa.py_buffer(unscaled.tobytes())
    return pa.Array.from_buffers(ColumnType.VALUE.arrow, len(micro), [None, buffer])


def signed(hashes: NDArray[np.uint64]) -> pa.Array:
    """Return 64-bit hashes as the signed integers with the same bits."""
    return pa.array(hashes.view(np.int64))


def named(names: Sequence[str], places: NDArray[np.int64]) -> pa.Array:
    """Return texts by their places among a few different ones."""
    indices = pa.array(places.astype(np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string())).dictionary_decode()


def texts(found: Sequence[bytes]) -> pa.Array:
    """Return texts from UTF-8; empty ones are NULL, and what no database takes is replaced."""
    if not any(found):
        return pa.nulls(len(found), pa.string())
    try:
        column = pa.array([each or None for each in found], pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        shown = [each.decode(errors="replace") if each else None for each in found]
        column = pa.array(shown, pa.string())
    return pc.replace_substring(column, _NUL, _SHOWN_NUL)


def variants(
    experiments: NDArray[np.uint64], indices: NDArray[np.int64]
) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Return experiment ids, variant ids and phases.

    Args:
        experiments: Experiments as 64-bit numbers.
        indices: Indices of variants as receipts have them, in [0, 2**16).
    """
    numbers, places = np.unique(experiments, return_inverse=True)
    ids = [experiment_id(number) for number in numbers.tolist()]
    both, of_both = np.unique(places << 16 | indices, return_inverse=True)
    found = [(ids[each >> 16], each & 0xFFFF) for each in both.tolist()]
    of_variants = [variant_id(name, index % MAX_VARIANTS) for name, index in found]
    phases = [phase_of(index) for _, index in found]
    return named(ids, places), named(of_variants, of_both), named(phases, of_both)


def phase_of(index: int) -> str:
    """Return the phase that an index of a variant is of.

    >>> phase_of(1), phase_of(257), phase_of(65_535)
    ('trial', 'promoted', 'other')
    """
    phase = index // MAX_VARIANTS
    return PHASES[phase] if phase < len(PHASES) else OTHER_PHASE
