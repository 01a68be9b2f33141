"""Bucketing: from a unit to its draws, and from a draw to a variant, with integers only.

The result is reproducible in any language: the steps are a keyed BLAKE2b and shifts of 64-bit
integers.

1. digest = BLAKE2b(message = unit key in UTF-8, 24 bytes, key = experiment as 8 bytes big-endian)
2. unit, enrolment, variant = the three big-endian unsigned 64-bit integers of the digest; of a user
   or session, unit is instead the big-endian 64-bit integer that is the BLAKE2b of the same
   message, of 8 bytes, personalised with `unit`: the same in every experiment
3. enrolled if (enrolment * 2**32 >> 64) < round(trafficAllocation * 2**32)
4. of variant, the upper 32 bits: the variant that they belong to (`streams.policies.draw_tables`),
   which is among all variants the first whose cumulative weight exceeds variant * 65536 >> 64

Beside a promoted winner, the variant of step 4 is drawn again: the big-endian 64-bit integer that
is the BLAKE2b of the same message under the same key, of 8 bytes, personalised with `promoted`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from streams.model.quantities import PROPENSITY_ONE

_DIGEST = struct.Struct(">QQQ")
_JOINED = struct.Struct(">Q8xQQ")  # the unit, then a digest without its first word
_KEY = struct.Struct(">Q")
_SHARED_BYTES = 4
_SALT_BYTES = 16
_PROMOTED = b"promoted"
_copy_unit_state = blake2b(digest_size=_KEY.size, person=b"unit").copy
_DRAW_BITS = 64
_ENROLMENT_SHIFT = _DRAW_BITS - (PROPENSITY_ONE.bit_length() - 1)


class UnitDraws(NamedTuple):
    """Three independent uniform integers in [0, 2**64) of a unit in one experiment.

    Attributes:
        unit: Hash of the unit in receipts and tallies. That of a user or session does not depend on
            the experiment, so that a receipt of any experiment also identifies the unit in a
            holdout.
        enrolment: Decides whether it takes part. Raising the traffic keeps every unit already in.
        variant: Decides which variant it gets; independent of `enrolment`, so that ramping does not
            skew the split.
    """

    unit: int
    enrolment: int
    variant: int


def draws(experiment_number: int, unit_key: str | bytes) -> UnitDraws:
    """Return the draws of a unit.

    Args:
        experiment_number: The experiment as a 64-bit integer.
        unit_key: User or session id, as text (it is taken in UTF-8), or 16 fresh random bytes.

    Examples:
        >>> list(draws(0x0123456789ABCDEF, "user_123"))
        [15901143124756564115, 724675817662071878, 15381469048812534449]
    """
    return UnitDraws(*drawing(experiment_number)(unit_key))


@lru_cache(maxsize=4_096)  # copying a state takes half the time of creating one
def drawing(experiment_number: int) -> Callable[[str | bytes], tuple[int, int, int]]:
    """Return the function from a unit to its `UnitDraws` in one experiment, as a plain tuple.

    An assigner keeps it and calls it for every request.

    Args:
        experiment_number: The experiment as a 64-bit integer.
    """
    copy_state = blake2b(digest_size=_DIGEST.size, key=_KEY.pack(experiment_number)).copy
    copy_unit_state = _copy_unit_state
    unpack, unpack_joined = _DIGEST.unpack, _JOINED.unpack

    def draw(unit_key: str | bytes) -> tuple[int, int, int]:
        state = copy_state()
        if isinstance(unit_key, bytes):
            state.update(unit_key)
            return unpack(state.digest())
        message = unit_key.encode()
        state.update(message)
        lasting = copy_unit_state()
        lasting.update(message)
        return unpack_joined(lasting.digest() + state.digest())

    return draw


def lasting_unit(unit_key: str) -> int:
    """Return `UnitDraws.unit` of a user or session, which is the same in every experiment.

    Args:
        unit_key: Its id.
    """
    state = _copy_unit_state()
    state.update(unit_key.encode())
    return int.from_bytes(state.digest())


def promoted_draw(experiment_number: int, unit_key: str | bytes) -> int:
    """Return a variant draw in [0, 2**64) that is independent of those of `draws`.

    The choice of the winner may depend on how the hash split the units. A fresh split makes the
    observations after the conclusion independent of it.

    Args:
        experiment_number: The experiment as a 64-bit integer.
        unit_key: As for `draws`.

    Examples:
        >>> promoted_draw(0x0123456789ABCDEF, "user_123")
        16178676036004524994
    """
    message = unit_key.encode() if isinstance(unit_key, str) else unit_key
    digest = blake2b(
        message, digest_size=_KEY.size, key=_KEY.pack(experiment_number), person=_PROMOTED
    ).digest()
    return int.from_bytes(digest)


def shared_draw(purpose: bytes, key: str, unit_key: str) -> int:
    """Return the draw in [0, 2**32) of a unit in all experiments that share a key.

    It is independent of those of `draws`, of other keys and of other purposes.

    Args:
        purpose: Kind of the key, at most 16 bytes.
        key: The key.
        unit_key: User or session id.

    Examples:
        >>> shared_draw(b"layer", "homepage", "user_123")
        3903150656
    """
    state = shared_state(purpose, key).copy()
    state.update(unit_key.encode())
    return int.from_bytes(state.digest())


@lru_cache(maxsize=4_096)  # copying a state takes half the time of creating one
def shared_state(purpose: bytes, key: str) -> blake2b:
    """Return the hash state of `shared_draw` before the unit is added; to be copied."""
    salt = blake2b(key.encode(), digest_size=_SALT_BYTES).digest()
    return blake2b(digest_size=_SHARED_BYTES, key=salt, person=purpose)


def is_enrolled(draw: int, traffic_allocation: float) -> bool:
    """Return whether a unit with this enrolment draw takes part.

    Args:
        draw: `UnitDraws.enrolment`.
        traffic_allocation: Share of the units that take part, in [0, 1].

    Examples:
        >>> is_enrolled(0, 0.0), is_enrolled(2**64 - 1, 1.0)
        (False, True)
    """
    return draw < enrolled_below(traffic_allocation)


def enrolled_below(traffic_allocation: float) -> int:
    """Return the bound below which a unit takes part by its enrolment draw.

    A share has 32 bits, so a draw is below the bound if and only if its upper half is below the
    upper half of the bound.

    Args:
        traffic_allocation: Share of the units that take part, in [0, 1].
    """
    return round(traffic_allocation * PROPENSITY_ONE) << _ENROLMENT_SHIFT
