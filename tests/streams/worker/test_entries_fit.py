"""Results of a record fit their topic, or are refused as that record's outcome."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalogue import EVENT_BYTES, STATE_BYTES
from streams.experiments.definition import MAX_CONFIG_DEPTH, MAX_SLICED
from streams.experiments.dimensions import MAX_VALUES
from streams.experiments.promotion_state import Phase
from streams.fold import experiment_state as module
from streams.fold.batch_sequences import MAX_GAPS_OF_ALL, MAX_SENDERS, SequenceGuard
from streams.fold.dead_letters import dead_letters
from streams.fold.deduplication import DeduplicationWindow
from streams.fold.metric_slots import PHASES, slots_of
from streams.fold.refusals import Refusal, by_code
from streams.fold.writable import MAX_ENTRY_BYTES
from streams.model.dimensions import MAX_DIMENSIONS, Slice
from streams.model.errors import EventError
from streams.model.events import Command, CommandKind, DeadLetter
from streams.model.variant_weights import MAX_WEIGHED
from streams.tallies.cell import (
    METRIC_FIELDS,
    BySlice,
    Cell,
    MetricTally,
    SliceTally,
    Source,
    VariantTally,
)
from streams.tallies.pair_sums import pack_pairs
from streams.tallies.plan import MAX_DECLARED, MAX_PAIR_SUMS, Plan
from streams.targeting.rule import MAX_DEPTH
from streams.wire.cells import encode_cell
from streams.wire.commands import encode_command
from streams.wire.dead_letters import decode_dead_letter, encode_dead_letter
from streams.wire.decisions import encode_decision
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.partition_processor import BatchOutcome, FoldPausedError
from tests.raw_commands import with_payload
from tests.streams.targeting.test_rule import nested
from tests.streams.worker.tables import table_of
from tests.streams.worker.test_experiment_stage import DEFINITION, Record

BY_PAIR = [each.name for each in METRIC_FIELDS.sums if each.is_by_pair]
SUMS = [
    each.name
    for each in fields(MetricTally)
    if "total" in each.name or "weight" in each.name or "cross" in each.name
]
TOPIC, PARTITION, PARTITIONS, EXPERIMENT = "commands", 1, 2, 7
NOISY = '"\\\x1b\u20ac' * 250_000
deep: Any = {}
for _ in range(200):
    deep = {"x": deep}


def command(n: int, kind: str, payload: Any = None) -> Record:
    made = Command(f"{n:032x}", EXPERIMENT, CommandKind(kind), n, payload or {})
    return Record(n, encode_command(made))


def fold(stage: ExperimentsStage, *records: Record) -> BatchOutcome:
    outcome = stage.fold(TOPIC, PARTITION, cast(Any, records))
    for _, body in outcome.entries.values():
        assert len(body) <= MAX_ENTRY_BYTES
    for decision in outcome.decisions:
        assert len(encode_decision(decision)) <= EVENT_BYTES - 4_096
    for letter in outcome.dead_letters:
        assert len(encode_dead_letter(letter)) <= STATE_BYTES - 4_096
    return outcome


def started() -> ExperimentsStage:
    stage = ExperimentsStage(TOPIC, PARTITIONS)
    fold(stage, command(0, "create", DEFINITION), command(1, "start"))
    return stage


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        ("conclude", {"winnerVariantId": "v" * 900_000}, "UNKNOWN_VARIANT"),
        ("conclude", {"winnerVariantId": ["v" * 900_000]}, "UNKNOWN_VARIANT"),
        ("conclude", {NOISY[:300_000]: 1}, "UNKNOWN_FIELD"),
        ("conclude", {"because": {"x": NOISY[:200_000]}, "controlShare": 2}, "OUT_OF_RANGE"),
        ("conclude", {"because": "x" * 900_000}, "WRONG_TYPE"),
        ("update", {"minSampleSize": "9" * 900_000}, "WRONG_TYPE"),
        ("create", DEFINITION, "EXPERIMENT_EXISTS"),
    ],
)
def test_refusals_of_large_commands_are_small(kind, payload, code):
    stage = started()
    records = [command(n, kind, payload) for n in range(2, 80)]

    outcome = fold(stage, *records)

    assert {answer.code for answer in outcome.answers} == {code}
    [(_, body)] = outcome.entries.values()
    assert len(body) < 150_000
    assert sum(len(encode_decision(each)) for each in outcome.decisions) < 78 * 2_000
    assert fold(stage, command(90, "pause")).answers[0].accepted


def test_a_reason_that_is_too_large_is_left_out_of_the_decision():
    because = {"evidence": "x" * 900_000, "reason": "late"}

    outcome = fold(started(), command(2, "conclude", {"because": because}))

    [decision] = outcome.decisions
    assert outcome.answers[0].accepted
    assert decision.evidence["omitted"] == ["because"]
    assert "because" not in decision.evidence


def test_a_payload_nested_too_deep_is_a_dead_letter():
    text = '{"because":' + "[" * 300 + "]" * 300 + "}"
    value = with_payload(
        Command(f"{2:032x}", EXPERIMENT, CommandKind.CONCLUDE, 2, {}), text.encode()
    )
    stage = started()

    outcome = fold(stage, Record(2, value), command(3, "pause"))

    assert [letter.code for letter in outcome.dead_letters] == ["TOO_DEEP"]
    assert [answer.accepted for answer in outcome.answers] == [True]


def test_a_definition_as_deep_as_it_may_be_is_within_the_depth_of_records():
    config: Any = 1
    for _ in range(MAX_CONFIG_DEPTH - 1):
        config = {"x": config}
    payload = {
        "config": DEFINITION["config"] | {"targeting": nested(MAX_DEPTH)},
        "variants": [DEFINITION["variants"][0], {"name": "b", "config": config}],
    }
    stage = ExperimentsStage(TOPIC, PARTITIONS)

    outcome = fold(stage, command(0, "create", payload))

    assert [answer.accepted for answer in outcome.answers] == [True]
    again = ExperimentsStage(TOPIC, PARTITIONS)
    again.restore(PARTITION, table_of(PARTITION, outcome.entries))
    assert fold(again, command(1, "start")).answers[0].accepted


@pytest.mark.parametrize(
    "config",
    [
        {"numbers": [1e15] * 100_000},  # four characters of the command, nineteen of the entry
        {"text": "x" * 1_000_000},
    ],
)
def test_a_definition_that_is_too_large_is_refused(config):
    variants = [DEFINITION["variants"][0], {"name": "b", "config": config}]
    payload = json.dumps(DEFINITION | {"variants": variants}).replace("1000000000000000.0", "1e15")
    value = with_payload(
        Command(f"{0:032x}", EXPERIMENT, CommandKind.CREATE, 0, {}), payload.encode()
    )
    stage = ExperimentsStage(TOPIC, PARTITIONS)

    outcome = fold(stage, Record(0, value))

    assert [answer.code for answer in outcome.answers] == ["DEFINITION_TOO_LARGE"]
    assert not outcome.entries


@pytest.mark.parametrize("name", ["encode_stored", "encode_decision"])
def test_what_cannot_be_encoded_is_an_outcome_of_its_command(monkeypatch, name):
    stage = started()
    before = replace(cast(Any, stage.known(PARTITION, EXPERIMENT)))
    encode = getattr(module, name)

    def fail(*args: Any) -> bytes:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(module, name, fail)
    outcome = fold(stage, command(2, "pause"))
    monkeypatch.setattr(module, name, encode)

    assert [letter.code for letter in outcome.dead_letters] == ["ENCODING_FAILED"]
    assert [(answer.accepted, answer.code) for answer in outcome.answers] == [
        (False, "ENCODING_FAILED")
    ]
    assert stage.known(PARTITION, EXPERIMENT) == before
    assert fold(stage, command(3, "pause")).answers[0].accepted


def test_an_entry_that_is_too_large_is_an_outcome_of_its_command(monkeypatch):
    stage = started()
    monkeypatch.setattr(module, "encode_stored", lambda _: bytes(MAX_ENTRY_BYTES + 1))

    outcome = fold(stage, command(2, "pause"))

    assert [answer.code for answer in outcome.answers] == ["ENTRY_TOO_LARGE"]
    assert [letter.code for letter in outcome.dead_letters] == ["ENTRY_TOO_LARGE"]


def test_a_paused_fold_goes_on_where_it_stopped():
    stage = ExperimentsStage(TOPIC, PARTITIONS)
    records = [command(0, "create", DEFINITION), command(1, "start"), command(2, "pause")]
    pauses = 0
    while True:
        try:
            outcome = stage.fold(TOPIC, PARTITION, cast(Any, records), lambda: True)
            break
        except FoldPausedError:
            pauses += 1

    assert pauses == 2
    assert [answer.status for answer in outcome.answers] == ["draft", "running", "paused"]
    again = ExperimentsStage(TOPIC, PARTITIONS)
    again.restore(PARTITION, table_of(PARTITION, outcome.entries))
    assert again.known(PARTITION, EXPERIMENT) == stage.known(PARTITION, EXPERIMENT)


text = st.text(max_size=300) | st.sampled_from(["\ud800", "\x1b" * 5_000, "€" * 5_000])


@settings(max_examples=60, deadline=None)
@given(
    size=st.sampled_from([0, 1, 65_535, 65_536, 65_537, 17 * 2**20]),
    key=st.none() | st.sampled_from([b"", b"k" * 1_024, b"k" * 1_025, b"k" * 900_000]),
    code=st.sampled_from(["A", "B" * 60]),
    message=text,
    path=text,
    step=st.integers(1, 3),
)
def test_a_dead_letter_fits_whatever_its_record_was(size, key, code, message, path, step):
    value = bytes(size)
    record = Record(5, value, key=key)
    error = EventError(code, message, path)
    refusals = by_code([Refusal(index, error) for index in range(0, 10_000, step)])

    [letter] = dead_letters(cast(Any, record), refusals)
    encoded = encode_dead_letter(letter)

    assert len(encoded) < 120_000
    assert decode_dead_letter(encoded) == letter
    assert list(letter.indexes) == list(range(0, 10_000, step))
    assert letter.is_whole == (size <= 65_536 and (key is None or len(key) <= 1_024))


def test_only_the_first_letter_of_a_record_has_its_value():
    refusals = by_code([Refusal(0, EventError("A", "")), Refusal(1, EventError("B", ""))])

    first, second = dead_letters(cast(Any, Record(5, b"value")), refusals)

    assert (first.value, second.value) == (b"value", None)
    assert first.value_sha256 == second.value_sha256
    assert isinstance(second, DeadLetter)


def test_the_progress_of_many_senders_with_many_gaps_fits():
    guard = SequenceGuard()
    for gap in range(40):
        for sender in range(MAX_SENDERS):
            guard.admit(sender, 0, 2 * gap + 1)
    again = SequenceGuard.decode(guard.encode())

    assert len(guard.encode()) <= 16 * MAX_GAPS_OF_ALL + 30 * MAX_SENDERS + 2 < 350_000
    assert again == guard
    for sender in range(MAX_SENDERS):  # both give up the same, however they came to be
        assert again.admit(sender, 0, 99) == guard.admit(sender, 0, 99)
    assert again == guard


def test_segments_of_a_window_fit():
    window = DeduplicationWindow(1, 100_000)
    for unit in range(100_000):
        window.observe(5, 60, unit + 1, unit + 7, 1 << 40, 5)

    segments, _ = window.take(9)

    assert max(len(segment.body) for segment in segments) < 1_048_576


def test_what_is_remembered_of_64_refusals_is_bounded():
    stage = started()
    worst = {"winnerVariantId": "\x00" * 100}
    outcome = fold(stage, *(command(n, "conclude", worst) for n in range(2, 70)))
    [(_, body)] = outcome.entries.values()

    assert len(orjson.loads(body)["answers"]) == 64
    assert len(body) < 150_000


def test_the_largest_cell_with_sums_by_pair_fits():
    """Of 16 variants and all metrics that can be declared, beside those that senders invent."""
    plan = Plan(declared=frozenset(map(str, range(MAX_DECLARED))), n_variants=MAX_WEIGHED)
    sums: Any = {name: 1 << 200 for name in SUMS if name not in BY_PAIR}
    plain = replace(MetricTally(1 << 40, 1 << 40), **sums)
    by_pair: Any = dict.fromkeys(BY_PAIR, pack_pairs([1 << 200] * MAX_WEIGHED))
    names = [f"{'m' * 60}{number:04}" for number in range(slots_of(MAX_WEIGHED))]
    declared = dict.fromkeys(names[:MAX_DECLARED], replace(plain, **by_pair))
    metrics = dict.fromkeys(names, plain)
    trial = VariantTally(overlap=pack_pairs([1 << 200] * MAX_WEIGHED), metrics=metrics | declared)
    cell = Cell(
        experiment=1,
        source=Source.OBSERVATIONS,
        partition=0,
        last_offset=1 << 40,
        first_at_ms=1 << 41,
        last_at_ms=1 << 41,
        duplicates=1 << 40,
        variants={
            index: trial if index < MAX_WEIGHED else VariantTally(metrics=metrics)
            for index in range(PHASES * MAX_WEIGHED)
        },
    )

    assert plan.n_compared == MAX_WEIGHED
    assert MAX_WEIGHED**2 * MAX_DECLARED <= MAX_PAIR_SUMS
    assert len(encode_cell(cell)) <= MAX_ENTRY_BYTES * 3 // 4


def test_sums_by_pair_are_kept_where_they_fit():
    names = frozenset(map(str, range(MAX_DECLARED)))
    few = frozenset(["0", "1", "2", "3"])

    assert Plan(declared=names, n_variants=17).n_compared == 0
    assert Plan(declared=names, n_variants=16, windows={"0": 60}).n_compared == 0
    assert Plan(declared=few, n_variants=16, windows=dict.fromkeys(few, 60)).n_compared == 16
    assert Plan(declared=names, n_variants=5, windows=dict.fromkeys(few, 60)).n_compared == 5


def test_the_largest_cell_that_invented_metrics_can_make_fits():
    """Of 256 variants in three phases, with amounts that no sender can exceed."""
    sums: Any = {name: 1 << 200 for name in SUMS if name not in BY_PAIR}
    metrics = {
        f"{'m' * 60}{number:04}": replace(MetricTally(1 << 40, 1 << 40), **sums)
        for number in range(slots_of(256))
    }
    cell = Cell(
        experiment=1,
        source=Source.OBSERVATIONS,
        partition=0,
        last_offset=1 << 40,
        first_at_ms=1 << 41,
        last_at_ms=1 << 41,
        duplicates=1 << 40,
        variants={index: VariantTally(metrics=metrics) for index in range(3 * 256)},
    )

    assert len(Phase) == PHASES
    assert len(encode_cell(cell)) <= MAX_ENTRY_BYTES


def largest_slices(n_variants: int, n_kept: int) -> BySlice:
    """Return as many slices as a definition may ask for, with amounts that no sender can exceed.

    Args:
        n_variants: Variants, of the last of which pairs are kept, which has the most digits.
        n_kept: Metrics kept of each, and the units.
    """
    has_pairs = n_variants <= MAX_WEIGHED
    packed = pack_pairs([1 << 200] * n_variants) if has_pairs else 0

    def by_pair(variant: int) -> int:
        digits = [
            1 << 200 if n_variants - 1 in {variant, other} or variant == other else 0
            for other in range(n_variants)
        ]
        return pack_pairs(digits) if has_pairs and variant < n_variants - 1 else packed

    def tally(variant: int) -> VariantTally:
        sums: Any = {name: 1 << 200 for name in SUMS if name not in BY_PAIR}
        sums |= dict.fromkeys(BY_PAIR, by_pair(variant))
        metric = replace(MetricTally(1 << 40, 1 << 40), **sums)
        metrics = {f"{'m' * 60}{number:04}": metric for number in range(n_kept - 1)}
        overlap = by_pair(variant)
        return VariantTally(1 << 40, 1 << 80, 1 << 120, overlap, overlap, metrics=metrics)

    variants = {index: tally(index) for index in range(n_variants)}
    n_slices = min(MAX_SLICED // (n_variants * n_kept), MAX_DIMENSIONS * (1 + MAX_VALUES))
    return {
        Slice(*divmod(place, 1 + MAX_VALUES)): SliceTally(variants, (1 << 40,) * n_variants)
        for place in range(n_slices)
    }


@pytest.mark.parametrize("n_kept", [2, 6, 17])
@pytest.mark.parametrize("n_variants", [2, 10, MAX_WEIGHED, MAX_WEIGHED + 1, 200])
def test_the_largest_slices_fit_beside_the_largest_cell(n_variants: int, n_kept: int) -> None:
    """Beside all metrics that can be declared by pair, and those that senders invent."""
    plan = Plan(declared=frozenset(map(str, range(MAX_DECLARED))), n_variants=n_variants)
    sums: Any = {name: 1 << 200 for name in SUMS if name not in BY_PAIR}
    plain = replace(MetricTally(1 << 40, 1 << 40), **sums)
    names = [f"{'m' * 60}{number:04}" for number in range(slots_of(n_variants))]
    by_pair: Any = dict.fromkeys(BY_PAIR, pack_pairs([1 << 200] * plan.n_compared))
    declared = dict.fromkeys(names[:MAX_DECLARED], replace(plain, **by_pair))
    trial = VariantTally(metrics=dict.fromkeys(names, plain) | declared)
    cell = Cell(
        experiment=1,
        source=Source.OBSERVATIONS,
        partition=0,
        last_offset=1 << 40,
        first_at_ms=1 << 41,
        last_at_ms=1 << 41,
        duplicates=1 << 40,
        variants=dict.fromkeys(range(n_variants), trial),
        slices=largest_slices(n_variants, n_kept),
    )

    assert len(encode_cell(cell)) <= MAX_ENTRY_BYTES
