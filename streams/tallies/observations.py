"""Folding observations: the value of every unit and metric, each event once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.model.errors import EventError, quoted
from streams.model.events import Observation, ObservationBatch, VerifiedObservations
from streams.model.partitioning import partitions_of
from streams.model.receipts import (
    CLOCK_SKEW_MS,
    RECEIPT_LENGTH,
    Keyring,
    Receipt,
    check_attribution,
    features_of,
)
from streams.model.vectors import unpack
from streams.tallies.cell import Source
from streams.tallies.measuring import Counted, Measurement
from streams.tallies.misplaced import Misplaced, misplaced
from streams.tallies.new_units import UnitRows, count_new_units
from streams.tallies.partition import (
    DEFAULT_LIMIT,
    Ledger,
    PartitionFold,
    Refusal,
    archived,
)
from streams.tallies.plan import Plan, PlanMissingError, PlanOf, plain
from streams.tallies.refusals import refusal
from streams.tallies.window import KEY_MASK, MAX_EVENTS, SEEN

MAX_METRICS = 64
"""Metrics of one experiment in one partition. Those that are declared have their places, and
`MAX_DECLARED` leaves 16 to others."""

PHASES = 3
"""Phases of an experiment, `promotion_state.Phase`; a variant has an index in each."""

MAX_CELL_METRICS = 8_192
"""Metrics of all variants in all phases that a cell may have before one that is not declared is
refused: with 350 bytes for each of them a cell fits its topic."""

MAX_OPENED = 8
"""Metrics that are not declared and that one assignment may be the first to bring. So no single
receipt takes up the places of all."""

_BLANK = blake2b(digest_size=8)  # copying it costs less than making a new one


class ObservationFold(PartitionFold):
    """State of one partition of observations.

    Args:
        partition: The partition.
        keyring: Verifies the receipts.
        limit: Entries that the window of one experiment keeps at most.
        plan_of: Gives what is kept of every experiment; nothing besides sums unless told.
        partitions: Partitions of the topic, by which an observation is counted only where its
            receipt belongs; None to count it wherever it is.
    """

    source = Source.OBSERVATIONS

    def __init__(
        self,
        partition: int,
        keyring: Keyring,
        *,
        limit: int = DEFAULT_LIMIT,
        plan_of: PlanOf = plain,
        partitions: int | None = None,
    ) -> None:
        super().__init__(partition, limit=limit, plan_of=plan_of)
        self._open = keyring.open
        self._partitions = partitions
        self._misplaced: list[Misplaced] = []

    def fold(self, offset: int, batch: ObservationBatch, timestamp_ms: int) -> Sequence[Refusal]:
        """Count the observations of the record at `offset`; a repeated batch changes nothing.

        Args:
            offset: Offset of the record; at or below `hw` it is passed by.
            batch: The record.
            timestamp_ms: Kafka timestamp of the record; the time of observations without one.

        Returns:
            What could not be counted. Repeated events are counted as duplicates instead.

        Raises:
            PlanMissingError: the plan of an experiment is not known; nothing has been counted.
        """
        if offset <= self.hw:
            return ()
        homes = self._homes(batch.observations)
        claims = [
            self._claim(observation, is_here=home == self._partition)
            for observation, home in zip(batch.observations, homes, strict=True)
        ]
        self.hw = offset
        if batch.incarnation is not None and batch.sequence is not None:
            try:
                if not self._guard.admit(batch.incarnation, self._partition, batch.sequence):
                    self.duplicate_batches += 1
                    return ()
            except EventError as error:
                return (Refusal(0, error),)
        refusals = []
        for index, claim in enumerate(claims):
            if isinstance(claim, Exception):
                refusals.append(refusal(index, claim))
                continue
            if isinstance(claim, Observation):
                origin = f"{self.source}:{self._partition}:{offset}:{index}"
                self._misplaced.append(misplaced(claim, homes[index], origin, timestamp_ms))
                continue
            try:
                self._count(offset, claim, timestamp_ms)
            except Exception as error:  # noqa: BLE001 - one event's must not cost the others
                refusals.append(refusal(index, error))
        return refusals

    def fold_verified(
        self, rows: VerifiedObservations, start: int, stop: int
    ) -> Iterator[tuple[int, Sequence[Refusal]]]:
        """Count the rows in [start, stop), each of them a record; the same as `fold` for each.

        Units that were not observed before are counted together, the others one by one after them.
        That changes nothing, as a unit's value is the sum of its observations in any order.

        Yields:
            What could not be counted, by row.

        Raises:
            PlanMissingError: the plan of an experiment is not known. All rows before the first one
                of it are counted, and `hw` is the offset before.
        """
        start += int(rows.offsets[start:stop].searchsorted(self.hw, "right"))
        if start >= stop:
            return
        if self._ended and not self._ended.keys().isdisjoint(rows.experiments[start:stop].tolist()):
            yield from self._fold_going_on(rows, start, stop)
            return
        try:
            for row, refusals in self._fold_together(rows[start:stop]):
                yield start + row, refusals
        except PlanMissingError:
            known = self._planned(rows.experiments[start:stop].tolist())
            yield from self.fold_verified(rows, start, start + known)
            if start + known < stop:
                raise PlanMissingError(int(rows.experiments[start + known])) from None
            return
        self.hw = int(rows.offsets[stop - 1])

    def _fold_together(self, rows: VerifiedObservations) -> Iterator[tuple[int, Sequence[Refusal]]]:
        """Count rows, and yield what could not be counted.

        Raises:
            PlanMissingError: the plan of an experiment is not known; nothing has been counted.
        """
        batch = UnitRows(rows, [_hash(name) for name in rows.names])
        others = count_new_units(batch, self._ledger)
        yield from self._count_one_by_one(batch, others)

    def _fold_going_on(
        self, rows: VerifiedObservations, start: int, stop: int
    ) -> Iterator[tuple[int, Sequence[Refusal]]]:
        """Fold the rows in [start, stop), and refuse those of experiments that have ended.

        All others are counted together, however they lie: late events would otherwise cut what is
        counted at a time into pieces of single rows.
        """
        ended = np.fromiter(self._ended, np.uint64, len(self._ended))
        experiments = rows.experiments[start:stop]
        has_ended = np.isin(experiments, ended)
        places = start + np.flatnonzero(~has_ended)
        known = self._planned(rows.experiments[places].tolist())
        cut = stop if known == len(places) else int(places[known])
        refused: dict[int, Sequence[Refusal]] = {
            row: (Refusal(0, archived(int(rows.experiments[row]))),)
            for row in (start + np.flatnonzero(has_ended[: cut - start])).tolist()
        }
        if known:
            chosen = places[:known]
            for place, refusals in self._fold_together(rows[chosen]):
                refused[int(chosen[place])] = refusals
        yield from sorted(refused.items())
        if cut > start:
            self.hw = int(rows.offsets[cut - 1])
        if cut < stop:
            raise PlanMissingError(int(rows.experiments[cut]))

    def _planned(self, experiments: Sequence[int]) -> int:
        """Return how many experiments come before the first one whose plan is not known."""
        for place, experiment in enumerate(experiments):
            try:
                self._ledger(experiment)
            except PlanMissingError:
                return place
        return len(experiments)

    def _count_one_by_one(
        self, batch: UnitRows, places: NDArray[np.int64]
    ) -> Iterator[tuple[int, Sequence[Refusal]]]:
        """Count the rows at `places`, in their order, and yield what could not be, by row."""
        rows = batch.rows[places]
        columns = (
            places,
            rows.offsets,
            rows.timestamps_ms,
            rows.experiments,
            rows.variants,
            rows.propensities,
            rows.assigned_at_ms,
            rows.windows_s,
            rows.identities,
            batch.units[places],
            rows.metrics,
            rows.values,
            rows.events,
            rows.observed_at_ms,
        )
        for (
            row,
            offset,
            timestamp_ms,
            experiment,
            variant,
            propensity,
            assigned_at_ms,
            window_s,
            identity,
            unit,
            metric,
            value,
            event,
            observed_at_ms,
        ) in zip(*(column.tolist() for column in columns), strict=True):
            try:
                ledger = self._touched.get(experiment) or self._ledger(experiment)
                name = rows.names[metric]
                is_known = name in ledger.salts
                if not is_known:
                    _check_room(ledger, name, identity)
                measurement = ledger.measurement
                if measurement is not None:
                    measurement.check(name, value)
                before = ledger.window.observe(
                    assigned_at_ms, window_s, unit, event, value, timestamp_ms - CLOCK_SKEW_MS
                )
                builder = ledger.builder
                if before is SEEN:
                    if offset > builder.folded:
                        builder.add_duplicate(offset)
                    continue
                if not is_known:
                    _open_metric(ledger, name, identity)
                if offset > builder.folded:
                    key = (variant, propensity, name)
                    if before is not None:
                        events = ledger.window.events
                        builder.add_events(events, is_full=events == MAX_EVENTS)
                    if measurement is None:
                        builder.add_value(offset, key, before, value, observed_at_ms)
                    else:
                        counted = Counted(
                            offset,
                            key,
                            before,
                            value,
                            observed_at_ms,
                            None,
                            identity,
                            assigned_at_ms,
                            window_s,
                        )
                        measurement.count(builder, ledger.window, counted)
            except Exception as error:  # noqa: BLE001 - one event's must not cost the others
                self._refused(ledger, offset, error)
                yield row, (refusal(0, error),)

    def take_misplaced(self) -> list[Misplaced]:
        """Return what belongs into other partitions, of the records folded since the last call."""
        found, self._misplaced = self._misplaced, []
        return found

    def _homes(self, observations: Sequence[Observation | EventError]) -> list[int]:
        """Return the partitions that observations belong into; this one of what is an error."""
        if self._partitions is None:
            return [self._partition] * len(observations)
        if not any(isinstance(each, EventError) for each in observations):
            texts = [each.assignment_id.encode() for each in observations]  # type: ignore[union-attr]
            return partitions_of(texts, self._partitions)
        homes = [self._partition] * len(observations)
        good = [n for n, each in enumerate(observations) if isinstance(each, Observation)]
        found = self._homes([observations[n] for n in good])
        for n, home in zip(good, found, strict=True):
            homes[n] = home
        return homes

    def _claim(
        self, observation: Observation | EventError, *, is_here: bool
    ) -> Claim | Observation | Exception:
        """Return an observation with what its receipt claims, or what is wrong with either.

        One that belongs elsewhere is returned as it is, once its receipt is known to be genuine.
        """
        if isinstance(observation, EventError):
            return observation
        try:
            receipt, identity = self._open(observation.assignment_id)
        except Exception as error:  # noqa: BLE001 - one event's must not cost the others
            return error
        if not is_here:
            return observation
        experiment = receipt.experiment
        if experiment in self._ended:
            return archived(experiment)
        ledger = self._touched.get(experiment) or self._ledger(experiment)
        return Claim(observation, receipt, identity, ledger)

    def _count(self, offset: int, claim: Claim, timestamp_ms: int) -> None:
        observation, receipt, identity, ledger = claim
        text = observation.assignment_id
        vector = None if len(text) == RECEIPT_LENGTH else unpack(features_of(text))
        _, variant, propensity, _, assigned_at_ms, _, window_s = receipt
        observed_at_ms = observation.observed_at_ms
        if observed_at_ms is None:
            observed_at_ms = timestamp_ms
        check_attribution(receipt, observed_at_ms)
        # What claims to be of a time that has not come moves no clock.
        observed_at_ms = min(observed_at_ms, timestamp_ms + CLOCK_SKEW_MS)
        metric, value, event_id = observation.metric, observation.value, observation.event_id
        salt = ledger.salts.get(metric)
        if salt is None:
            _check_room(ledger, metric, identity)
        measurement = ledger.measurement
        if measurement is not None:
            measurement.check(metric, value)
        try:
            before = ledger.window.observe(
                assigned_at_ms,
                window_s,
                (identity ^ (salt or _hash(metric))) & KEY_MASK,
                0 if event_id is None else _hash(event_id),
                value,
                timestamp_ms - CLOCK_SKEW_MS,
            )
        except EventError as error:
            self._refused(ledger, offset, error)
            raise
        builder = ledger.builder
        if before is SEEN:
            if offset > builder.folded:
                builder.add_duplicate(offset)
            return
        if salt is None:
            _open_metric(ledger, metric, identity)
        if offset > builder.folded:
            key = (variant, propensity, metric)
            if before is not None:
                events = ledger.window.events
                builder.add_events(events, is_full=events == MAX_EVENTS)
            if measurement is None:
                builder.add_value(offset, key, before, value, observed_at_ms, vector)
            else:
                counted = Counted(
                    offset,
                    key,
                    before,
                    value,
                    observed_at_ms,
                    vector,
                    identity,
                    assigned_at_ms,
                    window_s,
                )
                measurement.count(builder, ledger.window, counted)

    def _recall(self, ledger: Ledger) -> None:
        cell = ledger.builder.cell
        tallies = () if cell is None else cell.variants.values()
        for metric in sorted({metric for tally in tallies for metric in tally.metrics}):
            # A cell may be ahead of the log, and the marks are not: so it is decided again, and as
            # before, which metrics had a place when.
            opener = ledger.window.marked(_hash(metric))
            if opener is not None:
                ledger.salts[metric] = _hash(metric)
                ledger.openers[metric] = opener

    def _follow(self, ledger: Ledger, plan: Plan) -> None:
        super()._follow(ledger, plan)
        ledger.salts.update((metric, _hash(metric)) for metric in plan.declared)
        if not plan.is_sums_alone:
            salts = {metric: _hash(metric) for pair in plan.pairs for metric in pair}
            ledger.measurement = Measurement(plan, salts)


class Claim(NamedTuple):
    """An observation, what its receipt says and stands for, and what is known of the experiment."""

    observation: Observation
    receipt: Receipt
    identity: int
    ledger: Ledger


def _check_room(ledger: Ledger, metric: str, identity: int) -> None:
    """Refuse a metric that is neither declared nor counted yet, if there is no place for it.

    Raises:
        EventError: all places are taken, or the assignment has brought as many metrics as it may
            (`TOO_MANY_METRICS`).
    """
    places = _places(0 if ledger.plan is None else ledger.plan.n_variants)
    if len(ledger.salts) >= places:
        raise EventError(
            "TOO_MANY_METRICS",
            f"the experiment has {len(ledger.salts)} metrics, at most {places} with those that are "
            f"not declared, and {quoted(metric)} is none of them",
            "metric",
        )
    if list(ledger.openers.values()).count(identity & KEY_MASK) >= MAX_OPENED:
        raise EventError(
            "TOO_MANY_METRICS",
            f"{quoted(metric)} is not declared, and this assignment was the first with "
            f"{MAX_OPENED} such metrics",
            "metric",
        )


def _places(n_variants: int) -> int:
    """Return how many metrics an experiment has place for before one is refused.

    >>> _places(2), _places(42), _places(256), _places(0)
    (64, 64, 10, 64)
    """
    if not n_variants:
        return MAX_METRICS
    return min(MAX_METRICS, MAX_CELL_METRICS // (PHASES * n_variants))


def _open_metric(ledger: Ledger, metric: str, identity: int) -> None:
    """Give a place to a metric that is not declared, for an observation that counts."""
    salt = ledger.salts[metric] = _hash(metric)
    ledger.openers[metric] = identity & KEY_MASK
    ledger.window.mark(salt, identity & KEY_MASK)


def hash_events(event_ids: Sequence[bytes]) -> NDArray[np.uint64]:
    """Return what stands for event ids in UTF-8, in 1..KEY_MASK; 0 for an empty one: there is none.

    All digests become numbers at once: 0.23 us each instead of 0.34.
    """
    digests = []
    for event_id in event_ids:
        state = _BLANK.copy()
        state.update(event_id)
        digests.append(state.digest())
    hashes = np.frombuffer(b"".join(digests), ">u8").astype(np.uint64) & np.uint64(KEY_MASK)
    given = np.fromiter(map(bool, event_ids), np.bool_, len(event_ids))
    numbers: NDArray[np.uint64] = np.where(given, np.maximum(hashes, 1), 0).astype(np.uint64)
    return numbers


def _hash(text: str) -> int:
    state = _BLANK.copy()
    state.update(text.encode())
    return int.from_bytes(state.digest(), "big") & KEY_MASK or 1  # 0 stands for no hash
