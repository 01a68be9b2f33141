"""Units that are new are counted together; what needs its place among others is left."""

import numpy as np
import pytest

from streams.fold.metric_slots import MAX_OPENED
from streams.fold.new_units import count_new_units
from streams.fold.observations import ObservationFold
from streams.fold.verification import VerifiedObservations
from streams.model.quantities import MICRO
from streams.model.receipt_columns import ReceiptColumns
from streams.model.receipt_layout import RECEIPT_LENGTH
from streams.model.receipts import Keyring
from streams.tallies.plan import PLAIN, AcceptedValues, PeriodPlan, Plan, plain
from streams.wire.observation_columns import ObservationColumns

NOW_MS = 1_700_000_000_000
METRIC_HASH = 7


def rows_of(*units, window_s=60, features=()):
    n = len(units)
    zeros, ones = np.zeros(n, np.int64), np.ones(n, np.bool_)
    identities = np.array(units, np.uint64)
    read = ObservationColumns(
        records=np.arange(n),
        places=zeros,
        receipts=np.zeros((n, RECEIPT_LENGTH), np.uint8),
        receipt_sizes=np.full(n, RECEIPT_LENGTH),
        names=("click",),
        metrics=zeros,
        values=np.full(n, 3 * MICRO),
        event_ids=[b"e"] * n,
        observed_at_ms=NOW_MS + np.arange(n),
    )
    receipts = ReceiptColumns(
        valid=ones,
        experiment=np.ones(n, np.uint64),
        variant=zeros,
        propensity=np.full(n, 1 << 31),
        assigned_at_ms=np.full(n, NOW_MS),
        unit=identities,
        attribution_window_s=np.full(n, window_s),
        identity=identities,
        weights=np.full(n, b"", np.object_),
        features=dict.fromkeys(features, b""),
    )
    return VerifiedObservations(
        read=read,
        receipts=receipts,
        errors={},
        home_partitions=None,
        is_attributable=ones,
        offsets=np.arange(10, 10 + n),
        timestamps_ms=np.full(n, NOW_MS),
        observed_at_ms=read.observed_at_ms,
        keys=identities ^ np.uint64(METRIC_HASH),
        events=np.arange(1, n + 1, dtype=np.uint64),
        void_reasons={},
    )


def fold_with(limit=100, plan_of=plain):
    """Return a fold, and its ledger of experiment 1 with an open bucket and a known metric."""
    fold = ObservationFold(0, Keyring({1: bytes(16)}), limit=limit, plan_of=plan_of)
    ledger = fold._ledger(1)
    ledger.metric_hashes["click"] = METRIC_HASH
    assert ledger.window.observe(NOW_MS, 60, 100 ^ METRIC_HASH, 50, MICRO, NOW_MS) is None
    return fold, ledger


def count(ledger, rows):
    left, _ = count_new_units(rows, np.arange(len(rows.read)), {1: ledger})
    return left.tolist()


def openers(ledger, rows):
    _, found = count_new_units(rows, np.arange(len(rows.read)), {1: ledger})
    return found.tolist()


def test_new_units_are_counted_and_known_and_repeated_ones_are_left():
    fold, ledger = fold_with()
    # Unit 100 was observed before; 5 comes twice, and counts the first time.
    assert count(ledger, rows_of(4, 100, 5, 5, 6)) == [1, 3]
    (cell,) = fold.take_cells()
    tally = cell.variants[0].metrics["click"]
    assert (tally.units, tally.observations, tally.total) == (3, 3, 9 * MICRO)
    assert tally.total_squared == 27 * MICRO**2
    assert (cell.last_offset, cell.first_at_ms, cell.last_at_ms) == (14, NOW_MS, NOW_MS + 4)
    # What is left finds them as if they had come one by one: unit 5 with its first event, 3.
    assert ledger.window.observe(NOW_MS, 60, 5 ^ METRIC_HASH, 9, MICRO, NOW_MS) == 3 * MICRO


def test_rows_that_are_not_chosen_are_not_looked_at():
    fold, ledger = fold_with()
    rows = rows_of(4, 5, 5, 6)
    left, _ = count_new_units(rows, np.array([1, 2]), {1: ledger})
    assert left.tolist() == [2]
    (cell,) = fold.take_cells()
    assert (cell.last_offset, cell.variants[0].metrics["click"].units) == (11, 1)


def test_units_with_features_are_left():
    _, ledger = fold_with()
    assert count(ledger, rows_of(4, 5, 6, features=[1])) == [1]


def test_everything_is_left_where_a_bucket_is_to_be_opened():
    fold, ledger = fold_with()
    assert count(ledger, rows_of(4, 5, window_s=600)) == [0, 1]
    assert fold.take_cells() == []


def test_everything_is_left_where_there_may_be_no_room():
    """By hand: the window has one entry, and each of the rows takes at most two more."""
    fold, ledger = fold_with(limit=3)
    assert count(ledger, rows_of(4, 5)) == [0, 1]
    assert fold.take_cells() == []
    assert count(ledger, rows_of(4)) == []


def test_everything_is_left_of_an_experiment_that_has_not_the_metric_yet():
    _, ledger = fold_with()
    ledger.metric_hashes.clear()
    assert count(ledger, rows_of(4)) == [0]


def test_the_first_rows_of_a_bucket_and_of_a_metric_are_the_openers():
    _, ledger = fold_with()
    rows = rows_of(4, 5, 6, 7, window_s=600)
    assert openers(ledger, rows) == [0]
    assert openers(ledger, rows_of(4, 5)) == []  # all is open, and all is counted

    ledger.metric_hashes.clear()
    assert openers(ledger, rows_of(6, 7)) == [0]


def test_nothing_opens_what_would_empty_another_bucket():
    """By hand: the open bucket has its deadline at most 68 s after `NOW_MS`."""
    _, ledger = fold_with()
    rows = rows_of(4, 5, window_s=600)
    rows.receipts.assigned_at_ms[:] = NOW_MS + 68_000
    assert openers(ledger, rows) == []


def test_nothing_brings_a_metric_that_may_be_refused():
    _, ledger = fold_with()
    rows = rows_of(4, 5)
    ledger.metric_hashes = {f"metric-{n}": n for n in range(MAX_OPENED)}
    assert openers(ledger, rows) == []
    del ledger.metric_hashes["metric-0"]
    assert openers(ledger, rows) == [0]


@pytest.mark.parametrize(
    "plan",
    [Plan(pairs=(("click", "order"),)), Plan(by_period=PeriodPlan("click", 2))],
    ids=["products", "periods"],
)
def test_everything_is_left_of_an_experiment_where_a_value_changes_other_sums(plan):
    fold, ledger = fold_with(plan_of=lambda experiment: plan if experiment == 1 else PLAIN)
    assert count(ledger, rows_of(4, 5)) == [0, 1]
    assert fold.take_cells() == []


def test_bounds_hold_for_units_that_are_counted_together():
    """A cap is applied, and a single value out of bounds is left to be refused in its place."""
    plan = Plan({"click": 2 * MICRO}, accepted={"click": AcceptedValues(least=0, most=3 * MICRO)})
    fold, ledger = fold_with(plan_of=lambda _: plan)
    rows = rows_of(4, 5, 5, 6)
    rows.read.values[1] = 4 * MICRO
    assert count(ledger, rows) == [1, 2]  # the second value of unit 5 is its first that counts
    (cell,) = fold.take_cells()
    tally = cell.variants[0].metrics["click"]
    assert (tally.units, tally.total, tally.total_squared) == (2, 4 * MICRO, 8 * MICRO**2)
