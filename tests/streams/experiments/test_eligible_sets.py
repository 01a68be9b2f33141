"""Many requests with sets of eligible variants, through the draws of production."""

import random
from collections import Counter, defaultdict

import pytest

from streams.analysis.evaluate import evaluate
from streams.experiments.assignment import Assigner
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.planning.simulation import NUMBER, running_experiment
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, Tally
from streams.tallies.merging import merge
from streams.tallies.plan import Plan

RATES = (0.05, 0.06, 0.07, 0.05, 0.04, 0.10)


@pytest.mark.statistical
def test_conditional_propensities_are_observed_shares_under_thompson_sampling():
    """200,000 requests with 2 to 6 of 6 variants, weights again after every 10,000.

    By variant and size of the set, the assignments less their propensities are a martingale:
    within five standard deviations, 30 of them, false alarm below 2e-5. What the sample ratio of
    production says is valid at every look, below 0.001 once in 1,000.
    """
    draw = random.Random(43)
    experiment = running_experiment(
        {
            "name": "sets",
            "type": "thompson_sampling",
            "primaryMetric": "click",
            "unit": "impression",
        },
        6,
    )
    plan = Plan(declared=frozenset({"click"}), n_variants=6)
    assigned, observed = (CellBuilder(NUMBER, source, 0, plan=plan) for source in Source)
    snapshot = evaluate(experiment, Tally(), ())
    excess: defaultdict[tuple[int, int], float] = defaultdict(float)
    variance: defaultdict[tuple[int, int], float] = defaultdict(float)
    evidence = snapshot.evidence
    for look in range(20):
        assigner = Assigner(snapshot)
        chances: Counter[tuple[int, int, bytes]] = Counter()
        for _ in range(10_000):
            size = draw.randint(2, 6)
            bits = sum(1 << variant for variant in draw.sample(range(6), size))
            found = assigner.assign(draw.randbytes(16), 1, eligible=bits)
            assert bits >> found.variant & 1
            for variant, each in enumerate(assigner._tables.of(bits).propensities):
                p = each / PROPENSITY_ONE
                excess[size, variant] += (variant == found.variant) - p
                variance[size, variant] += p * (1.0 - p)
            chance = found.variant, found.receipt.propensity, found.receipt.weights
            chances[chance] += 1
            if draw.random() < RATES[found.variant]:
                observed.add_value(look, (*chance, "click"), None, MICRO, look)
        assigned.add_units(look, chances, look, look)
        cells = [builder.freeze() or builder.cell for builder in (assigned, observed)]
        snapshot = evaluate(experiment, merge([cell for cell in cells if cell is not None]), ())
        evidence = snapshot.evidence
        assert evidence is not None
        assert not evidence.sample_ratio.is_mismatch

    assert evidence is not None
    assert len(excess) == 30
    assert all(abs(excess[key]) <= 5.0 * variance[key] ** 0.5 for key in excess)
    assert evidence.weighting == "overlap"
    assert max(snapshot.allocation.weights) == snapshot.allocation.weights[5]
