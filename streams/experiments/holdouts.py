"""Holdouts: experiments that keep a share of the units out of other experiments.

A holdout is an experiment with two variants. Units that are held out have the first one, its
control, and get the control of every experiment that the holdout covers. The variant and the
receipt of a unit depend only on the holdout and the hash of the unit, which is the same in all
experiments: so the receipt of the holdout follows from any receipt of the unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from streams.experiments.unit_kind import UnitKind
from streams.model.errors import InputError
from streams.model.experiment_keys import KEY_PATTERN, holdout_number, named_experiment
from streams.model.ids import ExperimentNumber
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipts import Receipt
from streams.model.validation import InputModel, JsonList, problem

HELD_OUT, NOT_HELD_OUT = 0, 1
"""Indices of the two variants of a holdout."""

VARIANT_NAMES = ("held out", "not held out")

ALL = "*"
"""Matches every experiment with the unit of the holdout."""

MAX_EXPERIMENTS = 100
"""Experiments that a holdout names at most: they are part of every snapshot of it."""

MIN_SHARE, MAX_SHARE = 0.0001, 0.5
"""Bounds of a share: weights are integers that sum to 65,536, so a smaller share would round to
0."""

_PERSON = b"holdout"
_DRAW_BYTES = 4
_HASH_BYTES = 8


def _covered(name: str) -> str:
    if name != ALL:
        try:
            named_experiment(name)
        except InputError as error:
            raise problem(error.code, f"{error.message}, nor is it {ALL}") from error
    return name


HoldoutKey = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]
HoldoutShare = Annotated[float, Field(ge=MIN_SHARE, le=MAX_SHARE)]
Covered = Annotated[
    tuple[Annotated[str, AfterValidator(_covered)], ...],
    JsonList(min_length=1, max_length=MAX_EXPERIMENTS),
]


class HoldoutSpec(InputModel):
    """Settings of an experiment that is a holdout.

    Attributes:
        key: Its key; keys of holdouts and of experiments are separate.
        share: Share of the units that are held out, 0.0001 to 0.5.
        experiments: Keys and ids of the experiments that it covers, or `*` alone for all.
    """

    key: HoldoutKey
    share: HoldoutShare
    experiments: Covered = (ALL,)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if ALL in self.experiments and len(self.experiments) > 1:
            message = f"{ALL} stands for all experiments, and others are named beside it"
            raise problem("ALL_AND_SOME", message, "experiments")
        numbers = [named_experiment(name) for name in self.experiments if name != ALL]
        if len(set(numbers)) < len(numbers):
            raise problem("DUPLICATE_EXPERIMENT", "an experiment is named twice", "experiments")
        return self

    @property
    def number(self) -> ExperimentNumber:
        """Number of the holdout's experiment."""
        return holdout_number(self.key)


def variants_of(share: float) -> tuple[dict[str, Any], ...]:
    """Return the variants in the definition of a holdout."""
    return tuple(
        {"name": name, "isControl": index == HELD_OUT, "weight": weight}
        for index, (name, weight) in enumerate(
            zip(VARIANT_NAMES, (share, 1.0 - share), strict=True)
        )
    )


class Holdout:
    """A running holdout, compiled for many requests.

    Args:
        number: Number of its experiment.
        spec: Its settings.
        version: Version of the experiment when it started.
        started_at_ms: When it started.
        unit_kind: Its unit, a user or a session.

    Attributes:
        key: Its key.
        number, started_at_ms, unit_kind: As above.
    """

    __slots__ = (
        "_end",
        "_numbers",
        "_state",
        "_version",
        "key",
        "number",
        "started_at_ms",
        "unit_kind",
    )

    def __init__(
        self,
        number: int,
        spec: HoldoutSpec,
        version: int,
        started_at_ms: int,
        unit_kind: UnitKind,
    ) -> None:
        self.number = number
        self.unit_kind = unit_kind
        self.key = spec.key
        self._version = version
        self.started_at_ms = started_at_ms
        self._end = round(spec.share * PROPENSITY_ONE)
        self._numbers = (
            None
            if ALL in spec.experiments
            else frozenset(named_experiment(name) for name in spec.experiments)
        )
        self._state = blake2b(
            digest_size=_DRAW_BYTES, key=number.to_bytes(_HASH_BYTES), person=_PERSON
        )

    def covers(self, experiment: int) -> bool:
        """Return whether it covers an experiment, apart from the unit.

        Args:
            experiment: The experiment as a 64-bit number.
        """
        return self._numbers is None or experiment in self._numbers

    def holds_out_of(self, experiment: int, unit_kind: UnitKind) -> bool:
        """Return whether its units can be held out of an experiment.

        An impression is a request of a unit, of any kind that the request names.

        Args:
            experiment: The experiment as a 64-bit number.
            unit_kind: Its unit.
        """
        is_of_its_units = unit_kind in {self.unit_kind, UnitKind.IMPRESSION}
        return is_of_its_units and self.covers(experiment)

    def holds(self, unit: int) -> bool:
        """Return whether a unit is held out.

        Args:
            unit: Hash of a user or session (`streams.policies.bucketing.lasting_unit`).
        """
        state = self._state.copy()
        state.update(unit.to_bytes(_HASH_BYTES))
        return int.from_bytes(state.digest()) < self._end

    def receipt(self, unit: int) -> Receipt:
        """Return the receipt of a unit, which is the same at any time.

        Args:
            unit: As in `holds`.
        """
        is_held = self.holds(unit)
        return Receipt(
            self.number,
            HELD_OUT if is_held else NOT_HELD_OUT,
            self._end if is_held else PROPENSITY_ONE - self._end,
            self._version,
            self.started_at_ms,
            unit,
            0,
        )


def holding(holdouts: Sequence[Holdout], unit: int) -> Holdout | None:
    """Return the first of some holdouts that holds a unit out; None if none does."""
    for each in holdouts:
        if each.holds(unit):
            return each
    return None
