"""Weights of all variants at an assignment: one byte each, in a receipt and in an impression.

Of a unit that was assigned to variant a the receipt has the exact propensity p_a. Comparing a with
b under moving weights takes p_b, too. To one byte each:

    c_k = min(254, round(-16 log2(w_k / 65536)))    integer weight w_k >= 1
    c_k = 255                                        variant k was not eligible (w_k = 0)

A byte stands for an interval of weights, and both sides of a comparison compute with its lower end
p~(c) = 2**(-(2 c + 1) / 32), which is at most the propensity; the 254 stands for the weight 1 alone
and for its exact propensity 2**-16. From two bytes follows the *overlap* of two variants,

    h_ab = p~_a p~_b / (p~_a + p~_b), an integer over 2**32, rounded down,

which is the same whichever of the two the unit was assigned to, and is known before its value. The
unit counts with h_ab / p_a by its exact propensity, so E[h_ab / p_a [assigned to a]] = h_ab: the
rounding of the bytes changes how much a unit counts, and never in whose favour. Since p~ is at most
p, a unit counts at most 1.

Where only some variants were eligible, p is the probability given that (`streams.policies.
draw_tables`), and the overlap of two is 0 unless both were.

Which receipts have the bytes: those of 3 to `MAX_WEIGHED` variants whose allocation moves, or of
which some were not eligible. A fixed allocation has its weights in the definition. Of two variants,
the other has 1 - p_a, so the exact propensities are used instead of p~. More variants than
`MAX_WEIGHED` are compared by 1 / propensity (`streams.stats.weighting.Weighting`); where one of
them had no chance, their receipts have a bit for each that had: variant k is bit k % 8, the lowest
first, of byte k // 8.

Source: Li and Li (2019), "Propensity score weighting for causal inference with multiple
    treatments", Annals of Applied Statistics 13 (4), for the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from streams.model.quantities import PROPENSITY_ONE, PROPENSITY_PER_WEIGHT

MAX_WEIGHED = 16
"""Variants whose weights a receipt carries at most, so that it fits the URL of a click."""

MAX_PACKED = 32
"""Bytes of weights, or of bits of 256 variants, at most."""

NOT_ELIGIBLE = 255
"""Byte of a variant that could not be assigned."""

OWN_WEIGHT = PROPENSITY_ONE // 2
"""Weight of a unit in the comparison of its variant with itself, as a numerator over 2**32."""

_STEPS = 16  # bytes per factor of 2
_LARGEST = 254
_PAIR = 2
_PROPENSITY_BITS = 32
_BITS = 8
_REMEMBERED = 4_096


def pack_weights(weights: Sequence[int]) -> bytes:
    """Return the bytes of integer weights; empty where a receipt does not carry them.

    Args:
        weights: Of all variants, >= 0; they sum to 65,536.

    Examples:
        >>> list(pack_weights((32768, 16384, 16384))), list(pack_weights((65535, 1, 0)))
        ([16, 32, 32], [0, 254, 255])
        >>> pack_weights((32768, 32768)), pack_weights((4096,) * 17)
        (b'', b'')
    """
    return pack_propensities([weight * PROPENSITY_PER_WEIGHT for weight in weights])


def pack_propensities(propensities: Sequence[int]) -> bytes:
    """Return the bytes of propensities; empty where a receipt does not carry them.

    Args:
        propensities: Of all variants, numerators over 2**32, >= 0.

    Examples:
        >>> pack_propensities((2**28,) * 16 + (0, 0, 0)).hex()
        'ffff00'
    """
    if len(propensities) > MAX_WEIGHED:
        return _pack_bits(propensities)
    if len(propensities) <= _PAIR:
        return b""
    return bytes([_byte(propensity) for propensity in propensities])


def are_weights(packed: bytes, variant: int, propensity: int, n_variants: int) -> bool:
    """Return whether packed weights are those of an assignment.

    Args:
        packed: The bytes.
        variant: Index of the assigned variant.
        propensity: Its probability, numerator over 2**32.
        n_variants: Variants of the experiment at its start, > 0: there are as many bytes, or more
            if some were added since.
    """
    return (
        _PAIR < len(packed) <= MAX_WEIGHED
        and 0 < n_variants <= len(packed)
        and variant < len(packed)
        and propensity >= PROPENSITY_PER_WEIGHT  # of less, p~ would not be a lower end
        and packed[variant] == _byte(propensity)
    )


def are_bits(packed: bytes, variant: int, n_variants: int) -> bool:
    """Return whether packed bits are those of an assignment among more than `MAX_WEIGHED` variants.

    Args:
        packed: The bytes.
        variant: Index of the assigned variant.
        n_variants: Variants of the experiment, at most 256.
    """
    bits = int.from_bytes(packed, "little")
    has_size = len(packed) == -(-n_variants // _BITS) and n_variants > MAX_WEIGHED
    return has_size and bool(bits >> variant & 1) and not bits >> n_variants


@lru_cache(maxsize=_REMEMBERED)
def excluded_variants(
    variant: int, propensity: int, packed: bytes, n_variants: int
) -> tuple[int, ...]:
    """Return the variants of the start that a unit could not be assigned, in their order.

    Args:
        variant: Index of the assigned variant.
        propensity: Its probability, numerator over 2**32, in 1..2**32.
        packed: Bytes of the weights of all variants, or bits; empty where a receipt has none.
        n_variants: Variants of the experiment at its start.

    Examples:
        >>> excluded_variants(0, 2**31, bytes([16, 16, 255]), 3)
        (2,)
        >>> excluded_variants(1, 2**32, b"", 2)
        (0,)
        >>> excluded_variants(0, 2**31, b"", 3)
        ()
    """
    others = range(n_variants)
    if propensity == PROPENSITY_ONE and variant < max(n_variants, len(packed)):
        return tuple(other for other in others if other != variant)
    if are_weights(packed, variant, propensity, n_variants):
        return tuple(other for other in others if packed[other] == NOT_ELIGIBLE)
    if are_bits(packed, variant, n_variants):
        bits = int.from_bytes(packed, "little")
        return tuple(other for other in others if not bits >> other & 1)
    return ()


@lru_cache(maxsize=_REMEMBERED)
def added_variants(
    variant: int, propensity: int, packed: bytes, n_variants: int
) -> tuple[int, ...]:
    """Return the variants added since the start that a unit could be assigned, in their order.

    Args:
        variant, propensity, packed, n_variants: As in `excluded_variants`.

    Examples:
        >>> added_variants(3, 2**31, bytes([16, 255, 255, 16]), 2)
        (3,)
        >>> added_variants(0, 2**31, b"", 2)
        ()
    """
    if len(packed) <= n_variants or not are_weights(packed, variant, propensity, n_variants):
        return ()
    return tuple(other for other in range(n_variants, len(packed)) if packed[other] != NOT_ELIGIBLE)


@lru_cache(maxsize=_REMEMBERED)
def overlap_weights(
    variant: int, propensity: int, packed: bytes, n_variants: int
) -> tuple[int, ...]:
    """Return what a unit counts in the comparison of its variant with each other one.

    Args:
        variant: Index of the assigned variant a.
        propensity: Its probability p_a, numerator over 2**32, in 1..2**32.
        packed: Bytes of the weights of all variants; empty where they are not known.
        n_variants: Variants of the experiment at its start; 0 if that is not known.

    Returns:
        For each variant b, h_ab / p_a as a numerator over 2**32, in 0..2**32, rounded half up.
        That of a itself is 1/2, as the formula gives, so sums of it count the units whose weights
        are known. Empty where they are not.

    Examples:
        Two variants at 1/4 and 3/4, and three at 1/2, 1/4 and 1/4, in 1/1000:

        >>> [round(1000 * w / 2**32) for w in overlap_weights(0, 2**30, b"", 2)]
        [500, 750]
        >>> [round(1000 * w / 2**32) for w in overlap_weights(0, 2**31, bytes([16, 32, 32]), 3)]
        [500, 326, 326]
    """
    if n_variants == _PAIR and variant < _PAIR and not packed:
        others = PROPENSITY_ONE - propensity
        return (OWN_WEIGHT, others) if variant == 0 else (others, OWN_WEIGHT)
    if not are_weights(packed, variant, propensity, n_variants):
        return ()
    own = _LOWER_ENDS[packed[variant]]
    return tuple(
        OWN_WEIGHT if other == variant else _share(own, _LOWER_ENDS[code], propensity)
        for other, code in enumerate(packed)
    )


def _share(own: int, other: int, propensity: int) -> int:
    overlap = own * other // (own + other)
    return ((overlap << _PROPENSITY_BITS) + propensity // 2) // propensity


def _pack_bits(propensities: Sequence[int]) -> bytes:
    if all(propensities):
        return b""
    bits = sum(1 << variant for variant, propensity in enumerate(propensities) if propensity)
    return bits.to_bytes(-(-len(propensities) // _BITS), "little")


def _byte(propensity: int) -> int:
    if not propensity:
        return NOT_ELIGIBLE
    return min(_LARGEST, round(-_STEPS * math.log2(propensity / PROPENSITY_ONE)))


def _lower_end(byte: int) -> int:
    """Return p~ of a byte as a numerator over 2**32, rounded down; in integers alone."""
    if byte == NOT_ELIGIBLE:
        return 0
    if byte == _LARGEST:
        return PROPENSITY_PER_WEIGHT
    root = 1 << 2 * _STEPS * _PROPENSITY_BITS - (2 * byte + 1)
    for _ in range((2 * _STEPS).bit_length() - 1):  # the root of order 32
        root = math.isqrt(root)
    return root


_LOWER_ENDS = tuple(map(_lower_end, range(NOT_ELIGIBLE + 1)))
