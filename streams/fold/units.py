"""Units and their observations one by one, as many as are counted and no others.

The folds decide what counts, by sequences, windows and attribution; here they are given one event
at a time, and what they add to their cells is taken note of. So what comes out is exactly what the
tallies are the sums of. Events of other experiments decide nothing about this one, and are passed
by.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.codec import Codec
from streams.fold.base import Folded, Folding, LogRecord, never
from streams.fold.impressions import ImpressionFolding
from streams.fold.observations import ObservationFolding
from streams.model.events import ImpressionGroup
from streams.model.receipts import CLOCK_SKEW_MS, Keyring
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Cell
from streams.tallies.impressions import ImpressionFold
from streams.tallies.observations import Claim, ObservationFold
from streams.tallies.partition import Ledger
from streams.tallies.plan import PLAIN, Plan, PlanOf, plain


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
    """

    units: array[int] = field(default_factory=_unsigned)
    variants: array[int] = field(default_factory=_integers)
    propensities: array[int] = field(default_factory=_integers)
    assigned_at_ms: array[int] = field(default_factory=_integers)


@dataclass(slots=True)
class Values:
    """Observations of one metric that were counted, in order of the log, as columns.

    Attributes:
        units, variants, assigned_at_ms: Of the assignment, as its receipt says.
        values: Micro-units.
        observed_at_ms: Time of the observation.
    """

    units: array[int] = field(default_factory=_unsigned)
    variants: array[int] = field(default_factory=_integers)
    assigned_at_ms: array[int] = field(default_factory=_integers)
    values: array[int] = field(default_factory=_integers)
    observed_at_ms: array[int] = field(default_factory=_integers)


class AssignmentFolding(ImpressionFolding):
    """Takes note of the units of one experiment.

    Args:
        codec: How records are framed.
        keyring: Verifies the tags of the batches.
        limit: Units remembered per experiment and partition.
        experiment: The experiment as a 64-bit number.

    Attributes:
        found: The units.
    """

    def __init__(self, codec: Codec, keyring: Keyring, limit: int, experiment: int) -> None:
        super().__init__(codec, keyring, limit, plain)
        self._experiment = experiment
        self.found = Assignments()

    def new_fold(self, partition: int) -> ImpressionFold:
        """Return the state of a partition that nothing was read of."""
        return _AssignmentFold(partition, self._experiment, self.found, limit=self._limit)


class ValueFolding(ObservationFolding):
    """Takes note of the observations of one metric of one experiment.

    Args:
        codec: How records are framed.
        keyring: Verifies the receipts.
        limit: Events remembered per experiment and partition.
        experiment: The experiment as a 64-bit number.
        metric: The metric.
        partitions: Partitions of the topic; None where the log is known to be in order.
        plan: What is kept of the experiment, by which single values and metrics are refused.

    Attributes:
        found: The observations.
    """

    def __init__(
        self,
        codec: Codec,
        keyring: Keyring,
        limit: int,
        experiment: int,
        metric: str,
        partitions: int | None = None,
        plan: Plan = PLAIN,
    ) -> None:
        # Values are noted as they came, and those that are not counted are not noted.
        plan = replace(plan, caps={}, floors={}, pairs=(), by_period=None)
        super().__init__(
            codec,
            keyring,
            limit,
            lambda number: plan if number == experiment else PLAIN,
            partitions,
        )
        self._experiment = experiment
        self._metric = metric
        self.found = Values()

    def new_fold(self, partition: int) -> ObservationFold:
        """Return the state of a partition that nothing was read of."""
        return _ValueFold(
            partition,
            self._keyring,
            self._experiment,
            self._metric,
            self.found,
            limit=self._limit,
            partitions=self._partitions,
            plan_of=self._plan_of,
        )

    def fold(
        self,
        fold: ObservationFold,
        records: Sequence[LogRecord],
        is_due: Callable[[], bool] = never,
    ) -> Folded:
        """Fold records that follow each other, one by one: columns do not name the units."""
        folded = Folding.fold(self, fold, records, is_due)
        fold.take_misplaced()  # the log has their copies
        return folded


class _Noting(CellBuilder):
    """Takes note that something counts, and adds nothing up."""

    __slots__ = ("_is_noted",)

    _is_noted: bool

    def add_units(self, *_: Any, **__: Any) -> None:
        """Take note of a unit."""
        self._is_noted = True

    def add_value(self, *_: Any, **__: Any) -> None:
        """Take note of an observation."""
        self._is_noted = True

    def add_duplicate(self, *_: Any, **__: Any) -> None:
        """Take no note of what does not count."""

    def take(self) -> bool:
        """Return whether there was something since the last call."""
        is_noted, self._is_noted = self._is_noted, False
        return is_noted

    def _reset(self) -> None:
        super()._reset()
        self._is_noted = False


class _AssignmentFold(ImpressionFold):
    def __init__(self, partition: int, experiment: int, found: Assignments, *, limit: int) -> None:
        super().__init__(partition, limit=limit)
        self._wanted = experiment
        self._found = found
        self._noting = _Noting(experiment, self.source, partition)

    def _fold_group(self, offset: int, group: ImpressionGroup, latest_ms: int = 0) -> None:
        del latest_ms  # no clock is read here
        if group.experiment != self._wanted:
            return
        rows = zip(
            group.variants,
            group.propensities,
            group.allocation_versions,
            group.assigned_at_ms,
            group.units,
            strict=True,
        )
        found = self._found
        for variant, propensity, version, assigned_at_ms, unit in rows:
            row = [variant], [propensity], [version], [assigned_at_ms], [unit]
            # One that cannot be remembered does not count, and the others do.
            with suppress(Exception):
                super()._fold_group(
                    offset, ImpressionGroup(group.experiment, group.repeatable, *row)
                )
            if self._noting.take():
                found.units.append(unit)
                found.variants.append(variant)
                found.propensities.append(propensity)
                found.assigned_at_ms.append(assigned_at_ms)

    def _new_ledger(self, experiment: int, cell: Cell | None = None) -> Ledger:
        ledger = super()._new_ledger(experiment, cell)
        ledger.builder = self._noting
        return ledger


class _ValueFold(ObservationFold):
    def __init__(
        self,
        partition: int,
        keyring: Keyring,
        experiment: int,
        metric: str,
        found: Values,
        *,
        limit: int,
        partitions: int | None,
        plan_of: PlanOf,
    ) -> None:
        super().__init__(partition, keyring, limit=limit, partitions=partitions, plan_of=plan_of)
        self._wanted = experiment
        self._metric = metric
        self._found = found
        self._noting = _Noting(experiment, self.source, partition)

    def _count(self, offset: int, claim: Claim, timestamp_ms: int) -> None:
        observation, receipt, *_ = claim
        if receipt.experiment != self._wanted:
            return
        super()._count(offset, claim, timestamp_ms)
        if self._noting.take() and observation.metric == self._metric:
            found = self._found
            found.units.append(receipt.unit)
            found.variants.append(receipt.variant)
            found.assigned_at_ms.append(receipt.assigned_at_ms)
            found.values.append(observation.value)
            found.observed_at_ms.append(
                timestamp_ms
                if observation.observed_at_ms is None
                else min(observation.observed_at_ms, timestamp_ms + CLOCK_SKEW_MS)
            )

    def _new_ledger(self, experiment: int, cell: Cell | None = None) -> Ledger:
        ledger = super()._new_ledger(experiment, cell)
        ledger.builder = self._noting
        return ledger
