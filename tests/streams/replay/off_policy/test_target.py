"""Policies replayed over a log: what they know when each unit comes, and what they do with it."""

from __future__ import annotations

import numpy as np
import pytest

from streams.model.errors import InputError, InvalidParameterError
from streams.model.quantities import ALLOCATION_TOTAL, MICRO, PROPENSITY_ONE
from streams.model.vectors import INTERCEPT
from streams.replay.off_policy.logged import UnitLog
from streams.replay.off_policy.report import evaluate_target
from streams.replay.off_policy.rules import PolicyRule, fixed, policy_of
from streams.replay.off_policy.target import OwnRun, replayed
from streams.tallies.cell import Tally
from tests.streams.replay.off_policy.logs import HALF, experiment_of, log_of, tallies


def seen(log: UnitLog, size: int) -> list[list[tuple[int, float, int]]]:
    """Return units, total and units with a value of each variant, when each batch begins."""
    rows = []
    for tally in tallies(log, size):
        variants = [tally.variants.get(arm) for arm in range(log.n_arms)]
        metrics = [variant.metrics.get("click") if variant else None for variant in variants]
        rows.append(
            [
                (
                    variant.units if variant else 0,
                    metric.total / MICRO if metric else 0.0,
                    metric.units if metric else 0,
                )
                for variant, metric in zip(variants, metrics, strict=True)
            ]
        )
    return rows


def test_a_batch_knows_what_came_before_it_and_nothing_of_itself():
    # At once; three later, so in the third batch; before its own assignment, as by a wrong clock.
    log = log_of([0, 1, 1, 0, 1], [(0, 1.0, 0), (1, 2.0, 3), (2, 1.0, -2), (0, 0.5, 1)])

    assert seen(log, 2) == [
        [(0, 0.0, 0), (0, 0.0, 0)],
        [(1, 1.5, 1), (1, 0.0, 0)],
        [(2, 1.5, 1), (2, 3.0, 2)],
    ]


def test_squares_are_of_the_units_whole_values():
    log = log_of([0, 0], [(0, 1.0, 0), (0, 2.0, 0)])

    *_, tally = tallies(log, 1)

    assert tally.variants[0].metrics["click"].total_squared == 9 * MICRO * MICRO
    assert tally.variants[0].metrics["click"].observations == 2


def test_the_last_tally_of_batches_of_any_size_is_the_same():
    random = np.random.default_rng(1)
    units = random.permutation(60)[:40]
    # The last unit alone makes the last batch of 1, 4 and 12 alike.
    log = log_of(random.integers(0, 2, 61), [(unit, 1.0, 0) for unit in units.tolist()])

    lasts = [list(tallies(log, size))[-1].variants for size in (1, 4, 12)]

    assert lasts[0] == lasts[1] == lasts[2]


def test_a_greedy_policy_moves_when_it_learns():
    greedy = experiment_of("epsilon_greedy", epsilon=0.0, minAllocation=0.1)
    log = log_of([0, 1, 0, 1], [(1, 1.0, 0)])

    target = replayed(log, policy_of(greedy), 2)

    even, learned = target.shares.tolist()
    assert even == [0.5, 0.5]
    assert learned == pytest.approx([0.1, 0.9], abs=1 / ALLOCATION_TOTAL)
    # One click of two units: the mean of all, 1/2, is one unit more in either variant.
    assert target.model.tolist() == [[0.0, 0.0], [0.25, 0.75]]
    # Weights 2 * (0.5, 0.5, 0.1, 0.9), so the click counts 1 and the rest nothing.
    assert evaluate_target(log, target).ipw.value == pytest.approx(0.25)


def test_a_fixed_policy_is_asked_once_and_shares_as_it_declares():
    log = log_of([0, 1] * 5)

    target = replayed(log, policy_of(experiment_of("bayesian_ab")), 3)

    assert target.situations.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert target.mean_shares.tolist() == [0.5, 0.5]
    assert fixed([0.25, 0.75])(Tally()).shares(INTERCEPT) == (0.25, 0.75)


def test_a_policy_that_decides_by_features_needs_those_of_the_log():
    age = {"name": "age", "type": "number", "minimum": 0, "maximum": 9}
    asked, other = (experiment_of("lin_ucb", features=[age | {"maximum": n}]) for n in (9, 8))

    for logged in (other, experiment_of("ucb")):
        with pytest.raises(InputError) as caught:
            policy_of(asked, logged)
        assert (caught.value.code, caught.value.path) == ("FEATURES_DIFFER", "parameters.features")


def test_progress_is_shown_in_units():
    passed: list[int] = []

    replayed(log_of([0] * 7), fixed([1.0, 0.0]), 3, advance=passed.append)

    assert passed == [3, 3, 1]


@pytest.mark.parametrize("weights", [(), (0.5, 0.4), (1.5, -0.5), (float("nan"), 1.0)])
def test_weights_that_are_no_shares_are_refused(weights):
    with pytest.raises(InvalidParameterError):
        fixed(weights)


def test_a_batch_of_no_units_is_refused():
    with pytest.raises(InvalidParameterError):
        next(tallies(log_of([0]), 0))


@pytest.mark.parametrize(
    "change",
    [
        {"variants": np.array([0, 2])},
        {"propensities": np.array([0, 1])},
        {"propensities": np.array([1])},
        {"assigned_at_ms": np.array([1, 0])},
        {"observed_values": np.array([1])},
    ],
)
def test_columns_that_are_no_log_are_refused(change):
    columns = {
        "variants": np.zeros(2, np.int64),
        "propensities": np.ones(2, np.int64),
        "assigned_at_ms": np.zeros(2, np.int64),
        "observed_units": np.empty(0, np.int64),
        "observed_values": np.empty(0, np.int64),
        "observed_at_ms": np.empty(0, np.int64),
    }
    with pytest.raises(InvalidParameterError):
        UnitLog("click", 2, **columns | change)


def test_the_policy_that_assigned_has_the_weight_1_and_earned_what_was_earned():
    log = log_of([0, 1] * 50, [(unit, 1.0, 0) for unit in range(0, 100, 7)])

    found = evaluate_target(log, replayed(log, fixed([0.5, 0.5]), 10))

    assert found.ipw == found.snipw == found.earned
    assert found.earned.value == pytest.approx(0.15)
    assert found.diagnostics.effective_units == found.n_units == 100
    assert found.diagnostics.largest_weight == 1.0
    assert found.assigned == (50, 50)
    assert found.n_switched == 0
    assert found.dr == found.switch_dr


@pytest.mark.statistical
def test_a_bandit_is_worth_what_it_would_have_earned_on_an_even_split():
    """100 logs of 1,000 units, clicks of 0.1 and 0.3: what Thompson's shares would have earned.

    Per log the truth is its mean share times the rates. The mean error of an estimate without bias
    stays within four of its standard errors but once in 15,000 runs.
    """
    random = np.random.default_rng(3)
    rates = np.array([0.1, 0.3])
    experiment = experiment_of("thompson_sampling")
    errors: dict[str, list[float]] = {"ipw": [], "dr": []}
    for _ in range(100):
        variants = random.integers(0, 2, 1_000)
        clicked = np.flatnonzero(random.random(1_000) < rates[variants])
        log = log_of(variants, [(unit, 1.0, 5) for unit in clicked.tolist()])
        target = replayed(log, policy_of(experiment), 100)
        truth = float((target.mean_shares * rates).sum())
        found = evaluate_target(log, target)
        errors["ipw"].append(found.ipw.value - truth)
        errors["dr"].append(found.dr.value - truth)

    for name, values in errors.items():
        assert abs(np.mean(values)) < 4 * np.std(values) / 100**0.5, name
    assert np.std(errors["dr"]) < np.std(errors["ipw"])


def test_a_separate_run_takes_what_the_policy_would_have_chosen():
    log = log_of([0, 1, 0, 1], [(unit, 1.0, 0) for unit in range(4)], propensity=HALF)
    tallies_seen: list[Tally] = []

    def weigh(tally: Tally) -> PolicyRule:
        tallies_seen.append(tally)
        return PolicyRule(lambda _: (0.25, 0.75) if tally.variants else (1.0, 0.0))

    # Weights 2, 0 in the first batch, and 1/2, 3/2 in the second: taken if 2 draw < weight.
    own = OwnRun(2.0, np.array([0.99, 0.0, 0.3, 0.7]))
    target = replayed(log, weigh, 2, own)

    assert tallies_seen[0].variants == {}
    assert {arm: tally.units for arm, tally in tallies_seen[1].variants.items()} == {0: 1}
    assert tallies_seen[1].variants[0].weight == MICRO  # it had the share 1
    assert tallies_seen[1].variants[0].metrics["click"].total == MICRO
    assert target.n_learned == 2
    assert target.lacking == 0.0
    assert replayed(log, weigh, 2, OwnRun(1.0, own.draws)).lacking == pytest.approx(1.5 / 4)
    # The model continues learning from everything.
    assert target.model.tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_a_run_may_get_nothing_from_a_batch():
    log = log_of([0, 1, 0, 1])

    target = replayed(log, fixed([0.5, 0.5]), 1, OwnRun(4.0, np.array([0.3, 0.2, 0.3, 0.3])))

    assert target.n_learned == 1


def test_a_cap_below_one_is_refused():
    with pytest.raises(InvalidParameterError):
        OwnRun(0.5, np.zeros(1))


@pytest.mark.long
@pytest.mark.statistical
def test_a_separate_run_earns_what_a_real_one_does():
    """Thompson on rates 0.2, 0.1, 0.1: 80 logs of 3,000 evenly split units give runs of 1,000.

    The mean estimate and the mean of 80 real runs of 1,000 units differ by their standard error,
    and by four of it once in 15,000 runs.
    """
    random = np.random.default_rng(11)
    rates = np.array([0.2, 0.1, 0.1])
    weigh = policy_of(experiment_of("thompson_sampling", 3))
    estimates, lengths, real = [], [], []
    for _ in range(80):
        variants = random.integers(0, 3, 3_000)
        clicked = np.flatnonzero(random.random(3_000) < rates[variants])
        log = log_of(
            variants,
            [(unit, 1.0, 0) for unit in clicked.tolist()],
            propensity=PROPENSITY_ONE // 3,
            n_arms=3,
        )
        target = replayed(log, weigh, 300, OwnRun(3.0, random.random(3_000)))
        estimates.append(evaluate_target(log, target).dr.value)
        lengths.append(target.n_learned)
        real.append(real_run(weigh, rates, 1_000, 100, random))

    error = (np.var(estimates) / 80 + np.var(real) / 80) ** 0.5
    assert abs(np.mean(estimates) - np.mean(real)) < 4 * error
    assert np.mean(lengths) == pytest.approx(1_000, rel=0.02)


def real_run(weigh, rates, n_units: int, size: int, random: np.random.Generator) -> float:
    """Return the expected value per unit of a policy that runs."""
    variants: list[int] = []
    clicked: list[tuple[int, float, int]] = []
    expected = 0.0
    for start in range(0, n_units, size):
        # One unit more, so that the last batch of the log knows everything before it.
        *_, tally = tallies(log_of([*variants, 0], clicked, n_arms=len(rates)), max(1, start))
        shares = np.array(weigh(tally).shares(INTERCEPT))
        chosen = random.choice(len(rates), size, p=shares)
        expected += size * float((shares * rates).sum())
        values = random.random(size) < rates[chosen]
        clicked += [(start + unit, 1.0, 0) for unit in np.flatnonzero(values).tolist()]
        variants += chosen.tolist()
    return expected / n_units
