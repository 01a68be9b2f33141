"""First receipts from the log: what Redis held before it was emptied, byte for byte.

An impression holds all that its receipt says, and the text of a receipt follows from that and the
key that signs. Impressions of one unit are in one partition, so the first of them there is its
first; the same unit assigned again has the same receipt. Only what a unit may need again is read:
receipts of experiments that are not archived, and of those the ones that the hash alone would not
give again: `is_remembered`, all of experiments in which units have two ids, and, from the first one
on that was drawn from a set of eligible variants, all of its experiment.

A second id of a unit is named by impressions of the first, which are in another partition than its
own ones. So the log is read once more where there are any: the receipt of an id is the one that was
logged first, as its own or as that of its other id.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import orjson

from schemas import catalogue
from streams.experiments.first_receipts import is_remembered
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.promotion_state import Phase
from streams.kafka.records import LogSource
from streams.model.errors import EventError
from streams.model.events import ALIASES, ImpressionGroup
from streams.model.ids import MAX_VARIANTS
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import excluded_variants
from streams.projection.receipts import ReceiptPlace
from streams.replay.history import history_of
from streams.replay.partitions import FoldInputs, LogReading
from streams.wire.batch_tags import authenticated
from streams.wire.impressions import decode_impression_batch

CHUNK = 2_000
"""Receipts that are kept together: a few milliseconds of Redis."""

_MAX_SEEN = 1_000_000
"""Units of a partition whose repeated impressions are skipped, in memory."""

_MAX_LINKS = 2_000_000
"""Second ids that are in memory at a time; what is beyond has the first receipt that is read."""

_NO_ALIASES: tuple[int, ...] = ()

Moment = tuple[int, int, int]
"""Place of a record in the order of the log: timestamp, partition and offset."""


class _Found(NamedTuple):
    """A receipt in the log.

    Attributes:
        place: Of the unit itself.
        aliases: Unit hashes of its other ids.
        receipt: What it says.
        is_kept: Whether it is kept whether or not units of its experiment have two ids.
    """

    place: ReceiptPlace
    aliases: Sequence[int]
    receipt: Receipt
    is_kept: bool


class _Link(NamedTuple):
    """The receipt that a second id got by an impression of the first.

    Attributes:
        at: When that was logged.
        receipt: Its bytes.
    """

    at: Moment
    receipt: bytes


class ReceiptLog:
    """First receipts of units, each time from where the log was read to before.

    Args:
        source: The log.
        inputs: Keys that sign, and what decodes records.

    Attributes:
        impressions: Impressions read so far.
        aliased: Ids of the experiments in which units have two ids, so far.
        chosen_from_sets: Ids of the experiments in which variants were drawn from eligible sets, so
            far.
        displaced: By second id, its own receipt that was yielded, and the one it has instead as
            that was logged before.
    """

    def __init__(self, source: LogSource, inputs: FoldInputs) -> None:
        self.impressions = 0
        self._source = source
        self._inputs = inputs
        self._keyring = Keyring.parse(inputs.receipt_keys)
        self._ends: dict[int, int] = {}
        self.aliased: set[str] = set()
        self.chosen_from_sets: set[str] = set()
        self.displaced: dict[ReceiptPlace, tuple[bytes, bytes]] = {}
        self._left_out: set[str] = set()

    def new(self) -> Generator[dict[ReceiptPlace, bytes], None, None]:
        """Yield receipts of units, in the order of their partition; the first of a unit holds.

        Raises:
            LogError: records were deleted while they were read.
            DependencyError: Kafka or the schema registry does not answer.
        """
        topic = catalogue.IMPRESSIONS.name
        with self._inputs.reading(self._source) as reading:
            experiments = _assigning(reading)
            for number, experiment in experiments.items():
                self._keyring.sign_with(number, experiment.definition.config.receipt_key)
            begins = {
                partition: (max(span.begin, self._ends.get(partition, 0)), span.end)
                for partition, span in sorted(reading.spans(topic).items())
            }
            links: dict[ReceiptPlace, _Link] = {}
            for partition, (begin, end) in begins.items():
                chunk: dict[ReceiptPlace, bytes] = {}
                seen: set[ReceiptPlace] = set()
                for at, found in self._read(reading, partition, begin, end, experiments):
                    for each in found or ():
                        if each.is_kept:
                            self._take(each, chunk, seen)
                        for unit in each.aliases:
                            place = each.place._replace(unit=unit)
                            if len(links) < _MAX_LINKS:
                                known = links.get(place)
                                if known is None or at < known.at:
                                    links[place] = _Link(at, self._signed(each))
                            else:
                                chunk.setdefault(place, self._signed(each))
                    # Also if it is empty: the caller renews its lease from time to time.
                    if found is None or len(chunk) >= CHUNK:
                        yield chunk
                        chunk = {}
                yield chunk
            if links or self._left_out & self.aliased:
                yield from self._linked(reading, begins, experiments, links)
            self._ends.update({partition: end for partition, (_, end) in begins.items()})

    def _linked(
        self,
        reading: LogReading,
        begins: Mapping[int, tuple[int, int]],
        experiments: Mapping[int, Experiment],
        links: dict[ReceiptPlace, _Link],
    ) -> Generator[dict[ReceiptPlace, bytes], None, None]:
        """Yield the receipts of second ids, and all others of their experiments.

        Args:
            reading: The log.
            begins: Where each partition was read, from and to.
            experiments: As in `_read`.
            links: Receipts of second ids; to be emptied.
        """
        read = self.impressions
        for partition, (begin, end) in begins.items():
            chunk: dict[ReceiptPlace, bytes] = {}
            seen: set[ReceiptPlace] = set()
            for at, found in self._read(reading, partition, begin, end, experiments):
                for each in found or ():
                    if each.place.experiment_id not in self.aliased or each.place in seen:
                        continue
                    link = links.get(each.place)
                    if link is not None and link.at < at:
                        self._note(each.place, seen)
                        if each.is_kept and (own := self._signed(each)) != link.receipt:
                            self.displaced.setdefault(each.place, (own, link.receipt))
                        continue
                    links.pop(each.place, None)
                    if each.place.experiment_id in self._left_out:
                        self._take(each, chunk, seen)
                    else:  # it was yielded when the log was read first
                        self._note(each.place, seen)
                if found is None or len(chunk) >= CHUNK:
                    yield chunk
                    chunk = {}
            yield chunk
        self.impressions = read
        while links:
            some = list(islice(links, CHUNK))
            yield {place: links.pop(place).receipt for place in some}

    def _take(
        self, found: _Found, chunk: dict[ReceiptPlace, bytes], seen: set[ReceiptPlace]
    ) -> None:
        """Add the receipt of a unit to a chunk, unless an earlier one of its partition was."""
        if found.place not in seen:
            self._note(found.place, seen)
            chunk.setdefault(found.place, self._signed(found))

    def _note(self, place: ReceiptPlace, seen: set[ReceiptPlace]) -> None:
        if len(seen) >= _MAX_SEEN:
            seen.clear()
        seen.add(place)

    def _signed(self, found: _Found) -> bytes:
        return self._keyring.sign_bytes(found.receipt)

    def _read(
        self,
        reading: LogReading,
        partition: int,
        begin: int,
        end: int,
        experiments: Mapping[int, Experiment],
    ) -> Iterator[tuple[Moment, Iterator[_Found] | None]]:
        """Yield the receipts of each record of a partition, and None after a batch of records."""
        topic = catalogue.IMPRESSIONS.name
        for records in reading.read(topic, partition, begin, end):
            for record in records:
                at = record.timestamp, partition, record.offset
                yield at, self._found(partition, record.value, reading, experiments)
            yield (0, partition, begin), None

    def _found(
        self,
        partition: int,
        value: bytes | None,
        reading: LogReading,
        experiments: Mapping[int, Experiment],
    ) -> Iterator[_Found]:
        try:
            batch = decode_impression_batch(value, reading.codec)
            assert value is not None  # noqa: S101 - it has been decoded
            # A receipt is signed again only for what a process with a key has logged.
            authenticated(self._keyring, catalogue.IMPRESSIONS.name, partition, value, batch)
        except EventError:
            return  # a dead letter
        for group in batch.groups:
            self.impressions += len(group.units)
            experiment = experiments.get(group.experiment)
            if experiment is not None and group.repeatable:
                yield from self._receipts(group, experiment)

    def _receipts(self, group: ImpressionGroup, experiment: Experiment) -> Iterator[_Found]:
        """Yield the receipts of a group, and note what is known by it of its experiment."""
        n_started = experiment.n_started
        window_s = experiment.definition.config.attribution_window
        remembered = {phase: is_remembered(experiment, phase) for phase in Phase}
        for row, (unit, variant) in enumerate(zip(group.units, group.variants, strict=True)):
            aliases = _aliases(group.contexts, row)
            phase = variant // MAX_VARIANTS
            if phase not in remembered:
                continue
            weights = group.weights[row] if group.weights else b""
            propensity = group.propensities[row]
            if phase == Phase.TRIAL and excluded_variants(variant, propensity, weights, n_started):
                self.chosen_from_sets.add(experiment.id)
            if aliases:
                self.aliased.add(experiment.id)
            is_kept = remembered[Phase(phase)] or experiment.id in self.chosen_from_sets
            if not is_kept:
                self._left_out.add(experiment.id)
                if experiment.id not in self.aliased:
                    continue
            receipt = Receipt(
                group.experiment,
                variant,
                propensity,
                group.allocation_versions[row],
                group.assigned_at_ms[row],
                unit,
                window_s,
                weights,
                group.features[row] if group.features else b"",
                group.dimensions[row] if group.dimensions else b"",
            )
            yield _Found(ReceiptPlace(experiment.id, phase, unit), aliases, receipt, is_kept)


def _assigning(reading: LogReading) -> dict[int, Experiment]:
    """Return the experiments whose units may come again, as the commands have left them."""
    history = history_of(reading)
    newest = {number: states[max(states)].experiment for number, states in history.states.items()}
    return {
        number: experiment
        for number, experiment in newest.items()
        if experiment.started_at_ms is not None and experiment.status is not Status.ARCHIVED
    }


def _aliases(contexts: Sequence[str], row: int) -> Sequence[int]:
    if not contexts or ALIASES not in contexts[row]:
        return _NO_ALIASES
    try:
        found = orjson.loads(contexts[row])[ALIASES]
        return [int(text, 16) & (1 << 64) - 1 for text in found]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return _NO_ALIASES  # a feature of that name
