"""Units read one by one are those that the tallies count."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from streams.experiments.definition import parse_definition
from streams.fold import metric_slots
from streams.fold.recorders import Assignments, CountedValues
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.errors import InputError
from streams.model.events import (
    EXPOSURE,
    CommandKind,
    ImpressionBatch,
    ImpressionGroup,
    Observation,
)
from streams.model.partitioning import partition_of
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Receipt
from streams.replay import unit_log as module
from streams.replay.history import experiment_of
from streams.replay.off_policy.partial_tally import PartialTally
from streams.replay.unit_log import joined, unit_log
from streams.replay.what_if import Assumptions, what_if
from streams.tallies.cell import Source
from streams.tallies.merging import merge
from streams.wire.batch_tags import sealer
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation
from tests.streams.replay.memory import (
    DEFINITION,
    INPUTS,
    KEYRING,
    MEASURED,
    NOW_MS,
    PARTITIONS,
    Installation,
    installation,
)
from tests.streams.replay.off_policy.logs import tallies

QUARTER = PROPENSITY_ONE // 4
EXPOSED_DEFINITION = DEFINITION | {
    "config": DEFINITION["config"]
    | {
        "exposure": "event",
        "attributionWindow": 3_600,
        "conversionWindow": 120,
        "metrics": {"click": {"kind": "revenue"}},
    }
}


def logged(made: Installation, inputs=INPUTS, metric="click"):
    return unit_log(made.log, inputs, experiment_of(made.log, inputs, 7), metric)


@pytest.mark.parametrize(
    ("seed", "piece", "limit"),
    [*((seed, 3, 1_000) for seed in range(8)), (8, 500, 1_000), (9, 7, 5)],
)
def test_they_sum_up_to_the_tallies(seed, piece, limit):
    """The log has repetitions, noise and early observations, and once more than is remembered.

    Pieces of 500 records are folded as columns there, and never here.
    """
    made = installation(seed)
    made.log.piece = piece
    inputs = replace(INPUTS, limit=limit)

    log = logged(made, inputs)

    tally = what_if(made.log, inputs, 7, Assumptions()).actual
    assert np.bincount(log.variants).tolist() == [each.assignments for each in tally.variants]
    assert log.unmatched == 0
    found: Counter[int] = Counter()
    for unit, value in zip(log.observed_units, log.observed_values.tolist(), strict=True):
        found[log.variants[unit]] += value
    counted = {
        index: variant.metrics["click"].sum_micro for index, variant in enumerate(tally.variants)
    }
    assert found == counted
    units = [len(set(log.observed_units[log.variants[log.observed_units] == k])) for k in (0, 1)]
    assert units == [variant.metrics["click"].units for variant in tally.variants]


def test_the_last_tally_of_the_replay_is_that_of_the_workers():
    made = installation(3)
    log = logged(made)
    # One unit more, later than all there is, makes a last batch that knows everything.
    late = replace(
        log,
        variants=np.append(log.variants, 0),
        propensities=np.append(log.propensities, QUARTER),
        assigned_at_ms=np.append(log.assigned_at_ms, NOW_MS + 10_000),
        contexts=np.append(log.contexts, 0),
    )

    *_, tally = tallies(late, log.n_units)

    expected = what_if(made.log, INPUTS, 7, Assumptions()).actual
    for index, variant in enumerate(expected.variants):
        report = variant.metrics["click"]
        found = tally.variants[index].metrics["click"]
        assert (found.units, found.observations, found.total) == (
            report.units,
            report.observations,
            report.sum_micro,
        )
        assert tally.variants[index].units == variant.assignments


def test_units_that_come_again_are_one_and_observations_find_their_own():
    made = Installation()
    made.command(7, CommandKind.CREATE)
    made.command(7, CommandKind.START)
    seen = (5, 0, NOW_MS), (5, 1, NOW_MS), (5, 0, NOW_MS + 1), (5, 0, NOW_MS)
    group = ImpressionGroup(
        7,
        repeatable=True,
        variants=[variant for _, variant, _ in seen],
        propensities=[QUARTER] * 4,
        allocation_versions=[2] * 4,
        assigned_at_ms=[at_ms for _, _, at_ms in seen],
        units=[unit for unit, _, _ in seen],
    )
    other = replace(group, experiment=8)
    for sequence in (0, 1, 1):
        batch = ImpressionBatch(1, 0, sequence, [other, group])
        record = sealer(KEYRING)("impressions", 0, encode_impression_batch(batch))
        made.log.append("impressions", 0, record)
    for unit, variant, at_ms, value in (
        (5, 1, NOW_MS, 2),
        (5, 0, NOW_MS + 1, 3),
        (6, 0, NOW_MS, 4),
    ):
        receipt = KEYRING.sign(Receipt(7, variant, QUARTER, 2, at_ms, unit, 60))
        for metric in ("click", "view"):
            event = Observation(receipt, metric, value * MICRO, "e", at_ms + 1)
            home = partition_of(receipt.encode(), PARTITIONS)
            made.log.append("observations", home, encode_observation(event))
    made.log.topics["observations", PARTITIONS - 1]  # is there, if empty

    log = logged(made)

    assert log.n_units == 2  # once for each variant, whatever the times of the receipts
    assert sorted(log.values.tolist()) == [2.0, 3.0]
    assert sorted(log.variants[log.observed_units].tolist()) == [0, 1]
    assert log.unmatched == 1
    assert log.propensities.tolist() == [QUARTER] * 2


def test_the_order_of_partitions_makes_no_difference(monkeypatch):
    found: list[list[Any]] = []

    def in_order(metric, n_arms, assigned, observed, n_started):
        assigned, observed = list(assigned), list(observed)
        found.append([metric, n_arms, assigned, observed])
        return joined(metric, n_arms, assigned, observed, n_started)

    monkeypatch.setattr(module, "joined", in_order)
    one = logged(installation(4))
    [(metric, n_arms, assigned, observed)] = found
    assert len(assigned) > 1
    assert len(observed) > 1
    other = joined(metric, n_arms, assigned[::-1], observed[::-1])

    assert one.variants.tolist() == other.variants.tolist()
    assert one.values.tolist() == other.values.tolist()


def test_without_units_and_for_an_unknown_metric_it_says_so():
    made = Installation()
    made.command(7, CommandKind.CREATE)
    with pytest.raises(InputError) as raised:
        logged(made)
    assert raised.value.code == "NO_UNITS"
    with pytest.raises(InputError) as raised:
        logged(installation(1), metric="sale")
    assert raised.value.code == "UNKNOWN_METRIC"


def test_values_of_a_capped_metric_are_those_of_its_tallies():
    made = installation(5)
    for source in Source:
        for partition in range(PARTITIONS):
            made.fold(source, partition, 10_000)
    for key in sorted(made.unsent):
        made.emit(key)
    experiment = experiment_of(made.log, INPUTS, MEASURED)

    log = unit_log(made.log, INPUTS, experiment, "click")

    tally = merge(made.known[MEASURED].cells.values())
    totals = [variant.metrics["click"].total / MICRO for variant in tally.variants.values()]
    assert log.cap == 3 * MICRO
    assert not log.unmatched
    assert np.bincount(log.variants, log.values).tolist() == totals
    partial = PartialTally(log, log.propensities)
    partial.observe(np.arange(len(log.observed_units)))
    found = partial.tally()
    assert [found.variants[arm].metrics["click"] for arm in range(2)] == [
        tally.variants[arm].metrics["click"] for arm in range(2)
    ]


def test_a_ratio_is_refused():
    made = installation(5)
    actual = experiment_of(made.log, INPUTS, 7)
    config = actual.definition.config.model_dump(by_alias=True, mode="json")
    ratio = {"kind": "ratio", "numerator": "click", "denominator": "view"}
    variants = [each.model_dump(by_alias=True, mode="json") for each in actual.definition.variants]
    definition = parse_definition(
        config | {"metrics": {"click-rate": ratio}, "primaryMetric": "click-rate"}, variants
    )

    with pytest.raises(InputError) as refused:
        unit_log(made.log, INPUTS, replace(actual, definition=definition), "click-rate")

    assert (refused.value.code, refused.value.path) == ("RATIO_METRIC", "metric")


def test_what_the_tallies_refuse_or_move_is_refused_and_moved(monkeypatch):
    """By hand: the places of all metrics but the declared ones are taken, and a clock is ahead."""
    monkeypatch.setattr(metric_slots, "MAX_METRICS", 2)
    made = Installation()
    made.command(7, CommandKind.CREATE)
    made.command(7, CommandKind.START)
    group = ImpressionGroup(7, True, [0], [QUARTER], [2], [NOW_MS], [5])
    batch = ImpressionBatch(1, 0, 0, [group])
    record = sealer(KEYRING)("impressions", 0, encode_impression_batch(batch))
    made.log.append("impressions", 0, record)
    text = KEYRING.sign(Receipt(7, 0, QUARTER, 2, NOW_MS, 5, 0))
    home = partition_of(text.encode(), PARTITIONS)
    for metric, at_ms in (("first", NOW_MS + 1), ("second", NOW_MS + 1), ("click", 2 * NOW_MS)):
        event = Observation(text, metric, MICRO, "e", at_ms)
        offset = made.log.append("observations", home, encode_observation(event))
    made.log.append("observations", 1 - home, b"noise")
    made.log.append("impressions", 1, b"noise")

    assert logged(made, metric="first").values.tolist() == [1.0]
    with pytest.raises(InputError) as raised:
        logged(made, metric="second")
    assert raised.value.code == "UNKNOWN_METRIC"
    assert logged(made).observed_at_ms.tolist() == [NOW_MS + offset + CLOCK_SKEW_MS]


def test_a_component_of_a_ratio_is_summed_as_in_the_tallies():
    """Of nothing but 0 and 1 another metric without a kind is read once, and this one is not."""
    made = Installation()
    made.command(7, CommandKind.CREATE)
    made.command(7, CommandKind.START)
    group = ImpressionGroup(7, True, [0], [QUARTER], [2], [NOW_MS], [5])
    record = encode_impression_batch(ImpressionBatch(1, 0, 0, [group]))
    made.log.append("impressions", 0, sealer(KEYRING)("impressions", 0, record))
    text = KEYRING.sign(Receipt(7, 0, QUARTER, 2, NOW_MS, 5, 0))
    for partition in range(PARTITIONS):
        made.log.append("observations", partition, b"noise")
    for event_id in "ab":
        event = Observation(text, "click", MICRO, event_id, NOW_MS + 1)
        home = partition_of(text.encode(), PARTITIONS)
        made.log.append("observations", home, encode_observation(event))
    actual = experiment_of(made.log, INPUTS, 7)
    config = actual.definition.config.model_dump(by_alias=True, mode="json")
    variants = [each.model_dump(by_alias=True, mode="json") for each in actual.definition.variants]
    ratio = {"kind": "ratio", "numerator": "click", "denominator": "view"}
    definition = parse_definition(
        config | {"metrics": {"click-rate": ratio}, "primaryMetric": "click-rate"}, variants
    )

    assert logged(made).values.tolist() == [1.0]
    log = unit_log(made.log, INPUTS, replace(actual, definition=definition), "click")
    assert log.values.tolist() == [2.0]


def test_a_voided_unit_is_in_no_log_of_units():
    """Of unit 1, in variant 0, nothing is left; in variant 1 it is another assignment."""
    assigned = Assignments()
    for variant, unit in ((0, 1), (0, 2), (1, 1)):
        assigned.units.append(unit)
        assigned.variants.append(variant)
        assigned.propensities.append(QUARTER)
        assigned.assigned_at_ms.append(NOW_MS)
        assigned.contexts.append(0)
        assigned.places.append(0)
    observed = CountedValues("click")
    for variant, unit, value in ((0, 1, 5), (0, 2, 7), (1, 1, 9), (0, 3, 11)):
        observed.units.append(unit)
        observed.variants.append(variant)
        observed.assigned_at_ms.append(NOW_MS)
        observed.values.append(value)
        observed.observed_at_ms.append(NOW_MS)
    observed.voided_units.append(1)
    observed.voided_variants.append(0)

    log = joined("click", 2, [assigned], [observed])

    assert sorted(log.variants.tolist()) == [0, 1]
    assert sorted(log.observed_values.tolist()) == [7, 9]
    assert log.unmatched == 1


@pytest.mark.parametrize("seed", range(4))
def test_units_that_count_by_exposure_sum_up_to_the_tallies(seed):
    """Of each unit some events come before its first exposure in time, and some in the log."""
    made = Installation({7: EXPOSED_DEFINITION})
    made.command(7, CommandKind.CREATE)
    made.command(7, CommandKind.START)
    random = Random(seed)
    receipts = [
        KEYRING.sign(Receipt(7, unit % 2, PROPENSITY_ONE // 2, 2, NOW_MS, unit, 3_600, b"", b""))
        for unit in range(20)
    ]
    for _ in range(150):
        receipt = random.choice(receipts)
        metric, value = random.choice([(EXPOSURE, MICRO), ("click", MICRO), ("click", 3 * MICRO)])
        at_ms = NOW_MS + 1_000 * random.choice([0, 5, 60, 130, 3_600, 3_700])
        event = random.choice([None, "a", "b"])
        record = encode_observation(Observation(receipt, metric, value, event, at_ms))
        made.log.append("observations", partition_of(receipt.encode(), PARTITIONS), record)

    log = logged(made)

    tally = what_if(made.log, INPUTS, 7, Assumptions()).actual
    assert np.bincount(log.variants, minlength=2).tolist() == [
        each.exposures for each in tally.variants
    ]
    assert [each.assignments for each in tally.variants] == [0, 0]
    for index, variant in enumerate(tally.variants):
        values = log.observed_values[log.variants[log.observed_units] == index]
        assert int(values.sum()) == variant.metrics["click"].sum_micro
        assert len(values) == variant.metrics["click"].observations
    assert not log.unmatched
