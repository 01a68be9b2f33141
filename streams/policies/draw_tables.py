"""Draw tables: from a draw to a variant, among all or the eligible variants of an experiment.

A table divides the numbers below 2**32 into parts, and a variant owns as many numbers as its
propensity: the logged propensity is the exact probability of the draw.

Of all variants, variant k owns weight_k * 65536 numbers, in the order of the definition. Among the
*eligible* variants E of a request, with W the sum of their weights,

1. p_k = 2**32 weight_k / W, rounded to integers that sum to 2**32: by largest remainder, and of
   equal remainders the earlier variant first. Where W is 0, all of E have equal weights instead.
2. An eligible variant keeps the numbers it owns among all variants, and so a unit keeps its variant
   as long as that is eligible.
3. The numbers of the others, in their order, are distributed to the eligible ones, in theirs: each
gets p_k less what it owns, which is not negative, since W is at most 65536.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from streams.model.errors import InvalidParameterError
from streams.model.quantities import PROPENSITY_ONE, PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import pack_propensities

MAX_TABLES = 4_096
"""Cached sets of eligible variants; when there are more, the cache is cleared."""

_LOW = PROPENSITY_ONE - 1
HALF_BITS = 32


@dataclass(frozen=True, slots=True)
class DrawTable:
    """Probabilities of variants, compiled for many draws.

    Attributes:
        ends: End of each part of the numbers below 2**32, ascending; the last one is 2**32.
        owners: Index of the variant that owns the part.
        propensities: Probability of each variant, numerator over 2**32; they sum to 2**32.
        packed: The same, packed as in a receipt (`streams.model.variant_weights`).
    """

    ends: tuple[int, ...]
    owners: tuple[int, ...]
    propensities: tuple[int, ...]
    packed: bytes

    def choose(self, draw: int) -> int:
        """Return the index of the variant of a draw in [0, 2**64): by its upper 32 bits.

        >>> table = draw_table((32768, 32768))
        >>> table.choose(2**63 - 1), table.choose(2**63)
        (0, 1)
        """
        return self.owners[bisect_right(self.ends, draw >> HALF_BITS)]

    def choose_again(self, draw: int) -> int:
        """Return the index of a variant that is independent of `choose`: by the lower 32 bits."""
        return self.owners[bisect_right(self.ends, draw & _LOW)]


def draw_table(weights: Sequence[int], eligible: int | None = None) -> DrawTable:
    """Return the table of integer weights.

    Args:
        weights: Of all variants, >= 0; they sum to 65,536.
        eligible: Bit k is set where variant k can be shown; None for all.

    Raises:
        InvalidParameterError: no variant is eligible.

    Examples:
        Weights of 1/2, 1/4 and 1/4, without the first: the second owns the numbers from 2**31 to
        3 * 2**30, the third those after that, and each gets half of those below.

        >>> table = draw_table((32768, 16384, 16384), 0b110)
        >>> [end / 2**30 for end in table.ends], table.owners, table.propensities
        ([1.0, 2.0, 3.0, 4.0], (1, 2, 1, 2), (0, 2147483648, 2147483648))
    """
    owned = [weight * PROPENSITY_PER_WEIGHT for weight in weights]
    if eligible is None or all(eligible >> variant & 1 for variant in range(len(weights))):
        return DrawTable(
            tuple(accumulate(owned)),
            tuple(range(len(owned))),
            tuple(owned),
            pack_propensities(owned),
        )
    propensities = _conditional(weights, eligible)
    ends, owners = [], []
    end = 0
    for size, owner in _parts(owned, propensities, eligible):
        end += size
        ends.append(end)
        owners.append(owner)
    return DrawTable(tuple(ends), tuple(owners), propensities, pack_propensities(propensities))


class DrawTables:
    """Tables of one allocation, by the eligible variants.

    Args:
        weights: As in `draw_table`.
        has_moved: Whether the allocation moves, so that receipts must carry the weights.
        is_compared: Whether compared variants may have been ineligible, so that receipts must carry
            the weights.

    Attributes:
        served: Bits of the variants that have a weight.
    """

    __slots__ = ("_all", "_is_compared", "_of_all", "_tables", "_weights", "served")

    def __init__(self, weights: Sequence[int], *, has_moved: bool, is_compared: bool) -> None:
        self.served = sum(1 << variant for variant, weight in enumerate(weights) if weight)
        self._weights = weights
        self._all = (1 << len(weights)) - 1
        self._is_compared = is_compared
        self._of_all = _with_weights(draw_table(weights), is_needed=has_moved)
        self._tables: dict[int, DrawTable] = {}

    def of(self, eligible: int | None) -> DrawTable:
        """Return the table among the eligible variants.

        Its `packed` is empty if no receipt needs it.

        Args:
            eligible: As in `draw_table`.
        """
        if eligible is None or eligible == self._all:
            return self._of_all
        table = self._tables.get(eligible)
        if table is None:
            if len(self._tables) >= MAX_TABLES:
                self._tables.clear()
            table = _with_weights(draw_table(self._weights, eligible), is_needed=self._is_compared)
            self._tables[eligible] = table
        return table


def _with_weights(table: DrawTable, *, is_needed: bool) -> DrawTable:
    """Return a table with the weights for receipts, or without them if they are not needed."""
    return table if is_needed else replace(table, packed=b"")


def _conditional(weights: Sequence[int], eligible: int) -> tuple[int, ...]:
    """Return the propensities given that an eligible variant is chosen."""
    chosen = [weight if eligible >> variant & 1 else 0 for variant, weight in enumerate(weights)]
    if not any(chosen):
        chosen = [eligible >> variant & 1 for variant in range(len(weights))]
    total = sum(chosen)
    if not total:
        raise InvalidParameterError("eligible", eligible, "with the bit of a variant")
    parts = [divmod(weight * PROPENSITY_ONE, total) for weight in chosen]
    found = [whole for whole, _ in parts]
    by_remainder = sorted(range(len(parts)), key=lambda variant: -parts[variant][1])
    for variant in by_remainder[: PROPENSITY_ONE - sum(found)]:
        found[variant] += 1
    return tuple(found)


def _parts(
    owned: Sequence[int], propensities: Sequence[int], eligible: int
) -> Iterator[tuple[int, int]]:
    """Yield the parts of the numbers: size, which is not 0, and variant."""
    dealt = [
        (propensity - own, variant)
        for variant, (own, propensity) in enumerate(zip(owned, propensities, strict=True))
        if eligible >> variant & 1 and propensity > own
    ]
    dealt.reverse()
    for variant, own in enumerate(owned):
        size = own
        if eligible >> variant & 1:
            if size:
                yield size, variant
            continue
        while size:
            left, receiver = dealt.pop()
            part = min(size, left)
            yield part, receiver
            size -= part
            if left > part:
                dealt.append((left - part, receiver))
