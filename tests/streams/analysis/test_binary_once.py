"""A unit converts once: every statistic of a metric of 0 and 1 is that of its units."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.analysis.evaluate import evaluate
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.measurement_plan import plan_of
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.fold.observations import ObservationFold
from streams.model.errors import EventError
from streams.model.events import Observation, ObservationBatch
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.stats.kinds import MetricKind
from streams.tallies.cell import VariantTally
from streams.tallies.merging import merge
from streams.tallies.weights import weighted
from tests.streams.fold.batches import fold_batch

KEYRING = Keyring({1: bytes(32)})
NOW_MS = 1_700_000_000_000
HALF = PROPENSITY_ONE // 2
UNITS = 60


def experiment(kind="thompson_sampling", **config):
    definition = parse_definition(
        {"name": "Hero", "type": kind, "primaryMetric": "click", "minSampleSize": 1} | config,
        [{"name": "A", "isControl": True}, {"name": "B"}],
    )
    return Experiment(
        7,
        definition,
        Status.RUNNING,
        version=2,
        created_at_ms=1,
        started_at_ms=2,
        started_version=2,
    )


def counted(value, events):
    """Return the tally of (unit, value) observations: even units in A, odd ones in B."""
    fold = ObservationFold(0, KEYRING, plan_of=lambda _: plan_of(value.definition))
    batch: list[Observation | EventError] = [
        Observation(
            KEYRING.sign(Receipt(7, unit % 2, HALF, 1, NOW_MS, unit, 0)),
            "click",
            round(each * MICRO),
            f"e{number}",
            NOW_MS,
        )
        for number, (unit, each) in enumerate(events)
    ]
    refusals = fold_batch(fold, 0, ObservationBatch(batch), NOW_MS)
    tally = merge(fold.take_changes().cells)
    assigned = weighted(UNITS // 2, {}, HALF)
    variants = {index: assigned + tally.variants.get(index, VariantTally()) for index in range(2)}
    return replace(tally, variants=variants), [refusal.error.code for refusal in refusals]


def statistics(snapshot):
    return [
        (each.mean, each.lower, each.upper, each.probability_best, each.expected_loss)
        for each in snapshot.variants
    ], snapshot.allocation.weights


@pytest.mark.parametrize(
    "metrics", [{}, {"click": {"kind": "binary"}}], ids=["inferred", "declared"]
)
@pytest.mark.parametrize(
    "config",
    [{}, {"kind": "bayesian_ab"}, {"kind": "ucb"}, {"periods": {"delayed": True}}],
    ids=["adaptive", "fixed", "ucb", "periods"],
)
def test_a_second_click_changes_nothing(metrics, config):
    value = experiment(**config, metrics=metrics)
    clicks = [(unit, 1) for unit in range(0, UNITS, 3)]

    once, _ = counted(value, clicks)
    twice, _ = counted(value, [*clicks, (0, 1), (0, 1), (3, 1), (9, 0)])

    plain, again = evaluate(value, once, ()), evaluate(value, twice, ())
    assert statistics(again) == statistics(plain)
    assert again.metrics == plain.metrics
    assert again.metrics["click"].kind is MetricKind.BINARY
    assert again.recommended_action is not RecommendedAction.INVESTIGATE
    totals = [[each.metrics["click"].sum_micro for each in s.variants] for s in (plain, again)]
    assert totals == [[10 * MICRO, 10 * MICRO]] * 2


@given(
    st.lists(st.tuples(st.integers(0, UNITS - 1), st.sampled_from([0, 1])), min_size=1, max_size=60)
)
def test_both_ways_to_count_once_give_the_same(events):
    """The cap of a declared metric, and the units above 0 of an inferred one."""
    declared, inferred = experiment(metrics={"click": {"kind": "binary"}}), experiment()

    snapshots = [evaluate(each, counted(each, events)[0], ()) for each in (declared, inferred)]

    assert statistics(snapshots[0]) == statistics(snapshots[1])
    clicked = {unit for unit, value in events if value}
    for snapshot in snapshots:
        assert (
            sum(each.metrics["click"].sum_micro for each in snapshot.variants)
            == len(clicked) * MICRO
        )


def test_no_event_can_contradict_a_declared_kind():
    value = experiment(metrics={"click": {"kind": "binary"}})

    tally, codes = counted(value, [(0, 1), (1, 2), (2, -1), (3, 0.5), (5, -1e9), (7, 1)])

    assert codes == [
        "VALUE_OUT_OF_BOUNDS",
        "VALUE_OUT_OF_BOUNDS",
        "VALUE_NOT_WHOLE",
        "VALUE_OUT_OF_BOUNDS",
    ]
    found = evaluate(value, tally, ())
    assert found.metrics["click"].contradiction is None
    assert found.recommended_action is RecommendedAction.CONTINUE


def test_what_is_declared_to_be_summed_is_a_count():
    value = experiment(metrics={"click": {"kind": "binary", "counting": "sum"}})

    tally, codes = counted(value, [(0, 1), (0, 1), (0, 1), (1, 1)])

    found = evaluate(value, tally, ())
    assert codes == []
    assert (found.metrics["click"].kind, found.metrics["click"].is_declared) == (
        MetricKind.COUNT,
        True,
    )
    assert [each.metrics["click"].sum_micro for each in found.variants] == [3 * MICRO, MICRO]


def test_without_a_kind_another_value_brings_back_the_sums():
    value = experiment()

    tally, _ = counted(value, [(0, 1), (0, 1), (0, 1), (1, 1), (3, 5)])

    found = evaluate(value, tally, ())
    assert found.metrics["click"].kind is MetricKind.COUNT
    assert [each.metrics["click"].sum_micro for each in found.variants] == [3 * MICRO, 6 * MICRO]


def test_parts_of_a_ratio_stay_sums():
    ratio = {"kind": "ratio", "numerator": "click", "denominator": "view"}
    value = experiment("bayesian_ab", secondaryMetrics=["ctr"], metrics={"ctr": ratio})

    tally, _ = counted(value, [(0, 1), (0, 1), (1, 1)])

    found = evaluate(value, tally, ())
    by_name = {name: model.kind for name, model in found.metrics.items()}
    assert by_name["click"] is MetricKind.COUNT
