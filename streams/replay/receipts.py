"""First receipts from the log: what Redis held before it was emptied, byte for byte.

An impression holds all that its receipt says, and the text of a receipt follows from that and the
key that signs. Impressions of one unit are in one partition, so the first of them there is its
first; the same unit assigned again has the same receipt. Only what a unit may need again is read:
receipts of experiments that are not archived, and of those the ones that the hash alone would not
give again: `is_remembered`, those of two ids, and, from the first one on that was drawn from a set
of eligible variants, all of its experiment.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence

import orjson

from schemas import catalogue
from streams.experiments.assignment import is_remembered
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.promotion_state import Phase
from streams.kafka.records import LogSource
from streams.model.errors import EventError
from streams.model.events import ALIASES, ImpressionGroup
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import excluded_variants
from streams.projection.receipts import Place
from streams.replay.history import history_of
from streams.replay.partitions import Inputs, Reading
from streams.wire.batch_tags import authenticated
from streams.wire.impressions import decode_impression_batch

CHUNK = 2_000
"""Receipts that are kept together: a few milliseconds of Redis."""

_MAX_SEEN = 1_000_000
"""Units of a partition whose repeated impressions are passed by, in memory."""

_NO_ALIASES: tuple[int, ...] = ()


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
    """

    def __init__(self, source: LogSource, inputs: Inputs) -> None:
        self.impressions = 0
        self._source = source
        self._inputs = inputs
        self._keyring = Keyring.parse(inputs.receipt_keys)
        self._ends: dict[int, int] = {}
        self.aliased: set[str] = set()
        self.chosen_from_sets: set[str] = set()

    def new(self) -> Generator[dict[Place, bytes], None, None]:
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
            for partition, span in sorted(reading.spans(topic).items()):
                begin = max(span.begin, self._ends.get(partition, 0))
                chunk: dict[Place, bytes] = {}
                seen: set[Place] = set()
                for records in reading.read(topic, partition, begin, span.end):
                    for record in records:
                        self._take(partition, record.value, reading, experiments, chunk, seen)
                        if len(chunk) >= CHUNK:
                            yield chunk
                            chunk = {}
                    # Also if it is empty: the caller renews its lease from time to time.
                    yield chunk
                    chunk = {}
                self._ends[partition] = max(begin, span.end)

    def _take(
        self,
        partition: int,
        value: bytes | None,
        reading: Reading,
        experiments: Mapping[int, Experiment],
        chunk: dict[Place, bytes],
        seen: set[Place],
    ) -> None:
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
            if experiment is None or not group.repeatable:
                continue
            for place, receipt in _receipts(group, experiment, self.aliased, self.chosen_from_sets):
                if place in seen:
                    continue
                if len(seen) >= _MAX_SEEN:
                    seen.clear()
                seen.add(place)
                chunk.setdefault(place, self._keyring.sign_bytes(receipt))


def _assigning(reading: Reading) -> dict[int, Experiment]:
    """Return the experiments whose units may come again, as the commands have left them."""
    history = history_of(reading.all(catalogue.COMMANDS.name), reading.codec)
    newest = {number: states[max(states)].experiment for number, states in history.states.items()}
    return {
        number: experiment
        for number, experiment in newest.items()
        if experiment.started_at_ms is not None and experiment.status is not Status.ARCHIVED
    }


def _receipts(
    group: ImpressionGroup,
    experiment: Experiment,
    aliased: set[str],
    chosen_from_sets: set[str],
) -> Iterator[tuple[Place, Receipt]]:
    """Yield where the receipts of a group are kept, and what they say.

    Args:
        group: The group.
        experiment: Its experiment.
        aliased, chosen_from_sets: As of `ReceiptLog`; to be added to.
    """
    n_variants = len(experiment.definition.variants)
    window_s = experiment.definition.config.attribution_window
    remembered = {phase: is_remembered(experiment, phase) for phase in Phase}
    for row, (unit, variant) in enumerate(zip(group.units, group.variants, strict=True)):
        aliases = _aliases(group.contexts, row)
        phase = variant // n_variants
        if phase not in remembered:
            continue
        weights = group.weights[row] if group.weights else b""
        propensity = group.propensities[row]
        if phase == Phase.TRIAL and excluded_variants(variant, propensity, weights, n_variants):
            chosen_from_sets.add(experiment.id)
        if aliases:
            aliased.add(experiment.id)
        is_kept = remembered[Phase(phase)] or aliases or experiment.id in chosen_from_sets
        if not is_kept:
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
        )
        for each in (unit, *aliases):
            yield Place(experiment.id, phase, each), receipt


def _aliases(contexts: Sequence[str], row: int) -> Sequence[int]:
    if not contexts or ALIASES not in contexts[row]:
        return _NO_ALIASES
    try:
        found = orjson.loads(contexts[row])[ALIASES]
        return [int(text, 16) & (1 << 64) - 1 for text in found]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return _NO_ALIASES  # a feature of that name
