"""Policies over a log in which not all variants were eligible for every unit."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from streams.fold.recorders import Assignments
from streams.model.quantities import PROPENSITY_ONE
from streams.policies.draw_tables import draw_table
from streams.replay.off_policy.logged import UnitLog
from streams.replay.off_policy.report import evaluate_target
from streams.replay.off_policy.rules import fixed
from streams.replay.off_policy.target import among, replayed
from streams.replay.unit_log import joined
from tests.streams.replay.off_policy.logs import log_of

WEIGHTS = (32_768, 16_384, 16_384)


def log_of_sets(eligible: list[int], draws: list[int]) -> UnitLog:
    """Return the log of units, each with its bits of eligible variants and its draw."""
    tables = [draw_table(WEIGHTS, each) for each in eligible]
    variants = [table.choose(draw) for table, draw in zip(tables, draws, strict=True)]
    noted = Assignments()
    noted.units = array("Q", range(len(eligible)))
    noted.variants = array("q", variants)
    noted.propensities = array(
        "q", [table.propensities[v] for table, v in zip(tables, variants, strict=True)]
    )
    noted.assigned_at_ms = array("q", range(len(eligible)))
    noted.contexts = array("q", [0] * len(eligible))
    for bits, table in zip(eligible, tables, strict=True):  # as under fixed weights
        packed = table.packed if bits != 0b111 else b""
        noted.places.append(noted.weights.setdefault(packed, len(noted.weights)))
    return joined("click", 3, [noted], [])


def test_the_log_knows_the_sets():
    log = log_of_sets([0b111, 0b110, 0b100, 0b110], [0, 0, 0, 2**63])

    assert log.sets.tolist() == [0, 1, 2, 1]
    assert log.eligible.tolist() == [[True] * 3, [False, True, True], [False, False, True]]
    assert len(log_of_sets([0b111] * 3, [0] * 3).sets) == 0


def test_a_policy_shares_among_what_was_eligible():
    log = log_of_sets([0b111, 0b110, 0b110, 0b011], [0] * 4)

    target = replayed(log, fixed([0.2, 0.2, 0.6]), 2)

    found = target.shares[target.situations].tolist()
    assert found == [
        pytest.approx([0.2, 0.2, 0.6]),
        pytest.approx([0.0, 0.25, 0.75]),
        pytest.approx([0.0, 0.25, 0.75]),
        pytest.approx([0.5, 0.5, 0.0]),
    ]
    assert among([1.0, 0.0, 0.0], np.array([False, True, True])) == [0.0, 0.5, 0.5]


def test_the_policy_that_was_logged_weighs_every_unit_alike():
    generator = np.random.default_rng(7)
    eligible = generator.integers(1, 8, 200).tolist()
    log = log_of_sets(eligible, generator.integers(2**64, size=200, dtype=np.uint64).tolist())

    found = evaluate_target(log, replayed(log, fixed([0.5, 0.25, 0.25]), 50))

    assert found.diagnostics.effective_units == pytest.approx(200)


@pytest.mark.statistical
def test_values_under_other_weights_are_those_of_a_policy_that_has_the_sets():
    """20,000 units; sets that go with the rate. Six standard errors: false alarm below 1e-8."""
    generator = np.random.default_rng(8)
    n_units, rates = 20_000, {0b011: 0.5, 0b110: 0.1, 0b111: 0.3}
    better = np.array([1.0, 0.5, 0.8])
    eligible = generator.choice(list(rates), n_units).tolist()
    log = log_of_sets(eligible, generator.integers(2**64, size=n_units, dtype=np.uint64).tolist())
    chances = np.array([rates[each] for each in eligible]) * better[log.variants]
    won = np.flatnonzero(generator.random(n_units) < chances).tolist()
    seen = log_of(log.variants.tolist(), [(unit, 1.0, 0) for unit in won], n_arms=3)
    whole = UnitLog(
        "click",
        3,
        log.variants,
        log.propensities,
        log.assigned_at_ms,
        seen.observed_units,
        seen.observed_values,
        seen.observed_at_ms,
        sets=log.sets,
        eligible=log.eligible,
    )
    weights = [0.1, 0.1, 0.8]
    truth = np.mean(
        [
            rates[each]
            * np.dot(better, among(weights, np.array([each >> k & 1 for k in range(3)])))
            for each in eligible
        ]
    )

    found = evaluate_target(whole, replayed(whole, fixed(weights), 1_000))

    assert log.propensities.max() < PROPENSITY_ONE
    error = (found.ipw.upper - found.ipw.lower) / 3.92
    assert abs(found.ipw.value - truth) < 6 * error
    assert error < 0.01
