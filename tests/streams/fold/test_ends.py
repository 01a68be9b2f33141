"""An experiment that has ended takes no state, and its late events are refused, as the log says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.fold import counting
from streams.fold.impressions import ImpressionFolding
from streams.fold.new_units import count_new_units
from streams.fold.observations import ObservationFolding
from streams.model.events import ImpressionBatch, ImpressionGroup, Observation
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.tallies.plan import PLAIN, plain
from streams.wire.batch_tags import sealer
from streams.wire.experiment_ends import encode_experiment_end
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation
from streams.wire.records import SINGLE_OBJECT

KEYS = Keyring({1: b"k" * 32})
OTHER_KEYS = Keyring({1: b"o" * 32})
NOW_MS = 1_760_000_000_000
MANY = 64
PARTITION = 3


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes
    timestamp: int = NOW_MS + 1


def impression(offset, experiment, unit=1):
    group = ImpressionGroup(experiment, True, [0], [PROPENSITY_ONE], [1], [NOW_MS], [unit])
    batch = ImpressionBatch(9, PARTITION, offset, [group])
    seal = sealer(KEYS)
    return Record(offset, seal("impressions", PARTITION, encode_impression_batch(batch)))


def observation(offset, experiment, unit=1):
    receipt = KEYS.sign(Receipt(experiment, 0, PROPENSITY_ONE, 1, NOW_MS, unit, 86_400))
    return Record(offset, encode_observation(Observation(receipt, "click", 1, f"e{offset}", None)))


def end(offset, experiment, topic, keys=KEYS, partition=PARTITION):
    return Record(offset, encode_experiment_end(experiment, NOW_MS, keys, topic, partition))


FOLDINGS: dict[str, tuple[Any, Any]] = {
    "impressions": (ImpressionFolding(SINGLE_OBJECT, KEYS, 1000, plain), impression),
    "observations": (ObservationFolding(SINGLE_OBJECT, KEYS, 1000, plain), observation),
}


@pytest.fixture(params=FOLDINGS)
def topic(request):
    return request.param


def folded(topic, records, cuts=()):
    """Return the state after records, cut into batches, and the refused ones by offset."""
    folding, _ = FOLDINGS[topic]
    fold = folding.new_fold(PARTITION)
    refused = {}
    for start, stop in zip([0, *cuts], [*cuts, len(records)], strict=True):
        found = folding.fold(fold, records[start:stop])
        for index, refusals in found.refused:
            refused[records[start + index].offset] = [each.error.code for each in refusals]
    return fold, refused


def test_what_comes_after_the_end_is_refused_and_other_experiments_go_on(topic):
    """By hand: 7 ends at offset 2, so its event at 3 is refused and that of 8 counts."""
    _, event = FOLDINGS[topic]
    records = [event(0, 7), event(1, 8), end(2, 7, topic), event(3, 7, 5), event(4, 8, 5)]

    fold, refused = folded(topic, records)

    assert refused == {3: ["EXPERIMENT_ARCHIVED"]}
    changes = fold.take_changes()
    assert changes.ended == ((7, 2),)
    assert [cell.experiment for cell in changes.cells] == [8]


@pytest.mark.parametrize("forged", [{"keys": OTHER_KEYS}, {"partition": PARTITION + 1}])
def test_an_end_that_was_not_made_for_this_place_ends_nothing(topic, forged):
    _, event = FOLDINGS[topic]

    _, refused = folded(topic, [event(0, 7), end(1, 7, topic, **forged), event(2, 7, 5)])

    assert refused == {1: ["SEQUENCE_NOT_AUTHENTIC"]}


def test_an_end_of_the_other_topic_ends_nothing():
    _, event = FOLDINGS["observations"]

    _, refused = folded("observations", [end(0, 7, "impressions"), event(1, 7)])

    assert refused == {0: ["SEQUENCE_NOT_AUTHENTIC"]}


def logs(topic):
    _, event = FOLDINGS[topic]
    kinds = st.lists(
        st.tuples(st.sampled_from([event, event, event, "end"]), st.integers(7, 9)),
        min_size=1,
        max_size=MANY * 2,
    )
    return kinds.map(
        lambda made: [
            end(offset, number, topic) if kind == "end" else event(offset, number, offset)
            for offset, (kind, number) in enumerate(made)
        ]
    )


@given(data=st.data())
def test_ends_refuse_the_same_however_the_log_is_cut(data):
    """Columns of many records, single ones, and any batches between: the same state."""
    topic = data.draw(st.sampled_from(sorted(FOLDINGS)))
    records = data.draw(logs(topic))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(records)))))

    whole, refused = folded(topic, records)
    parts, refused_in_parts = folded(topic, records, cuts)

    assert refused_in_parts == refused
    first, second = whole.take_changes(), parts.take_changes()
    assert (first.cells, first.ended, first.progress) == (
        second.cells,
        second.ended,
        second.progress,
    )


@given(data=st.data())
def test_a_process_that_dies_at_any_place_goes_on_as_if_it_had_not(data):
    """Progress lags what else was written: cells, segments and ends may be ahead of it."""
    topic = data.draw(st.sampled_from(sorted(FOLDINGS)))
    records = data.draw(logs(topic))
    durable = data.draw(st.integers(0, len(records)))
    ahead = data.draw(st.integers(durable, len(records)))
    folding, _ = FOLDINGS[topic]
    fold = folding.new_fold(PARTITION)
    cells: dict[int, Any] = {}
    segments: dict[str, Any] = {}
    ended: dict[int, int] = {}
    progress = None
    for start, stop in ((0, durable), (durable, ahead)):
        folding.fold(fold, records[start:stop])
        changes = fold.take_changes()
        cells |= {cell.experiment: cell for cell in changes.cells}
        segments |= {segment.key: segment for segment in changes.segments}
        ended |= dict(changes.ended)
        if stop == durable:
            progress = changes.progress  # and nothing was removed: that comes with the next batch

    restored = folding.new_fold(PARTITION)
    restored.restore(progress, cells.values(), segments.values(), ended.items())
    found = folding.fold(restored, records)
    expected, refused = folded(topic, records)
    expected.take_changes()
    restored.take_changes()

    for experiment in (7, 8, 9):
        assert restored.has_ended(experiment) == expected.has_ended(experiment)
    assert {cell.experiment: cell for cell in restored.cells} == {
        cell.experiment: cell for cell in expected.cells
    }
    assert [records[index].offset for index, _ in found.refused] == [
        offset for offset in sorted(refused) if progress is None or offset > progress.last_offset
    ]


def test_an_end_that_is_logged_again_ahead_of_the_progress_holds_from_the_first(topic):
    """By hand: progress is at 1, the second end at 3 is durable, and the event at 2 is refused."""
    folding, event = FOLDINGS[topic]
    records = [event(0, 7), end(1, 7, topic), event(2, 7, 5), end(3, 7, topic)]
    fold = folding.new_fold(PARTITION)
    folding.fold(fold, records[:2])
    progress = fold.take_changes().progress
    folding.fold(fold, records[2:])
    ahead = fold.take_changes()

    restored = folding.new_fold(PARTITION)
    restored.restore(progress, ahead.cells, ahead.segments, ahead.ended)
    found = folding.fold(restored, records)

    assert ahead.ended == ((7, 1),)
    assert [records[index].offset for index, _ in found.refused] == [2]


def test_an_experiment_that_ends_leaves_none_of_its_segments(topic):
    """Those of a metric that was not declared too, which are no part of any bucket."""
    folding, event = FOLDINGS[topic]
    fold = folding.new_fold(PARTITION)
    folding.fold(fold, [event(0, 7)])
    written = {segment.key for segment in fold.take_changes().segments}
    folding.fold(fold, [end(1, 7, topic)])

    assert set(fold.take_changes().forgotten) == written


def test_late_events_among_others_do_not_cut_these_into_single_ones(monkeypatch):
    """By hand: of every two events one is of the experiment that has ended.

    The first of the others opens their bucket, and is counted before the rest.
    """
    counted = []

    def count(rows, chosen, ledgers):
        counted.append(len(chosen))
        return count_new_units(rows, chosen, ledgers)

    monkeypatch.setattr(counting, "count_new_units", count)
    records = [end(0, 7, "observations")]
    records += [observation(n, 7 + n % 2, n) for n in range(1, 2 * MANY + 1)]

    fold, refused = folded("observations", records)

    assert counted == [MANY, MANY - 1]
    assert list(refused) == list(range(2, 2 * MANY + 1, 2))
    assert fold.last_offset == 2 * MANY


def test_a_plan_that_is_missing_among_late_events_is_waited_for_at_its_place():
    """By hand: the plan of 9 comes when all before its first event at 11 was folded."""
    plans = {8: PLAIN}
    folding = ObservationFolding(SINGLE_OBJECT, KEYS, 1000, plans.get)
    numbers = {11: 9, 13: 9}
    records = [end(0, 7, "observations")]
    records += [observation(n, numbers.get(n, 7 + n % 2), n) for n in range(1, 2 * MANY + 1)]
    fold = folding.new_fold(PARTITION)

    first = folding.fold(fold, records)
    assert (first.awaits, fold.last_offset, first.events) == (9, 10, 11)
    assert [records[index].offset for index, _ in first.refused] == [2, 4, 6, 8, 10]

    plans[9] = PLAIN
    second = folding.fold(fold, records[11:])
    assert first.events + second.events == len(records)
    assert [records[11 + index].offset for index, _ in second.refused] == list(
        range(12, 2 * MANY + 1, 2)
    )
    cells = {cell.experiment: cell for cell in fold.take_changes().cells}
    assert {n: cell.variants[0].metrics["click"].units for n, cell in cells.items()} == {
        8: MANY - 2,
        9: 2,
    }
