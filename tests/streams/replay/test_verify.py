"""A replay equals the workers' state, however they divide the log into batches."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.analysis import reasons
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.fold.decisions import conclusion, recommended
from streams.fold.experiment_state import snapshot_of
from streams.kafka.records import LogError
from streams.model.events import CommandKind, Decision
from streams.model.ids import experiment_id
from streams.replay.verify import verify
from streams.tallies.cell import Cell, Source
from streams.wire.cells import decode_cell, encode_cell
from streams.wire.decisions import decode_decision, encode_decision
from streams.wire.snapshots import decode_snapshot, encode_snapshot
from streams.wire.time_points import decode_time_point, encode_time_point
from tests.streams.replay.memory import (
    CONTEXTUAL,
    EXPERIMENTS,
    INPUTS,
    PARTITIONS,
    Installation,
    installation,
)


def checked(made: Installation, **options):
    return verify(made.log, made.projection, INPUTS, **options)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), piece=st.integers(1, 50))
def test_any_batching_and_interleaving_is_equal(seed, piece):
    made = installation(seed)
    made.log.piece = piece

    report = checked(made)

    assert report.difference is None
    assert report.commands >= 9
    assert report.projected == report.experiments == 3
    assert report.snapshots >= 3


def test_contexts_are_in_what_is_compared_and_a_tampered_model_is_reported():
    made = installation(3)
    snapshot = made.redis[CONTEXTUAL]
    assert snapshot.model is not None
    assert any(len(row) == 4 and any(row[1:]) for row in snapshot.model.coefficients)
    model = replace(snapshot.model, noise=snapshot.model.noise + 1.0)
    made.redis[CONTEXTUAL] = replace(snapshot, model=model)

    difference = checked(made).difference

    assert (difference.place, difference.path) == ("redis", "model.noise")


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), restarted_after=st.integers(1, 59))
def test_workers_that_were_restarted_are_what_the_log_says_too(seed, restarted_after):
    report = checked(installation(seed, restarted_after=restarted_after))

    assert report.difference is None


def newest(made: Installation, topic: str, partition: int = 1):
    return made.log.topics[topic, partition][-1]


def test_a_tampered_cell_is_reported_at_its_path():
    made = installation(1)
    cell = decode_cell(newest(made, "tallies").value)
    index, variant = min(cell.variants.items())
    variants = {**cell.variants, index: replace(variant, weight=variant.weight + 1)}
    made.log.append("tallies", 1, encode_cell(replace(cell, variants=variants)))

    difference = checked(made).difference

    assert difference.path == f"variants[{index}].weight"
    assert int(difference.live) == int(difference.replayed) + 1
    assert difference.place.startswith("tallies/1@")
    others = [number for number in EXPERIMENTS if number != cell.experiment]
    assert checked(made, experiments=others).is_equal


def test_a_tampered_allocation_is_reported_at_its_path():
    made = installation(2)
    snapshot = decode_snapshot(newest(made, "posteriors").value)
    allocation = replace(snapshot.allocation, weights=(1, 65_535))
    made.log.append("posteriors", 1, encode_snapshot(replace(snapshot, allocation=allocation)))

    difference = checked(made).difference

    assert (difference.path, difference.live) == ("allocation.weights[0]", "1")


def test_a_tampered_point_of_a_time_series_is_reported_at_its_path():
    made = installation(2)
    assert checked(made).points > 0
    kept = [each for each in made.log.topics["timeseries", 1] if each.value]
    point = decode_time_point(kept[-1].value)
    first = replace(point.variants[0], assignments=point.variants[0].assignments + 1)
    other = replace(point, variants=(first, *point.variants[1:]))
    made.log.append("timeseries", 1, encode_time_point(other), kept[-1].key)

    difference = checked(made).difference

    assert difference.path == "variants[0].assignments"
    assert difference.subject.startswith(experiment_id(point.experiment))
    made.log.append("timeseries", 1, None, kept[-1].key)
    assert checked(made).is_equal


def test_points_of_another_generation_are_not_compared():
    made = installation(2)
    compared = checked(made).points
    kept = decode_time_point(made.log.topics["timeseries", 1][-1].value)
    other = replace(kept, generation=2, variants=())
    made.log.append("timeseries", 1, encode_time_point(other), b"exp/1")

    report = checked(made)

    assert (report.is_equal, report.points) == (True, compared)


def test_another_snapshot_in_redis_is_reported():
    made = installation(3)
    made.redis[7] = replace(made.redis[7], reason_code=ReasonCode.ROLLED_BACK)

    difference = checked(made).difference

    assert (difference.place, difference.path) == ("redis", "reason_code")
    assert difference.live == "ROLLED_BACK"


def published_again(made: Installation, snapshot: Snapshot) -> Installation:
    """Publish another snapshot of the version that was published last."""
    made.log.append("posteriors", 1, encode_snapshot(snapshot))
    made.redis[snapshot.experiment.number] = snapshot
    return made


def with_mean(snapshot: Snapshot, change: Callable[[float], float]) -> Snapshot:
    first, *others = snapshot.variants
    assert first.mean
    return replace(snapshot, variants=(replace(first, mean=change(first.mean)), *others))


def test_the_last_bit_of_a_float_is_no_difference_and_a_millionth_of_it_is_one():
    made = installation(2)
    snapshot = decode_snapshot(newest(made, "posteriors").value)

    rounded = with_mean(snapshot, lambda mean: math.nextafter(mean, math.inf))
    assert rounded != snapshot
    assert checked(published_again(made, rounded)).is_equal

    wrong = with_mean(snapshot, lambda mean: mean * (1.0 + 1e-6))
    difference = checked(published_again(made, wrong)).difference
    assert difference is not None
    assert difference.path == "variants[0].mean"


def test_an_integer_that_is_off_by_one_is_a_difference():
    made = installation(2)
    snapshot = decode_snapshot(newest(made, "posteriors").value)
    first, *others = snapshot.variants
    name, report = next(iter(first.metrics.items()))
    metrics = first.metrics | {name: replace(report, sum_micro=report.sum_micro + 1)}
    changed = replace(snapshot, variants=(replace(first, metrics=metrics), *others))

    difference = checked(published_again(made, changed)).difference

    assert difference is not None
    assert difference.path == f"variants[0].metrics.{name}.sum_micro"
    assert int(difference.live or 0) == int(difference.replayed or 0) + 1


def test_a_sentence_that_is_worded_otherwise_is_no_difference(monkeypatch):
    made = installation(2)
    snapshot = decode_snapshot(newest(made, "posteriors").value)
    before = reasons.reason(snapshot)
    others = dict.fromkeys(ReasonCode, lambda _: "Another sentence.")

    monkeypatch.setattr(reasons, "_SENTENCES", others)

    assert reasons.reason(snapshot) != before
    assert checked(made).is_equal


def test_a_snapshot_that_redis_lacks_is_reported():
    made = installation(3)
    del made.redis[8]

    difference = checked(made).difference

    assert (difference.place, difference.live) == ("redis", None)


def test_a_lost_decision_is_reported():
    made = installation(4)
    del made.log.topics["decisions", 0][4]

    difference = checked(made).difference

    assert (difference.place, difference.live) == ("decisions", None)
    assert "/command/" in difference.subject


def test_a_decision_that_was_made_twice_is_equal_and_another_is_not():
    made = installation(4)
    decision = decode_decision(made.log.topics["decisions", 0][1].value)
    made.log.append("decisions", 0, encode_decision(decision))
    assert checked(made).is_equal

    evidence = {**decision.evidence, "status": "archived"}
    made.log.append("decisions", 0, encode_decision(replace(decision, evidence=evidence)))

    difference = checked(made).difference
    assert (difference.path, difference.replayed) == ("evidence.status", "draft")


def test_a_command_that_no_worker_has_taken_yet_is_no_difference():
    made = installation(5)
    made.command(7, CommandKind.CONCLUDE)
    made.log.topics["decisions", 0].pop()

    assert checked(made).is_equal


def test_cells_that_lag_are_counted():
    made = installation(6)
    for source in Source:
        for partition in range(2):
            made.fold(source, partition, 1_000)
    for key in sorted(made.unsent):
        made.emit(key)
    assert checked(made).behind == 0

    made.log.topics["tallies", 1].pop()
    report = checked(made)

    assert report.is_equal
    assert report.behind == 1


@pytest.mark.parametrize(
    ("first", "last", "code"), [(1, None, "LOG_TRUNCATED"), (0, 2, "LOG_INCOMPLETE")]
)
def test_a_log_without_the_records_is_an_error(first, last, code):
    made = installation(7)
    made.log.first["impressions", 0] = first
    made.log.topics["impressions", 0] = made.log.topics["impressions", 0][:last]

    with pytest.raises(LogError) as raised:
        checked(made)

    assert (raised.value.code, raised.value.path) == (code, "impressions/0")


def with_second_generation(seed: int) -> Installation:
    """Return an installation with a copy of what it derives as the second generation."""
    made = installation(seed)
    for (topic, partition), records in list(made.log.topics.items()):
        if topic in {"tallies", "posteriors"}:
            made.log.topics[f"g2-{topic}", partition] = list(records)
    return made


def test_a_generation_is_compared_by_its_own_topics():
    made = with_second_generation(1)
    cell = decode_cell(newest(made, "g2-tallies").value)
    made.log.append("g2-tallies", 1, encode_cell(replace(cell, duplicates=cell.duplicates + 1)))

    assert checked(made).is_equal
    difference = checked(made, generation=2, is_active=False).difference

    assert difference.path == "duplicates"
    assert difference.place.startswith("g2-tallies/1@")


def test_actions_of_another_generation_are_not_compared_and_only_the_served_one_owes_the_last():
    made = with_second_generation(2)
    evidence = {"reason": "mine alone", "generation": 2}
    snapshot = decode_snapshot(newest(made, "posteriors").value)
    action = next(each for each in RecommendedAction if each is not snapshot.recommended_action)
    strange = Decision(snapshot.experiment.number, action, 1, snapshot.version, evidence)
    compared = checked(made, generation=2, is_active=False)
    assert compared.is_equal
    assert compared.actions == 0

    made.log.append("decisions", 1, encode_decision(strange))

    own = checked(made, generation=2, is_active=False).difference
    assert own is not None
    assert own.subject.endswith(f"/{action}")
    first = checked(made).difference  # not by its version, but it is the last one
    assert (first.path, first.live) == ("kind", action)


def states_of_one_version() -> tuple[Installation, Snapshot, Snapshot]:
    """Return two snapshots of as many records, from cells of other partitions.

    So have two workers, of which one takes the experiment over and has not received all that the
    other had.
    """
    made, number = Installation(), EXPERIMENTS[0]
    for each in EXPERIMENTS:
        made.command(each, CommandKind.CREATE)
        made.command(each, CommandKind.START)
    made.traffic(Random(1), 40)
    cells: defaultdict[int, dict[int, Cell]] = defaultdict(dict)
    for partition in (0, 1):
        for _ in range(20):
            made.fold(Source.IMPRESSIONS, partition, 1)
            cell = made.unsent.get((number, Source.IMPRESSIONS, partition))
            if cell is not None:
                cells[partition][cell.last_offset] = cell
    first, second = next(
        (one, other)
        for one, other in combinations(product(cells[0].values(), cells[1].values()), 2)
        if sum(each.last_offset for each in one) == sum(each.last_offset for each in other)
    )
    experiment = made.known[number].experiment
    assert experiment is not None
    published = snapshot_of(experiment, first), snapshot_of(experiment, second)
    for snapshot in published:
        name = snapshot.experiment.id.encode()
        made.log.append("posteriors", number % PARTITIONS, encode_snapshot(snapshot), name)
    made.redis[number] = published[0]
    return made, published[0], published[1]


@pytest.mark.parametrize("decided", [0, 1])
def test_an_action_is_compared_with_the_state_that_it_was_decided_on(decided):
    made, *published = states_of_one_version()
    assert published[0].version == published[1].version
    assert published[0].cells != published[1].cells
    made.log.append("decisions", 1, encode_decision(recommended(published[decided])))

    report = checked(made)

    assert report.difference is None
    assert (report.actions, report.actions_not_compared) == (1, 0)


@pytest.mark.parametrize("is_changed", [False, True])
def test_an_action_that_names_no_state_is_compared_by_version(is_changed):
    """It was logged before actions named their state."""
    made = installation(3)
    number, snapshot = next(iter(made.redis.items()))
    decision = recommended(snapshot)
    evidence = {
        name: value for name, value in decision.evidence.items() if name not in {"basis", "number"}
    }
    if is_changed:
        evidence["confidence"] = 0.125
    earlier = encode_decision(replace(decision, evidence=evidence))
    made.log.append("decisions", number % PARTITIONS, earlier)
    before = checked(installation(3))

    report = checked(made)

    assert report.actions == before.actions + 1
    found = report.difference
    assert (found is not None and found.path) == (is_changed and "evidence.confidence")


def test_an_action_of_another_state_of_the_same_version_is_reported():
    made, *published = states_of_one_version()
    basis = recommended(published[1]).evidence["basis"]
    decision = recommended(published[0])
    mixed = replace(decision, evidence={**decision.evidence, "basis": basis})
    made.log.append("decisions", 1, encode_decision(mixed))

    difference = checked(made).difference

    assert difference is not None
    assert difference.path.startswith("evidence")


def test_the_first_report_of_a_conclusion_is_compared_and_no_other():
    made = installation(3)
    number, snapshot = next(iter(made.redis.items()))
    tampered = replace(snapshot, duplicates=snapshot.duplicates + 1)
    for each in (snapshot, tampered):
        kept = encode_decision(conclusion(each, encode_snapshot(each)))
        made.log.append("decisions", number % 2, kept)

    report = checked(made)

    assert (report.difference, report.conclusions) == (None, 1)


def test_a_report_that_the_log_does_not_give_is_reported():
    made = installation(3)
    number, snapshot = next(iter(made.redis.items()))
    tampered = replace(snapshot, duplicates=snapshot.duplicates + 1)
    kept = encode_decision(conclusion(tampered, encode_snapshot(tampered)))
    offset = made.log.append("decisions", number % 2, kept)

    difference = checked(made).difference

    assert (difference.place, difference.path) == (
        f"decisions/{number % 2}@{offset}",
        "duplicates",
    )
    assert checked(made, generation=2).conclusions == 0
