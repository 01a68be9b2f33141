"""Units that are new are counted together; what needs its place among others is left."""

import numpy as np
import pytest

from streams.model.events import VerifiedObservations
from streams.model.quantities import MICRO
from streams.model.receipts import Keyring
from streams.tallies.new_units import UnitRows, count_new_units
from streams.tallies.observations import ObservationFold
from streams.tallies.plan import PLAIN, Accepted, PeriodPlan, Plan, PlanMissingError, plain

NOW_MS = 1_700_000_000_000
SALT = 7


def rows_of(*units, window_s=60, experiment=1):
    n = len(units)
    return VerifiedObservations(
        offsets=np.arange(10, 10 + n),
        timestamps_ms=np.full(n, NOW_MS),
        experiments=np.full(n, experiment, np.uint64),
        variants=np.zeros(n, np.int64),
        propensities=np.full(n, 1 << 31),
        assigned_at_ms=np.full(n, NOW_MS),
        windows_s=np.full(n, window_s),
        identities=np.array(units, np.uint64),
        names=("click",),
        metrics=np.zeros(n, np.int64),
        values=np.full(n, 3 * MICRO),
        events=np.arange(1, n + 1, dtype=np.uint64),
        observed_at_ms=NOW_MS + np.arange(n),
    )


def fold_with(limit=100, plan_of=plain):
    """Return a fold, and its ledger of experiment 1 with an open bucket and a known metric."""
    fold = ObservationFold(0, Keyring({1: bytes(16)}), limit=limit, plan_of=plan_of)
    ledger = fold._ledger(1)
    ledger.salts["click"] = SALT
    assert ledger.window.observe(NOW_MS, 60, 100 ^ SALT, 50, MICRO, NOW_MS) is None
    return fold, ledger


def count(fold, rows):
    return count_new_units(UnitRows(rows, [SALT]), fold._ledger).tolist()


def test_new_units_are_counted_and_known_and_repeated_ones_are_left():
    fold, ledger = fold_with()
    # Unit 100 was observed before; 5 comes twice, and counts the first time.
    assert count(fold, rows_of(4, 100, 5, 5, 6)) == [1, 3]
    (cell,) = fold.take_cells()
    tally = cell.variants[0].metrics["click"]
    assert (tally.units, tally.observations, tally.total) == (3, 3, 9 * MICRO)
    assert tally.total_squared == 27 * MICRO**2
    assert (cell.hw, cell.first_at_ms, cell.last_at_ms) == (14, NOW_MS, NOW_MS + 4)
    # What is left finds them as if they had come one by one: unit 5 with its first event, 3.
    assert ledger.window.observe(NOW_MS, 60, 5 ^ SALT, 9, MICRO, NOW_MS) == 3 * MICRO


def test_everything_is_left_where_a_bucket_is_to_be_opened():
    fold, _ = fold_with()
    assert count(fold, rows_of(4, 5, window_s=600)) == [0, 1]
    assert fold.take_cells() == []


def test_everything_is_left_where_there_may_be_no_room():
    fold, _ = fold_with(limit=2)
    assert count(fold, rows_of(4, 5)) == [0, 1]
    assert count(fold, rows_of(4)) == []


def test_everything_is_left_of_an_experiment_that_has_not_the_metric_yet():
    fold, ledger = fold_with()
    ledger.salts.clear()
    assert count(fold, rows_of(4)) == [0]


@pytest.mark.parametrize(
    "plan",
    [Plan(pairs=(("click", "order"),)), Plan(by_period=PeriodPlan("click", 2))],
    ids=["products", "periods"],
)
def test_everything_is_left_of_an_experiment_where_a_value_changes_other_sums(plan):
    fold, _ = fold_with(plan_of=lambda experiment: plan if experiment == 1 else PLAIN)
    assert count(fold, rows_of(4, 5)) == [0, 1]
    assert fold.take_cells() == []


def test_bounds_hold_for_units_that_are_counted_together():
    """A cap is applied, and a single value out of bounds is left to be refused in its place."""
    plan = Plan({"click": 2 * MICRO}, accepted={"click": Accepted(least=0, most=3 * MICRO)})
    fold, _ = fold_with(plan_of=lambda _: plan)
    rows = rows_of(4, 5, 5, 6)
    rows.values[1] = 4 * MICRO
    assert count(fold, rows) == [1, 2]  # the second value of unit 5 is its first that counts
    (cell,) = fold.take_cells()
    tally = cell.variants[0].metrics["click"]
    assert (tally.units, tally.total, tally.total_squared) == (2, 4 * MICRO, 8 * MICRO**2)


def test_nothing_is_counted_where_the_plan_of_one_experiment_is_missing():
    fold, _ = fold_with(plan_of={1: PLAIN}.get)
    rows = rows_of(4, 5, 6)
    rows.experiments[2] = 2
    with pytest.raises(PlanMissingError) as missing:
        count(fold, rows)
    assert missing.value.experiment == 2
    assert fold.take_cells() == []
