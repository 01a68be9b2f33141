from typing import Any

import numpy as np
import pytest

from benchmarks.simulation.outcomes import Outcomes, promoted, promotion_of, snapshots_of
from benchmarks.simulation.production import METRIC, running
from streams.model.errors import InvalidParameterError

DAY_MS = 86_400_000


def outcomes(winner, crash, looks=10, units=3_000):
    rates = {METRIC: np.tile((winner, 0.1), (looks, 1)), "crash": np.tile(crash, (looks, 1))}
    return Outcomes(rates, DAY_MS, (units,) * looks)


def guarded(**config):
    crash = {"kind": "binary", "direction": "decrease"}
    return running("bayesian_ab", 2, guardrailMetrics=["crash"], metrics={"crash": crash}, **config)


def test_a_clear_winner_is_promoted_after_a_week():
    found = promotion_of(
        running("bayesian_ab", 2, autoPromoteWinner=True),
        outcomes(0.2, (0.1, 0.1)),
        np.random.default_rng(1),
    )

    assert (found.look, found.winner, found.units) == (7, 0, 21_000)


def test_units_after_a_promotion_count_apart():
    life = snapshots_of(promoted(guarded()), outcomes(0.2, (0.3, 0.1)), np.random.default_rng(1))

    *_, last = life
    since: Any = last.evidence and last.evidence.since_conclusion
    assert min(since.units) == pytest.approx(1_500, rel=0.1)
    assert since.guardrails[0].is_tripped


def test_rates_of_other_lengths_are_refused():
    with pytest.raises(InvalidParameterError):
        Outcomes({METRIC: np.full((2, 2), 0.1)}, 1, (100,))
