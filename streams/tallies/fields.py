"""The table of tally fields: the term of each sum, and how sums are added.

A field of a tally is declared once, with its statistic and its weight, where its class is declared:

    weighted_total: int = summed(Statistic.VALUE, Weight.INVERSE)

It is the sum over units of statistic times weight. Adding and merging tallies, counting into them,
and their records (`streams.wire.cells`) follow from that.

Some weights belong to a pair of variants: the weight of a unit of variant a in the comparison with
b (`PAIR_WEIGHTS`). A sum of them, in the tally of a, has a digit for every variant b, its own
included (`streams.tallies.pair_sums`), which is the sum for the ordered pair (a, b):

    overlap_total: int = summed(Statistic.VALUE, Weight.OVERLAP)

Sums by pair are kept of units whose receipts say the weights of all variants, of declared metrics,
and where they fit a cell (`Plan.n_compared`); of others they are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, make_dataclass
from enum import IntEnum
from functools import lru_cache, partial
from operator import add, attrgetter
from typing import Any, Generic, TypeVar

from streams.model.quantities import MICRO, inverse_propensity
from streams.model.variant_weights import overlap_weights
from streams.tallies.linear import add_entries
from streams.tallies.pair_sums import pack_pairs

TallyT = TypeVar("TallyT")
KeyT = TypeVar("KeyT", bound=Any)

_CHANCES_REMEMBERED = 4_096


class Statistic(IntEnum):
    """Term that a unit adds to a sum, x being its value of the metric; an index of `Statistics`."""

    UNITS = 0
    """1."""
    OBSERVATIONS = 1
    """Its observations of the metric."""
    VALUE = 2
    """x, in micro-units; of a pair of metrics, the product of both in micro-units squared."""
    SQUARE = 3
    """x**2, in micro-units squared; of a pair of metrics x and y, x**2 * y."""
    BINARY = 4
    """Its observations that are 0 or 1."""
    POSITIVE = 5
    """1 if x > 0, else 0."""
    SURPLUS = 6
    """x - 1 if x > 0, else x, in micro-units: the excess over binary values."""
    CUBE = 7
    """x**3, in micro-units cubed; of a pair of metrics x and y, x * y**2."""


class Weight(IntEnum):
    """Weight of a unit, p being its propensity; an index of `unit_weights`.

    Those of `PAIR_WEIGHTS` have a digit for every variant b of the experiment, in their order.
    """

    ONE = 0
    """1."""
    INVERSE = 1
    """1 / p, in micro-units."""
    INVERSE_SQUARED = 2
    """1 / p**2, in micro-units squared."""
    OVERLAP = 3
    """h / p with the overlap h of the variants of the pair, as a numerator over 2**32; 1/2 for the
    unit's own variant (`streams.model.variant_weights`)."""
    OVERLAP_SQUARED = 4
    """(h / p)**2, as a numerator over 2**64."""


PAIR_WEIGHTS = frozenset({Weight.OVERLAP, Weight.OVERLAP_SQUARED})
"""Weights of pairs of variants; the others are of a unit alone."""

UnitWeights = Sequence[int]
"""Weights of a unit, or sums of them, by `Weight`."""


Statistics = Sequence[int]
"""Sums over units by `Statistic`."""


def statistics(
    *,
    units: int = 0,
    observations: int = 0,
    value: int = 0,
    square: int = 0,
    binary: int = 0,
    positive: int = 0,
    surplus: int = 0,
    cube: int = 0,
) -> Statistics:
    """Return the `Statistics` of some units, 0 by default."""
    return units, observations, value, square, binary, positive, surplus, cube


OF_ONE: Statistics = (1, 1, MICRO, MICRO * MICRO, 1, 1, 0, MICRO**3)
"""Statistics of a unit with one observation, whose value is 1."""

_COUNTS = frozenset({Statistic.UNITS, Statistic.OBSERVATIONS, Statistic.BINARY, Statistic.POSITIVE})


Chance = tuple[int, int, bytes]
"""Inputs of the weights of a unit: the index of its variant, its propensity as a numerator
over 2**32 in 1..2**32, and the weights of all variants, packed, or empty where the receipt has none
(`streams.model.variant_weights`)."""


@lru_cache(maxsize=_CHANCES_REMEMBERED)
def unit_weights(
    variant: int, propensity: int, weights: bytes = b"", n_variants: int = 0
) -> UnitWeights:
    """Return the weights of units, by `Weight`.

    Args:
        variant, propensity, weights: As in `Chance`.
        n_variants: Variants of the experiment; 0 where no sums by pair are kept.
    """
    inverse = inverse_propensity(propensity)
    overlaps = overlap_weights(variant, propensity, weights, n_variants)
    squares = pack_pairs([weight * weight for weight in overlaps])
    return 1, inverse, inverse * inverse, pack_pairs(overlaps), squares


def weigher(baseline: int | None) -> Callable[[int, int, bytes, int], UnitWeights]:
    """Return the function that weighs the units of a cell.

    Args:
        baseline: The one variant of whose pairs sums are kept; None for those of all pairs.
    """
    return unit_weights if baseline is None else partial(_baseline_weights, baseline)


@lru_cache(maxsize=_CHANCES_REMEMBERED)
def _baseline_weights(
    baseline: int, variant: int, propensity: int, weights: bytes, n_variants: int
) -> UnitWeights:
    """Return the weights of units, of pairs with one variant and with their own alone."""
    inverse = inverse_propensity(propensity)
    overlaps = [
        weight if baseline in {variant, other} or other == variant else 0
        for other, weight in enumerate(overlap_weights(variant, propensity, weights, n_variants))
    ]
    squares = pack_pairs([weight * weight for weight in overlaps])
    return 1, inverse, inverse * inverse, pack_pairs(overlaps), squares


@dataclass(frozen=True, slots=True)
class SumField:
    """A field that is a sum over units of a statistic times a weight.

    Attributes:
        name: Its name in the tally and in the record.
        statistic, weight: What is summed.
    """

    name: str
    statistic: Statistic
    weight: Weight

    @property
    def is_by_pair(self) -> bool:
        """Whether there is a digit for every other variant."""
        return self.weight in PAIR_WEIGHTS

    @property
    def is_count(self) -> bool:
        """Whether the sum is of units or observations, and so fits 64 bits."""
        return self.weight is Weight.ONE and self.statistic in _COUNTS


@dataclass(frozen=True, slots=True)
class EntriesField:
    """A field of sums by index.

    Attributes:
        name: Its name in the tally and in the record.
        are_counts: Whether the sums are of units or observations, and so fit 64 bits.
        are_by_pair: Whether each of them has a digit for every other variant.
    """

    name: str
    are_counts: bool
    are_by_pair: bool


_SUM, _ENTRIES, ADD, MERGE = "sum", "entries", "add", "merge"  # of the metadata of fields


def summed(statistic: Statistic, weight: Weight = Weight.ONE) -> int:
    """Declare a field of a tally: the sum over units of a statistic times a weight."""
    return field(default=0, metadata={_SUM: (statistic, weight), ADD: add})


def entries(*, are_counts: bool = False, are_by_pair: bool = False) -> tuple[int, ...]:
    """Declare a field of sums by index; missing entries are 0.

    Args:
        are_counts, are_by_pair: As in `EntriesField`.
    """
    return field(default=(), metadata={_ENTRIES: (are_counts, are_by_pair), ADD: add_entries})


class FieldTable(Generic[TallyT]):
    """The fields of a class of tallies, a frozen dataclass with slots.

    Args:
        cls: The class. Its sums come first, then its entries, then mappings; of each field is known
            how two are added (`ADD`).

    Attributes:
        sums: The fields that are sums over units.
        entries: The fields that are sums by index.
        new: Returns a tally of the values of all fields, in their order.
        values: Returns the values of the sums of a tally, in their order.
        added: Returns the sums of all fields of two tallies, in their order.
        plus: Returns sums, in their order, with those of further units added. Called with the sums,
            the statistics of the units, and the `unit_weights` that they have in common; or with
            the statistics of one of several equal units, and the sums of their `unit_weights`.
        plus_ones: The same of units with one observation, whose value is 1 (`OF_ONE`): the terms
            have no factors that are 0 or 1. Called with the sums, and those of `unit_weights`.
    """

    def __init__(self, cls: type[TallyT]) -> None:
        declared = fields(cls)  # type: ignore[arg-type]  # a dataclass
        self.sums = tuple(
            SumField(each.name, *each.metadata[_SUM]) for each in declared if _SUM in each.metadata
        )
        self.entries = tuple(
            EntriesField(each.name, *each.metadata[_ENTRIES])
            for each in declared
            if _ENTRIES in each.metadata
        )
        names = [each.name for each in declared]
        first = [each.name for each in self.sums] + [each.name for each in self.entries]
        if names[: len(first)] != first:
            raise TypeError(f"the fields of {cls.__name__} are not in the order of their kinds")
        self.new: Callable[..., TallyT] = maker_of(cls)
        self.values: Callable[[TallyT], tuple[int, ...]] = attrgetter(
            *[each.name for each in self.sums]
        )
        self.added: Callable[[TallyT, TallyT], list[Any]] = _addition(declared)
        self.plus: Callable[[Sequence[int], Statistics, UnitWeights], list[int]] = _plus(self.sums)
        self.plus_ones: Callable[[Sequence[int], UnitWeights], list[int]] = _plus_ones(self.sums)

    def places(self, statistic: Statistic) -> tuple[int, ...]:
        """Return the places of the sums of a statistic."""
        return tuple(n for n, each in enumerate(self.sums) if each.statistic is statistic)

    def by_use(self, tally: TallyT) -> dict[tuple[Statistic, Weight], int]:
        """Return the sums of a tally by statistic and weight."""
        uses = ((each.statistic, each.weight) for each in self.sums)
        return dict(zip(uses, self.values(tally), strict=True))


def compiled(parameters: str, lines: Iterable[str], **names: Any) -> Callable[..., Any]:
    """Return a function compiled from lines of code that are generated from a table of fields.

    `dataclasses` generates methods in the same way: a loop over the fields takes up to twice as
    long, for every metric of every batch.

    Args:
        parameters: Parameters of the function.
        lines: Its body.
        names: Globals that it uses.
    """
    body = "".join(f"    {line}\n" for line in lines)
    exec(f"def function({parameters}):\n{body}", names)  # noqa: S102 - of declared names alone
    function: Callable[..., Any] = names["function"]
    return function


def _addition(declared: Sequence[Field[Any]]) -> Callable[[Any, Any], list[Any]]:
    """Return a function that adds all fields of two tallies."""
    terms = [
        f"left.{each.name} + right.{each.name}"
        if each.metadata[ADD] is add
        else f"add_{each.name}(left.{each.name}, right.{each.name})"
        for each in declared
    ]
    functions = {f"add_{each.name}": each.metadata[ADD] for each in declared}
    return compiled("left, right", [f"return [{', '.join(terms)}]"], **functions)


def _plus(sums: Sequence[SumField]) -> Callable[..., list[int]]:
    """Return a function that adds statistics times weights to sums."""
    terms = [
        f"a{place} + s{each.statistic:d} * w{each.weight:d}" for place, each in enumerate(sums)
    ]
    return compiled(
        "sums, statistics, weights",
        [
            _unpacking("a", range(len(sums)), "sums"),
            _unpacking("s", Statistic, "statistics"),
            _unpacking("w", Weight, "weights"),
            f"return [{', '.join(terms)}]",
        ],
    )


def _plus_ones(sums: Sequence[SumField]) -> Callable[..., list[int]]:
    """Return a function that adds the statistics `OF_ONE` times weights to sums."""
    terms = []
    for place, each in enumerate(sums):
        factor = OF_ONE[each.statistic]
        added = f"w{each.weight:d}" if factor == 1 else f"{factor} * w{each.weight:d}"
        terms.append(f"a{place} + {added}" if factor else f"a{place}")
    return compiled(
        "sums, weights",
        [
            _unpacking("a", range(len(sums)), "sums"),
            _unpacking("w", Weight, "weights"),
            f"return [{', '.join(terms)}]",
        ],
    )


def _unpacking(letter: str, places: Iterable[int], values: str) -> str:
    """Return a statement that assigns values to variables of one letter, by place."""
    return "".join(f"{letter}{place:d}, " for place in places) + f"= {values}"


def add_named(left: Mapping[KeyT, TallyT], right: Mapping[KeyT, TallyT]) -> Mapping[KeyT, TallyT]:
    """Return the sums of tallies by key, in order of the keys; those of one side stay as they are.

    A tally without anything is neutral, so that is their sum with one.
    """
    if not left or not right:
        return dict(sorted((left or right).items()))
    keys: Iterable[KeyT] = sorted(left.keys() | right.keys())
    return {
        key: left[key] + right[key]  # type: ignore[operator]  # tallies can be added
        if key in left and key in right
        else left.get(key) or right[key]
        for key in keys
    }


def maker_of(cls: type[TallyT]) -> Callable[..., TallyT]:
    """Return a function that makes an instance of a frozen dataclass with slots from all fields.

    The constructor of a frozen dataclass assigns every field by `object.__setattr__`: for the 18
    fields of a `MetricTally` that takes 3.2 us instead of 0.7, and folding makes one for every
    metric of a batch.

    >>> @dataclass(frozen=True, slots=True)
    ... class Point:
    ...     x: int
    ...     y: int
    >>> maker_of(Point)(1, 2)
    Point(x=1, y=2)
    """
    draft: Any = make_dataclass(
        f"{cls.__name__}Draft",
        [(each.name, each.type) for each in fields(cls)],  # type: ignore[arg-type]
        slots=True,
        eq=False,
        repr=False,
    )

    def make(*values: object) -> TallyT:
        made = draft(*values)
        made.__class__ = cls  # the slots are the same, so this is valid
        instance: TallyT = made
        return instance

    return make
