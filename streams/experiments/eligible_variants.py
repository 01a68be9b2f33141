"""Eligible variants: those that a request can show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from streams.model.errors import InputError, quoted
from streams.model.ids import variant_index

MAX_KEPT = 4_096
"""Cached lists; when there are more, the cache is cleared."""

_NO_EXPERIMENTS: frozenset[str] = frozenset()


class EligibleSet(NamedTuple):
    """The variants that a request can show.

    Attributes:
        first: Index of the first named variant that is not stopped.
        bits: Bit k is set for variant k, as for `streams.policies.draw_tables.draw_table`.
    """

    first: int
    bits: int

    def __contains__(self, variant: object) -> bool:
        """Return whether the variant at an index is eligible."""
        return isinstance(variant, int) and bool(self.bits >> variant & 1)


class EligibleVariants:
    """The variants of an experiment, by id and by name.

    Args:
        experiment_id: Id of the experiment.
        names: Names of its variants, in the order of the definition.
        id_of: Returns the id of the variant at an index.
        active: Indices of those that are not stopped; None for all. A stopped one may be named, and
            is not eligible.
    """

    __slots__ = ("_active", "_experiment_id", "_indices", "_kept")

    def __init__(
        self,
        experiment_id: str,
        names: Sequence[str],
        id_of: Callable[[int], str],
        active: Sequence[int] | None = None,
    ) -> None:
        self._experiment_id = experiment_id
        self._active = frozenset(range(len(names)) if active is None else active)
        self._indices = {name: index for index, name in enumerate(names)}
        self._indices |= {id_of(index): index for index in range(len(names))}
        self._kept: dict[tuple[str, ...], EligibleSet] = {}

    def read(
        self, named: tuple[str, ...], others: AbstractSet[str] = _NO_EXPERIMENTS
    ) -> EligibleSet:
        """Return the variants that a request names.

        Args:
            named: Ids and names.
            others: Ids of the experiments in the same request: variant ids of other experiments are
                ignored.

        Raises:
            InputError: a name is unknown (`UNKNOWN_VARIANT`) or repeated (`DUPLICATE_VARIANT`),
                with its path; or all named variants are stopped (`NONE_ELIGIBLE`).
        """
        kept = self._kept.get(named)
        if kept is not None:
            return kept
        found = self._read(named, others)
        if not others:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[named] = found
        return found

    def _read(self, named: tuple[str, ...], others: AbstractSet[str]) -> EligibleSet:
        first, bits, named_bits = -1, 0, 0
        for place, name in enumerate(named):
            index = self._indices.get(name)
            if index is None:
                if others and self._is_of_another(name, others):
                    continue
                raise InputError(
                    "UNKNOWN_VARIANT",
                    f"{quoted(name)} is neither id nor name of a variant of {self._experiment_id}",
                    f"eligible[{place}]",
                )
            if named_bits >> index & 1:
                raise InputError(
                    "DUPLICATE_VARIANT",
                    f"{quoted(name)} is a variant that is named before",
                    f"eligible[{place}]",
                )
            named_bits |= 1 << index
            if index in self._active:
                first, bits = (index if first < 0 else first), bits | 1 << index
        if not bits:
            raise InputError(
                "NONE_ELIGIBLE",
                f"no variant of {self._experiment_id} is eligible, must be at least one",
                "eligible",
            )
        return EligibleSet(first, bits)

    def _is_of_another(self, name: str, others: AbstractSet[str]) -> bool:
        try:
            experiment_id, _ = variant_index(name)
        except InputError:
            return False
        return experiment_id != self._experiment_id and experiment_id in others
