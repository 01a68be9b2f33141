"""Capped values and products against the units themselves, in whatever order events come."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fold.observations import ObservationFold
from streams.model.errors import InvalidParameterError
from streams.model.events import Observation, ObservationBatch
from streams.model.quantities import MICRO, PROPENSITY_ONE, inverse_propensity
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import overlap_weights
from streams.tallies.cell import MetricTally, ProductTally
from streams.tallies.pair_sums import pack_pairs
from streams.tallies.plan import PLAIN, Plan, PlanMissingError
from streams.tallies.weights import weighted
from tests.streams.fold.batches import fold_batch

NOW_MS = 1_700_000_000_000
EXPERIMENT = 7
KEYRING = Keyring({1: bytes(range(32))})
METRICS = "orders", "spent", "visits"
PLAN = Plan(
    {"spent": 500 * MICRO, "visits": 3 * MICRO},
    (("orders", "spent"), ("spent", "visits")),
    declared=frozenset(METRICS),
    n_variants=2,
)


def receipt(unit: int, experiment: int = EXPERIMENT) -> str:
    propensity = PROPENSITY_ONE // (2 if unit % 3 else 4)
    return KEYRING.sign(Receipt(experiment, unit % 2, propensity, 1, NOW_MS, unit, 60))


def event(unit: int, metric: str, value: int, event_id: str | None = None) -> Observation:
    return Observation(receipt(unit), metric, value, event_id, NOW_MS + 1)


def folded(records, plan=PLAN):
    """Return the tally of each variant, and what was counted as a repetition."""
    fold = ObservationFold(0, KEYRING, plan_of=lambda _: plan)
    for offset, observations in enumerate(records):
        assert not fold_batch(fold, offset, ObservationBatch(observations), NOW_MS)
        if offset % 3 == 0:
            fold.take_changes()
    fold.take_changes()
    return [(cell.variants, cell.duplicates) for cell in fold.cells]


def test_a_worked_example():
    # Unit 1 spends 300 and 400, of which 500 count, in two visits; unit 5 spends 20 in five, of
    # which three count; unit 3 spends 90 without a visit. All have variant 1; unit 3 was assigned
    # with probability 1/4, the others with 1/2.
    [(variants, _)] = folded(
        [
            [event(1, "visits", MICRO), event(1, "spent", 300 * MICRO)],
            [event(1, "spent", 400 * MICRO), event(1, "visits", MICRO)],
            [event(5, "visits", 5 * MICRO), event(5, "spent", 20 * MICRO)],
            [event(3, "spent", 90 * MICRO)],
        ]
    )

    spent = variants[1].metrics["spent"]
    assert (spent.units, spent.observations) == (3, 4)
    assert spent.total == (500 + 20 + 90) * MICRO
    assert spent.total_squared == (500**2 + 20**2 + 90**2) * MICRO**2
    assert spent.total_cubed == (500**3 + 20**3 + 90**3) * MICRO**3
    assert spent.weighted_total == (2 * 500 + 2 * 20 + 4 * 90) * MICRO**2
    assert variants[1].metrics["visits"].total == (2 + 3) * MICRO
    assert variants[1].products == {
        ("spent", "visits"): ProductTally(
            (500 * 2 + 20 * 3) * MICRO**2,
            4 * (500 * 2 + 20 * 3) * MICRO**4,
            pack_pairs([PROPENSITY_ONE**2 // 4 * (500 * 2 + 20 * 3) * MICRO**2] * 2),
            (500**2 * 2 + 20**2 * 3) * MICRO**3,
            (500 * 2**2 + 20 * 3**2) * MICRO**3,
        )
    }


units, metrics = st.integers(0, 5), st.sampled_from(METRICS)
observed = st.tuples(
    units,
    metrics,
    st.sampled_from([0, MICRO]) | st.integers(-400 * MICRO, 400 * MICRO),
    st.integers(0, 3),
)
FLOORED = Plan(
    {"spent": 500 * MICRO}, (("orders", "spent"),), floors={"spent": 0, "orders": -3 * MICRO}
)
ONCE = Plan({"spent": MICRO}, floors={"spent": 0, "visits": 2 * MICRO})


def by_units(events, plan):
    """Return the sums over the units as they are in the end."""
    values: defaultdict[tuple[int, str], int] = defaultdict(int)
    counts: defaultdict[tuple[int, str], int] = defaultdict(int)
    binary: defaultdict[tuple[int, str], int] = defaultdict(int)
    for unit, metric, value, _ in events:
        binary[unit, metric] += value in (0, MICRO)
        values[unit, metric] += value
        counts[unit, metric] += 1
    worth = {
        (unit, metric): max(
            min(value, plan.caps.get(metric, value)), plan.floors.get(metric, -(1 << 99))
        )
        for (unit, metric), value in values.items()
    }
    tallies: dict[tuple[int, str], MetricTally] = defaultdict(MetricTally)
    for (unit, metric), x in worth.items():
        propensity = PROPENSITY_ONE // (2 if unit % 3 else 4)
        w, overlaps = inverse_propensity(propensity), overlaps_of(unit, propensity, plan)
        beyond = x - MICRO * (x > 0)
        counted = MetricTally(
            1,
            counts[unit, metric],
            x,
            x * x,
            binary_observations=binary[unit, metric],
            positive_units=int(x > 0),
            total_cubed=x**3,
        )
        tallies[unit % 2, metric] += replace(
            weighted(
                1,
                {metric: counted},
                propensity,
                variant=unit % 2,
                n_variants=plan.n_variants if metric in plan.declared else 0,
            ).metrics[metric],
            surplus_weighted_total=w * beyond,
            surplus_weighted_cross=w * w * beyond,
            **surplus_by_pair(overlaps, beyond, is_kept=metric in plan.declared),
        )
    products: dict[tuple[int, tuple[str, str]], ProductTally] = defaultdict(ProductTally)
    for pair in plan.pairs:
        for unit in range(6):
            if (unit, pair[0]) in worth and (unit, pair[1]) in worth:
                propensity = PROPENSITY_ONE // (2 if unit % 3 else 4)
                w, overlaps = inverse_propensity(propensity), overlaps_of(unit, propensity, plan)
                x, y = worth[unit, pair[0]], worth[unit, pair[1]]
                products[unit % 2, pair] += ProductTally(
                    x * y,
                    w * w * x * y,
                    pack_pairs(v * v * x * y for v in overlaps),
                    x * x * y,
                    x * y * y,
                )
    return dict(tallies), dict(products)


def overlaps_of(unit, propensity, plan):
    return overlap_weights(unit % 2, propensity, b"", plan.n_variants)


def surplus_by_pair(overlaps, beyond, *, is_kept):
    if not is_kept:
        return {"surplus_overlap_total": 0, "surplus_overlap_cross": 0}
    return {
        "surplus_overlap_total": pack_pairs(v * beyond for v in overlaps),
        "surplus_overlap_cross": pack_pairs(v * v * beyond for v in overlaps),
    }


@settings(max_examples=100)
@given(
    events=st.lists(observed, min_size=1, max_size=30),
    random=st.randoms(use_true_random=False),
    size=st.integers(1, 7),
    plan=st.sampled_from(
        [PLAN, PLAIN, FLOORED, ONCE, Plan({"spent": 1}), Plan({}, (("orders", "visits"),))]
    ),
)
def test_any_order_repetition_and_batching_gives_the_sums_over_units(events, random, size, plan):
    # Events with one id are one event, so the first of them is the one that counts.
    first = {
        (unit, metric, name): each for *each, name in reversed(events) for unit, metric, _ in [each]
    }
    distinct = [(*each, name) for (_, _, name), each in first.items()]
    stream = [*distinct, *random.choices(distinct, k=len(events))]
    random.shuffle(stream)
    records = [
        [
            event(unit, metric, value, str(name))
            for unit, metric, value, name in stream[i : i + size]
        ]
        for i in range(0, len(stream), size)
    ]

    [(variants, duplicates)] = folded(records, plan)

    tallies, products = by_units(distinct, plan)
    assert duplicates == len(stream) - len(distinct)
    assert {
        (index, name): tally
        for index, variant in variants.items()
        for name, tally in variant.metrics.items()
    } == tallies
    assert {
        (index, pair): product
        for index, variant in variants.items()
        for pair, product in variant.products.items()
    } == products


def test_a_record_of_an_experiment_without_a_known_plan_changes_nothing_until_it_is_known():
    plans = {EXPERIMENT: PLAN}
    fold = ObservationFold(0, KEYRING, plan_of=plans.get)
    fold_batch(fold, 0, ObservationBatch([event(1, "spent", 900 * MICRO)]), NOW_MS)
    foreign = Observation(receipt(2, experiment=8), "spent", 900 * MICRO, None, NOW_MS)
    record = ObservationBatch([event(1, "visits", MICRO), foreign])

    with pytest.raises(PlanMissingError) as missing:
        fold_batch(fold, 1, record, NOW_MS)
    assert (missing.value.experiment, fold.last_offset) == (8, 0)
    plans[8] = PLAIN
    assert not fold_batch(fold, 1, record, NOW_MS)

    first, second = fold.take_changes().cells
    assert first.variants[1].metrics["visits"].observations == 1
    assert second.variants[0].metrics["spent"].total == 900 * MICRO


def test_a_plan_says_what_is_wrong_with_it():
    with pytest.raises(InvalidParameterError, match="caps"):
        Plan({"spent": 0})
    with pytest.raises(InvalidParameterError, match="pairs"):
        Plan({}, (("spent", "spent"),))
    with pytest.raises(InvalidParameterError, match="pairs"):
        Plan({}, (("visits", "spent"),))
