"""Evaluations of units for which not all variants were eligible."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulation.eligible import Requests, simulate_sets
from streams.analysis.evaluate import evaluate
from streams.analysis.reasons import reason
from streams.experiments.lifecycle import Experiment
from streams.experiments.measurement_plan import plan_of
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.recommendation import ReasonCode
from streams.model.quantities import MICRO
from streams.planning.simulation import NUMBER, running_experiment
from streams.policies.draw_tables import DrawTables
from streams.stats.weighting import Weighting
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source
from streams.tallies.merging import merge
from streams.wire.snapshots import decode_snapshot, encode_snapshot

REQUESTS = Requests(
    (0b011, 0b110, 0b111),
    np.array([0.4, 0.4, 0.2]),
    np.array([[0.3] * 3, [0.05] * 3, [0.1] * 3]),
    units=2_000,
    looks=3,
)


def experiment_of(policy: str, n_variants: int = 3) -> Experiment:
    return running_experiment(
        {"name": "sets", "type": policy, "primaryMetric": "click", "minSampleSize": 1}, n_variants
    )


def last(policy: str, *, is_naive: bool = False) -> Snapshot:
    experiment = experiment_of(policy)
    generator = np.random.default_rng(3)
    return list(simulate_sets(experiment, REQUESTS, generator, is_naive=is_naive))[-1]


@pytest.mark.parametrize("policy", ["bayesian_ab", "thompson_sampling", "ucb", "epsilon_greedy"])
def test_equal_variants_of_different_requests_are_equal(policy: str) -> None:
    """Seeded. The means differ by a factor of three; a row of the calibration has the errors."""
    snapshot = last(policy)
    evidence = snapshot.evidence
    assert evidence is not None

    assert evidence.weighting is Weighting.OVERLAP
    assert not evidence.sample_ratio.is_mismatch
    assert all(each.p_value > 0.05 for each in evidence.comparisons)
    assert evidence.excluded_units[1] == 0
    assert min(evidence.excluded_units[0], evidence.excluded_units[2]) > 2_000


def test_without_the_sets_they_seem_different_and_the_sample_ratio_is_off() -> None:
    evidence = last("bayesian_ab", is_naive=True).evidence
    assert evidence is not None

    assert evidence.sample_ratio.is_mismatch
    assert min(each.p_value for each in evidence.comparisons) < 1e-6
    assert evidence.probability_best > 0.999


def test_fixed_weights_without_sets_are_compared_as_ever() -> None:
    whole = Requests(
        (0b111,), np.ones(1), np.full((1, 3), 0.1), units=REQUESTS.units, looks=REQUESTS.looks
    )
    found = list(simulate_sets(experiment_of("bayesian_ab"), whole, np.random.default_rng(3)))[-1]

    assert found.evidence is not None
    assert found.evidence.weighting is Weighting.PLAIN
    assert found.evidence.excluded_units == (0, 0, 0)


@pytest.mark.parametrize("policy", ["bayesian_ab", "thompson_sampling"])
def test_more_variants_than_a_receipt_has_weights_of_are_counted_and_not_compared(
    policy: str,
) -> None:
    """The second half of 17 variants is shown only where nine tenths convert."""
    n_variants = 17
    experiment = experiment_of(policy, n_variants)
    plan = plan_of(experiment.definition)
    assigned, observed = (CellBuilder(NUMBER, each, 0, plan=plan) for each in Source)
    generator = np.random.default_rng(4)
    weights = evaluate(experiment, merge([]), ()).allocation.weights
    tables = DrawTables(weights, has_moved=policy != "bayesian_ab", is_compared=True)
    for eligible, rate in (((1 << n_variants) - 1, 0.9), ((1 << 8) - 1, 0.1)):
        table = tables.of(eligible)
        draws = generator.integers(2**64, size=6_000, dtype=np.uint64).tolist()
        for variant in map(table.choose, draws):
            chance = variant, table.propensities[variant], table.packed
            assigned.add_units(1, {chance: 1}, 1, 1)
            if generator.random() < rate:
                observed.add_value(1, (*chance, "click"), None, MICRO, 1)

    cells = [each.freeze() for each in (assigned, observed)]
    found = evaluate(experiment, merge([cell for cell in cells if cell is not None]), ())

    assert found.evidence is not None
    assert found.evidence.weighting is Weighting.INVERSE
    assert found.evidence.excluded_units == (0,) * 8 + (6_000,) * 9
    assert not found.evidence.sample_ratio.is_mismatch
    assert all(each.p_value == 1.0 for each in found.evidence.comparisons)
    assert found.reason_code is ReasonCode.ELIGIBILITY_UNKNOWN
    assert found.winner is None
    assert "eligible" in reason(found)


def test_what_is_published_is_read_again() -> None:
    snapshot = last("bayesian_ab")

    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot
