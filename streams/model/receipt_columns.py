"""Receipts by the thousand, as columns: what `Keyring.open` takes, at a third of its price.

Receipts of version 1 all have the same length, so one call decodes the base64 of them all, and the
fields are columns of one array. What is left per receipt is its MAC: 0.7 us instead of 2.3 for all
of it. A receipt that would be refused is only marked: `Keyring.open` says why.
"""

from __future__ import annotations

from binascii import a2b_base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.model.receipts import RECEIPT_LENGTH, Keyring

_VERSION = 1
_BODY_BYTES = 40
# As `receipts` lays it out. The last byte is of the padding: it holds the two bits of the last
# character that must be zero.
_LAYOUT = np.dtype(
    [
        ("version", "u1"),
        ("key", "u1"),
        ("experiment", ">u8"),
        ("variant", ">u2"),
        ("propensity", ">u4"),
        ("allocation", "V6"),
        ("assigned_high", ">u2"),
        ("assigned_low", ">u4"),
        ("unit", "V8"),
        ("window", ">u4"),
        ("mac", "u1", 16),
        ("rest", "u1"),
    ]
)
_ZERO = ord("A")
_ALPHABET = np.zeros(256, bool)
_ALPHABET[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")] = True
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class ReceiptColumns:
    """What receipts say, one row each; rows that are not `valid` mean nothing.

    Attributes:
        valid: Whether `Keyring.open` takes the receipt.
        experiment, variant, propensity, assigned_at_ms, attribution_window_s: As in `Receipt`.
        identity: The bits that stand for the receipt's text.
    """

    valid: NDArray[np.bool_]
    experiment: NDArray[np.uint64]
    variant: NDArray[np.int64]
    propensity: NDArray[np.int64]
    assigned_at_ms: NDArray[np.int64]
    attribution_window_s: NDArray[np.int64]
    identity: NDArray[np.uint64]


def open_columns(keyring: Keyring, texts: NDArray[np.uint8]) -> ReceiptColumns:
    """Return what receipts say.

    Args:
        keyring: Verifies them.
        texts: Their characters, a row of `RECEIPT_LENGTH` each.
    """
    spelled = _ALPHABET[texts].all(axis=1)
    padded = np.full((len(texts), RECEIPT_LENGTH + 1), _ZERO, np.uint8)
    padded[spelled, :RECEIPT_LENGTH] = texts[spelled]
    raw = a2b_base64(padded.tobytes().translate(_TO_STANDARD), strict_mode=True)
    rows: NDArray[Any] = np.frombuffer(raw, _LAYOUT)
    valid = spelled & (rows["version"] == _VERSION) & (rows["rest"] == 0)
    valid &= np.isin(rows["key"], keyring.ids)
    starts = (np.flatnonzero(valid) * _LAYOUT.itemsize).tolist()
    macs = keyring.macs([raw[start : start + _BODY_BYTES] for start in starts])
    # All bytes of all MACs are compared, whichever differ: the time tells nothing of them.
    written = np.ascontiguousarray(rows["mac"])
    valid[valid] = (np.frombuffer(macs, np.uint8).reshape(-1, 16) == written[valid]).all(axis=1)
    return ReceiptColumns(
        valid,
        rows["experiment"].astype(np.uint64),
        rows["variant"].astype(np.int64),
        rows["propensity"].astype(np.int64) + 1,
        rows["assigned_high"].astype(np.int64) << 32 | rows["assigned_low"],
        rows["window"].astype(np.int64),
        written[:, :8].copy().view(">u8")[:, 0].astype(np.uint64),
    )
