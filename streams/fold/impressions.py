"""Records of `impressions`: batches of units assigned, counted by variant and propensity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from typing import NamedTuple, TypeVar

from schemas.codec import Codec
from streams.fold.cohorts import add_to_cohorts, counted
from streams.fold.deduplication import AssignmentNovelty, DeduplicationWindow
from streams.fold.hashing import KEY_MASK
from streams.fold.partition import DEFAULT_LIMIT, PartitionFold
from streams.fold.records import Folding, FoldResult, LogRecord, decoded, empty, never
from streams.fold.refusals import Refusal, by_code, refusal
from streams.fold.slices import add_assigned_to_slices, add_to_slices
from streams.fold.window_memory import WindowFullError
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.errors import EventError
from streams.model.events import ImpressionBatch, ImpressionGroup, OutsideRequests
from streams.model.ids import MAX_VARIANTS
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipts import Keyring
from streams.model.variant_weights import are_bits, are_weights
from streams.model.vectors import Vector, unpack
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source
from streams.tallies.fields import Chance
from streams.tallies.periods import tick_of
from streams.tallies.plan import Plan, PlanMissingError, PlanOf, plain
from streams.wire.batch_tags import authenticated
from streams.wire.experiment_ends import decode_experiment_end, is_experiment_end
from streams.wire.impressions import decode_impression_batch

MAX_VARIANT = (1 << 16) - 1
"""Largest index of a variant that a receipt can carry."""

_NEVER = 1 << 63

T = TypeVar("T")

Listener = Callable[[int, int, ImpressionGroup, Sequence[bool]], None]
"""Called with the offset of a record, the place of a group's first impression in it, the group, and
which of its impressions have been counted. It must not raise: they are counted already."""


class ImpressionFold(PartitionFold):
    """State of one partition of impressions.

    Args:
        partition: The partition.
        limit: Entries that the window of one experiment keeps at most.
        plan_of: Returns the measurement plan of an experiment; sums alone by default.
        only: The one experiment whose impressions are counted; None for all.
        listener: Called with what was counted.
    """

    source = Source.IMPRESSIONS

    def __init__(
        self,
        partition: int,
        *,
        limit: int = DEFAULT_LIMIT,
        plan_of: PlanOf = plain,
        only: int | None = None,
        listener: Listener | None = None,
    ) -> None:
        super().__init__(partition, limit=limit, plan_of=plan_of)
        self._only = only
        self._listener = listener

    def fold(
        self, offset: int, batch: ImpressionBatch, timestamp_ms: int | None = None
    ) -> Sequence[Refusal]:
        """Count the impressions of the record at `offset`; a repeated batch changes nothing.

        Args:
            offset: Offset of the record; at or below `last_offset` it is skipped.
            batch: The record.
            timestamp_ms: Kafka timestamp of the record. An assignment with a later time does not
                advance the clock; None to skip this check.

        Returns:
            Refusals: of an invalid sequence or group, or of units that do not fit into the memory
                (one refusal for all of a group).

        Raises:
            PlanMissingError: the plan of an experiment is not known; nothing has been counted.
        """
        if offset <= self.last_offset:
            return ()
        for each in (*batch.groups, *batch.outside):
            if each.experiment not in self._ended and self._only in {None, each.experiment}:
                self._ledger(each.experiment)
        self.last_offset = offset
        try:
            if not self._guard.admit(batch.incarnation, batch.partition, batch.sequence):
                self.duplicate_batches += 1
                return ()
        except EventError as error:
            return (Refusal(0, error),)
        latest_ms = _NEVER if timestamp_ms is None else timestamp_ms + CLOCK_SKEW_MS
        refusals = []
        index = 0
        for group in batch.groups:
            try:
                if self._only in {None, group.experiment}:
                    self._fold_group(offset, group, latest_ms, index)
            except Exception as error:  # noqa: BLE001 - one group's must not cost the others
                refusals.append(refusal(index, error))
            index += len(group.variants)
        self._fold_outside(offset, batch.outside)
        return refusals

    def _fold_outside(self, offset: int, outside: Iterable[OutsideRequests]) -> None:
        for experiment, reason, requests in outside:
            if experiment in self._ended or self._only not in {None, experiment}:
                continue
            builder = self._ledger(experiment).builder
            if offset > builder.folded:
                builder.add_outside(offset, reason, requests)

    def _fold_group(
        self, offset: int, group: ImpressionGroup, latest_ms: int = _NEVER, index: int = 0
    ) -> None:
        self._check_going_on(group.experiment)
        ledger = self._ledger(group.experiment)
        builder, plan = ledger.builder, ledger.plan
        n_variants = 0 if plan is None else plan.n_variants
        _check_columns(group)
        weights: Iterable[bytes] = group.weights or repeat(b"")
        chances = [*zip(group.variants, group.propensities, weights, strict=False)]
        _check_chances(dict.fromkeys(chances), n_variants)  # the first wrong one is refused
        rows = _Rows(chances, group.assigned_at_ms, _vectors(group), group.dimensions)
        is_new: Sequence[bool] = [True] * len(group.units)
        refused: EventError | None = None
        if group.repeatable:
            admitted = _admit(ledger.window, group, MAX_VARIANTS if n_variants else MAX_VARIANT + 1)
            is_new, refused = admitted.is_new, admitted.refused
            if offset > builder.folded:
                if admitted.crossed:
                    builder.add_crossed(offset, admitted.crossed)
                if admitted.unremembered:
                    builder.add_unremembered(offset, admitted.unremembered)
            if not all(is_new):
                rows = rows.only(is_new)
        if rows.chances and offset > builder.folded:
            _add(builder, plan, offset, rows, latest_ms)
            if self._listener is not None:
                self._listener(offset, index, group, is_new)
        if refused is not None:
            raise refused


class _Rows(NamedTuple):
    """Impressions of a group that count, by column.

    Attributes:
        chances: Their chances.
        times_ms: Times of the assignments.
        vectors: Features; empty if no unit has any.
        values: Values in the dimensions, packed; empty if no unit has any.
    """

    chances: Sequence[Chance]
    times_ms: Sequence[int]
    vectors: Sequence[Vector]
    values: Sequence[bytes]

    def only(self, chosen: Sequence[bool]) -> _Rows:
        """Return the chosen rows; columns without any entries stay empty."""
        return _Rows._make([*compress(column, chosen)] for column in self)


def _add(
    builder: CellBuilder,
    plan: Plan | None,
    offset: int,
    rows: _Rows,
    latest_ms: int,
) -> None:
    """Add units of the record at `offset` to the cell of their experiment."""
    first_ms, last_ms = min(rows.times_ms), min(max(rows.times_ms), latest_ms)
    moments = min(first_ms, last_ms), last_ms
    if plan is not None and plan.by_exposure:
        _add_assigned(builder, plan, offset, rows)
        for at_ms in moments:
            builder.add_event(offset, at_ms)
        return
    builder.add_chances(offset, rows.chances, *moments)
    if rows.vectors:
        builder.sums.add_contexts(zip(rows.chances, rows.vectors, strict=True))
    if plan is not None:
        _add_as_planned(builder, plan, rows)


def _add_assigned(builder: CellBuilder, plan: Plan, offset: int, rows: _Rows) -> None:
    """Add units that count once they are exposed, by variant and by slice."""
    variants = [variant for variant, _, _ in rows.chances]
    builder.add_assigned_units(offset, counted(variants))
    if plan.slices is not None:
        add_assigned_to_slices(builder, _with_values(variants, rows))


def _add_as_planned(builder: CellBuilder, plan: Plan, rows: _Rows) -> None:
    """Add units to the slices, the periods and the cohorts that a plan has of them."""
    if plan.slices is not None:
        add_to_slices(builder, _with_values(rows.chances, rows))
    periods = plan.by_period
    if periods is not None:
        ticks = map(tick_of, rows.times_ms)
        variants = [variant for variant, _, _ in rows.chances]
        counts = counted(zip(variants, ticks, strict=True))
        by_tick = {key: n for key, n in counts.items() if key[0] < periods.n_variants}
        builder.sums.add_assigned(by_tick)
    if plan.windows:
        # Features are covariates only where the plan says so.
        vectors = rows.vectors if plan.has_covariates and rows.vectors else repeat(None)
        units = [*zip(rows.chances, rows.times_ms, vectors, strict=False)]
        for window_s in sorted(set(plan.windows.values())):
            add_to_cohorts(builder, window_s, units)


def _with_values(column: Iterable[T], rows: _Rows) -> Iterable[tuple[T, bytes]]:
    """Return the entries of a column, each with the dimension values of its impression."""
    return zip(column, rows.values or repeat(b""), strict=False)


def _check_columns(group: ImpressionGroup) -> None:
    size = len(group.units)
    if not (
        len(group.variants) == len(group.propensities) == len(group.assigned_at_ms) == size
        and len(group.features) in {0, size}
        and len(group.weights) in {0, size}
        and len(group.dimensions) in {0, size}
    ):
        raise EventError("COLUMNS_DIFFER", "the columns of a group differ in length", "groups")


def _check_chances(chances: Iterable[Chance], n_variants: int) -> None:
    for variant, propensity, weights in chances:
        if not 0 <= variant <= MAX_VARIANT:
            raise EventError(
                "VARIANT_OUT_OF_RANGE",
                f"variant == {variant}, must be in 0..{MAX_VARIANT}",
                "groups.variants",
            )
        if not 1 <= propensity <= PROPENSITY_ONE:
            raise EventError(
                "PROPENSITY_OUT_OF_RANGE",
                f"propensity == {propensity}, must be in 1..{PROPENSITY_ONE}",
                "groups.propensities",
            )
        # Without a plan, the number of variants is unknown, so any bits are accepted.
        if not weights or are_bits(weights, variant, n_variants or 8 * len(weights)):
            continue
        if not are_weights(weights, variant, propensity, len(weights)):
            raise EventError(
                "INVALID_WEIGHTS",
                f"weights == {weights.hex()} are not those of a unit assigned to variant {variant}",
                "groups.weights",
            )


def _vectors(group: ImpressionGroup) -> Sequence[Vector]:
    """Return the features of each unit; empty if no unit has any."""
    if not group.features:
        return ()
    known = {packed: unpack(packed) for packed in set(group.features)}
    return [known[packed] for packed in group.features]


@dataclass(frozen=True, slots=True)
class _Admitted:
    """Result of looking up the units of a group in the deduplication window.

    Attributes:
        is_new: Which assignments count.
        crossed: Number of units that one of them puts into a second variant.
        unremembered: Number of units that did not fit into the memory and do not count.
        refused: Reason; None if all fitted.
    """

    is_new: Sequence[bool]
    crossed: int
    unremembered: int
    refused: EventError | None


def _admit(window: DeduplicationWindow, group: ImpressionGroup, n_variants: int) -> _Admitted:
    refused: EventError | None = None
    answers = []
    unremembered = 0
    for unit, variant in zip(group.units, group.variants, strict=True):
        try:
            answers.append(window.admit(unit & KEY_MASK, variant, n_variants))
        except WindowFullError as error:
            answers.append(AssignmentNovelty.DUPLICATE)
            unremembered += 1
            refused = error
    return _Admitted(
        [answer is not AssignmentNovelty.DUPLICATE for answer in answers],
        answers.count(AssignmentNovelty.CROSSED),
        unremembered,
        refused,
    )


class ImpressionFolding(Folding[ImpressionFold]):
    """Counts the units assigned.

    Args:
        codec: How records are framed.
        keyring: Verifies the tags of the batches.
        limit: Units remembered per experiment and partition.
        plan_of: Returns the measurement plan of an experiment.
        only: The one experiment whose impressions are counted; None for all.
        listener: Called with what was counted.
    """

    def __init__(
        self,
        codec: Codec,
        keyring: Keyring,
        limit: int,
        plan_of: PlanOf,
        *,
        only: int | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._codec = codec
        self._keyring = keyring
        self._limit = limit
        self._plan_of = plan_of
        self._only = only
        self._listener = listener

    def new_fold(self, partition: int) -> ImpressionFold:
        """Return the state of a partition that nothing was read of."""
        return ImpressionFold(
            partition,
            limit=self._limit,
            plan_of=self._plan_of,
            only=self._only,
            listener=self._listener,
        )

    def fold(
        self,
        fold: ImpressionFold,
        records: Sequence[LogRecord],
        is_due: Callable[[], bool] = never,
    ) -> FoldResult:
        """Fold records that follow each other; those at or below `fold.last_offset` are skipped.

        Args:
            fold: State of their partition.
            records: The records.
            is_due: Called after every record; returns whether to pause.
        """
        result = FoldResult()
        for index, record in enumerate(records):
            try:
                events, refusals = self._fold_record(fold, record)
            except PlanMissingError as error:
                result.awaits = error.experiment
                break
            except Exception as error:  # noqa: BLE001 - one record must not end a process
                fold.skip(record.offset)
                events, refusals = 1, (refusal(0, error),)
            result.events += events
            if refusals:
                result.refused.append((index, by_code(refusals)))
            if is_due():
                result.is_paused = index + 1 < len(records)
                break
        return result

    def _fold_record(
        self, fold: ImpressionFold, record: LogRecord
    ) -> tuple[int, Sequence[Refusal]]:
        if is_experiment_end(record.value):
            ended = decode_experiment_end(record.value, self._keyring, fold.source, fold.partition)
            fold.end(record.offset, ended)
            return 1, ()
        batch = decoded(self._decode, record)
        assert record.value is not None  # noqa: S101 - it has been decoded
        batch = authenticated(self._keyring, fold.source, fold.partition, record.value, batch)
        events = sum(len(group.variants) for group in batch.groups) + len(batch.outside)
        if not events:
            raise empty()
        return events, fold.fold(record.offset, batch, record.timestamp)

    def _decode(self, value: bytes | None) -> ImpressionBatch:
        return decode_impression_batch(value, self._codec)
