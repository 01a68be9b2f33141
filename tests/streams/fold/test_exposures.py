"""Units that count from their first exposure, against units that are assigned at that time."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fold import counting, exposures
from streams.fold.impressions import ImpressionFolding
from streams.fold.observations import ObservationFolding
from streams.model.events import EXPOSURE, ImpressionBatch, ImpressionGroup, Observation
from streams.model.quantities import MICRO
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import pack_weights
from streams.model.vectors import FEATURE_ONE, pack
from streams.model.voids import void_metric
from streams.tallies.bins import QUANTILES, WINSORIZED
from streams.tallies.cell import VariantTally
from streams.tallies.merging import merge
from streams.tallies.plan import AcceptedValues, PeriodPlan, Plan
from streams.wire.batch_tags import sealer
from streams.wire.cells import decode_cell, encode_cell
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation
from streams.wire.records import SINGLE_OBJECT

KEYRING = Keyring({1: bytes(range(16))})
EXPERIMENT = 7
NOW_MS = 1_700_000_000_000
WINDOW_S = 600
ARMS = 3
WEIGHTS = pack_weights((32_768, 16_384, 16_384))
VOID = void_metric("ivt")
CLICK, SPENT, SEEN_AT, OTHER = "click", "spent", "seconds", "other"
PLAN = Plan(
    caps={CLICK: MICRO, SPENT: 40 * MICRO},
    pairs=((CLICK, SPENT),),
    by_period=PeriodPlan(CLICK, ARMS),
    floors={SPENT: 0},
    accepted={CLICK: AcceptedValues(0, MICRO, is_whole=True)},
    declared=frozenset({CLICK, SPENT, SEEN_AT}),
    n_variants=ARMS,
    windows={CLICK: 300, SPENT: 300},
    has_covariates=True,
    weighted_covariates=2,
    bins={SPENT: WINSORIZED, SEEN_AT: QUANTILES},
    limits={SEEN_AT: 400},
    delays={CLICK: 20, OTHER: 90},
)


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes | None
    timestamp: int = NOW_MS + 10_000_000


@dataclass(frozen=True)
class Unit:
    number: int
    window_s: int = WINDOW_S

    @property
    def receipt(self):
        variant = self.number % ARMS
        features = pack(((0, FEATURE_ONE), (1, 256 * (1 + self.number % 3))))
        propensity = (1 << 31) if variant == 0 else 1 << 30
        return Receipt(
            EXPERIMENT,
            variant,
            propensity,
            3,
            NOW_MS + 1_000 * self.number,
            self.number,
            self.window_s,
            WEIGHTS if self.number % 4 else b"",
            features,
        )


@dataclass(frozen=True)
class Event:
    unit: Unit
    metric: str
    at_s: int
    value: int = MICRO
    event_id: str | None = None

    @property
    def at_ms(self):
        return NOW_MS + 1_000 * self.at_s

    def record(self, receipt):
        observation = Observation(
            KEYRING.sign(receipt), self.metric, self.value, self.event_id, self.at_ms
        )
        return encode_observation(observation, SINGLE_OBJECT)


def folded(events, plan, receipt_of=lambda unit: unit.receipt, cuts=(), together=None):
    """Return the cell of events, folded in batches that end at the cuts."""
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, 10_000, lambda _: plan)
    fold = folding.new_fold(0)
    records = [Record(n, each.record(receipt_of(each.unit))) for n, each in enumerate(events)]
    results = []
    for start, stop in zip((0, *cuts), (*cuts, len(records)), strict=True):
        results.append(folding.fold(fold, records[start:stop]))
        fold.take_changes()
    cells = [decode_cell(encode_cell(cell)) for cell in fold.cells]
    return (cells[0] if cells else None), [each for one in results for each in one.refused]


def assigned(units, plan):
    """Return the cell of units that are assigned."""
    folding = ImpressionFolding(SINGLE_OBJECT, KEYRING, 10_000, lambda _: plan)
    fold = folding.new_fold(0)
    receipts = list(units)
    columns = [list(column) for column in zip(*receipts, strict=True)]
    group = ImpressionGroup(
        EXPERIMENT,
        repeatable=True,
        variants=columns[1],
        propensities=columns[2],
        allocation_versions=columns[3],
        assigned_at_ms=columns[4],
        units=columns[5],
        weights=columns[7],
        features=columns[8],
    )
    record = encode_impression_batch(ImpressionBatch(1, 0, 0, [group]))
    result = folding.fold(fold, [Record(0, sealer(KEYRING)("impressions", 0, record))])
    assert not result.refused
    fold.take_changes()
    return next(iter(fold.cells))


def trimmed(values):
    values = list(values)
    while values and not values[-1]:
        values.pop()
    return tuple(values)


def normal(variants):
    """Return tallies without what is 0 and without the fields that the two ways do not share."""
    found = {}
    for index, tally in variants.items():
        metrics = {
            name: replace(
                metric,
                moment=trimmed(metric.moment),
                positive_moment=trimmed(metric.positive_moment),
                overlap_moment=trimmed(metric.overlap_moment),
            )
            for name, metric in tally.metrics.items()
            if metric.observations
        }
        products = {
            pair: each for pair, each in tally.products.items() if any(map(bool, _sums(each)))
        }
        periods = {
            period: replace(each, arrivals=trimmed(each.arrivals))
            for period, each in tally.periods.items()
            if each.units or each.units_with_value
        }
        bins = {name: each for name, each in tally.bins.items() if each}
        found[index] = replace(
            tally,
            metrics=metrics,
            products=products,
            periods=periods,
            bins=bins,
            gram=trimmed(tally.gram),
            overlap_features=trimmed(tally.overlap_features),
            overlap_gram=trimmed(tally.overlap_gram),
            assigned=0,
        )
    return {index: tally for index, tally in found.items() if tally != VariantTally()}


def _sums(product):
    return product.total, product.weighted_total, product.first_squared, product.second_squared


def naive(events):
    """Return when each unit was first exposed, which observations count, and how many do not."""
    first: dict[Unit, int] = {}
    voided = {each.unit for each in events if each.metric == VOID}
    events = [each for each in events if each.unit not in voided]
    for each in events:
        if each.metric == EXPOSURE:
            first[each.unit] = min(first.get(each.unit, each.at_s), each.at_s)
    counted, late, unexposed, early, seen = [], 0, 0, 0, set()
    for each in events:
        if each.metric == EXPOSURE:
            continue
        if each.event_id is not None:
            key = each.unit, each.metric, each.event_id
            if key in seen:
                continue
            seen.add(key)
        begun = first.get(each.unit)
        windows = {**PLAN.windows, **PLAN.limits}
        limits = [each.unit.window_s, windows.get(each.metric, 0)]
        limit = min((one for one in limits if one), default=None)
        if begun is None or each.at_s < begun:
            unexposed += 1
        elif each.at_s - begun < PLAN.delays.get(each.metric, 0):
            early += 1
        elif limit is not None and each.at_s - begun > limit:
            late += 1
        else:
            counted.append(each)
    return first, counted, late, unexposed, early


units = st.builds(Unit, st.integers(0, 5), st.sampled_from([WINDOW_S]))
times = st.integers(10, 580) | st.sampled_from([10, 29, 30, 310, 311, 580])
later = times | st.integers(10, 1_180)
exposure = st.builds(Event, units, st.just(EXPOSURE), times)
click = st.builds(
    Event,
    units,
    st.just(CLICK),
    later,
    st.sampled_from([0, MICRO]),
    st.sampled_from([None, "a", "b"]),
)
spent = st.builds(
    Event,
    units,
    st.sampled_from([SPENT, SEEN_AT, OTHER]),
    later,
    st.integers(-20 * MICRO, 50 * MICRO),
    st.sampled_from([None, "a", "b"]),
)


void = st.builds(Event, units, st.just(VOID), times)


def unique(events):
    """Return events among which those of one id are the same: which of them counts is no matter."""
    known: dict[tuple[Unit, str, str], Event] = {}
    return [
        each
        if each.event_id is None
        else known.setdefault((each.unit, each.metric, each.event_id), each)
        for each in events
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(exposure | click | spent | exposure | click | spent | void, max_size=24).map(unique),
    st.lists(st.integers(0, 24), max_size=3),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_units_count_as_if_they_were_assigned_when_first_exposed(events, cuts, random, together):
    first, counted, late, unexposed, early = naive(events)
    shuffled = random.sample(events, len(events))
    cuts = sorted(min(cut, len(events)) for cut in cuts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exposures, "TOGETHER_FROM", 0 if together else 1 << 60)
        patch.setattr(counting, "TOGETHER_FROM", 1 << 60)
        cell, refused = folded(shuffled, replace(PLAN, by_exposure=True), cuts=cuts)
        begun = lambda unit: unit.receipt._replace(  # noqa: E731
            assigned_at_ms=NOW_MS + 1_000 * first[unit], attribution_window_s=0
        )
        expected, _ = folded(counted, PLAN, begun)
    impressions = assigned(map(begun, first), PLAN) if first else None

    assert not refused
    if cell is None:
        assert not events
        return
    assert (cell.late, cell.unexposed, cell.early) == (late, unexposed, early)
    voided = {each.unit for each in events if each.metric == VOID}
    assert sum(each.assigned for each in cell.variants.values()) == -len(voided)
    assert cell.voids == ({"ivt": len(voided)} if voided else {})
    tally = merge([cell], NOW_MS + 10**9)
    cells = [each for each in (expected, impressions) if each is not None]
    reference = merge(cells, NOW_MS + 10**9)
    assert normal(tally.variants) == normal(reference.variants)
    for window_s, mature in tally.mature.items():
        assert normal(mature) == normal(reference.mature.get(window_s, {}))
