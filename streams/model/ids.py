"""Identifiers, and the integers they stand for on the wire.

An experiment is a 64-bit integer; its name `exp_` + 13 Crockford base32 characters is the same
integer for people. A variant is an index within its experiment.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NewType

from streams.model.errors import InputError, quoted

MAX_VARIANTS = 256
"""Variants of one experiment, at most; P(best) by quadrature costs time in proportion. In receipts
and tallies, the indices of the variants of each phase of its life begin at a multiple of it
(`streams.experiments.promotion_state.Phase`), so that a variant that is added takes that of no
other."""

ExperimentNumber = NewType("ExperimentNumber", int)
"""An experiment as a 64-bit unsigned integer: what receipts, tallies and hashes carry."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGITS = {character: digit for digit, character in enumerate(_ALPHABET)}
_LENGTH = 13
# 13 characters are 65 bits: the first one holds four, or the number would not fit into 64.
_NAME = rf"[{_ALPHABET[:16]}][{_ALPHABET}]{{{_LENGTH - 1}}}"
_EXPERIMENT = re.compile(rf"exp_({_NAME})")
_VARIANT = re.compile(rf"(exp_{_NAME})_v(0|[1-9][0-9]{{0,4}})")
_BITS_PER_CHARACTER = 5


@lru_cache(maxsize=4096)  # asked for with every logged impression
def experiment_id(number: int) -> str:
    """Return the name of experiment `number`, an integer in [0, 2**64).

    >>> experiment_id(0)
    'exp_0000000000000'
    >>> experiment_id(2**64 - 1)
    'exp_fzzzzzzzzzzzz'
    """
    characters = [
        _ALPHABET[number >> shift & 31]
        for shift in range((_LENGTH - 1) * _BITS_PER_CHARACTER, -1, -_BITS_PER_CHARACTER)
    ]
    return "exp_" + "".join(characters)


@lru_cache(maxsize=4096)
def experiment_number(name: str) -> ExperimentNumber:
    """Return the integer behind an experiment id; the inverse of `experiment_id`.

    Raises:
        InputError: `name` is not an experiment id (`INVALID_EXPERIMENT_ID`).
    """
    match = _EXPERIMENT.fullmatch(name)
    if match is None:
        raise InputError(
            "INVALID_EXPERIMENT_ID", f"{quoted(name)} is not an experiment id", "experimentId"
        )
    number = 0
    for character in match[1]:
        number = number << _BITS_PER_CHARACTER | _DIGITS[character]
    return ExperimentNumber(number)


def is_experiment_id(name: str) -> bool:
    """Return whether `name` is an experiment id."""
    return _EXPERIMENT.fullmatch(name) is not None


def is_variant_id(name: str) -> bool:
    """Return whether `name` is the id of a variant, of whichever experiment."""
    return _VARIANT.fullmatch(name) is not None


def variant_id(experiment: str, index: int) -> str:
    """Return the id of the variant at `index` (from 0) of the experiment with this id."""
    return f"{experiment}_v{index}"


def variant_index(name: str) -> tuple[str, int]:
    """Return (experiment id, index) of a variant id; the inverse of `variant_id`.

    Raises:
        InputError: `name` is not a variant id (`INVALID_VARIANT_ID`).
    """
    match = _VARIANT.fullmatch(name)
    if match is None:
        raise InputError("INVALID_VARIANT_ID", f"{quoted(name)} is not a variant id", "variantId")
    return match[1], int(match[2])
