"""Seeds of the random schedules, from the command line or the usual ones."""

from __future__ import annotations

import pytest

USUAL_SEEDS = {"embedded": (1, 7, 15), "kafka": (4, 10, 14, 19)}
"""By broker, for each of which they have every fault."""

FURTHER_SEEDS = range(20)
"""Those of `make test-long`, beside the usual ones."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        stack = metafunc.config.getoption("--stack")
        usual = USUAL_SEEDS["embedded" if stack == "embedded" else "kafka"]
        further = (
            pytest.param(seed, marks=pytest.mark.long)
            for seed in FURTHER_SEEDS
            if seed not in usual
        )
        asked = metafunc.config.getoption("--fault-seed")
        metafunc.parametrize("seed", asked or (*usual, *further))
