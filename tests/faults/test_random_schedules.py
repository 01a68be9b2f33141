"""Whatever happens in whatever order, every count is what was sent.

A failed seed is repeated with `make test PYTEST_ARGS="tests/faults --fault-seed SEED"`.
"""

from __future__ import annotations

import pytest

from tests.faults.conftest import USUAL_SEEDS
from tests.faults.fault_scenario import fault_scenario
from tests.faults.schedule import Fault, schedule


@pytest.mark.parametrize("seeds", USUAL_SEEDS.values(), ids=USUAL_SEEDS)
def test_the_usual_seeds_have_every_fault(seeds):
    assert {step.fault for each in seeds for step in schedule(each)} == set(Fault)


@pytest.mark.timeout(900)
async def test_every_count_is_exact_under_a_random_schedule_of_faults(
    settings, servers, tmp_path, seed
):
    steps = schedule(seed)
    async with fault_scenario(settings, tmp_path, servers.broker_pid, seed) as running:
        await running.run(steps)

        await running.check()
