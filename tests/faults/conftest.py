"""Seeds of the random schedules, from the command line or the usual ones."""

from __future__ import annotations

import pytest

USUAL_SEEDS = {"embedded": (*range(1, 20, 2),), "kafka": (*range(0, 18, 2), 19)}
"""By broker, for each of which they have every fault; the two share the minutes of a run."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        stack = metafunc.config.getoption("--stack")
        usual = USUAL_SEEDS["embedded" if stack == "embedded" else "kafka"]
        metafunc.parametrize("seed", metafunc.config.getoption("--fault-seed") or usual)
