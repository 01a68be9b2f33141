"""Seeds of the random schedules, from the command line or the usual ones."""

from __future__ import annotations

import pytest

USUAL_SEEDS = range(20)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", metafunc.config.getoption("--fault-seed") or USUAL_SEEDS)
