"""Random schedules of faults for as long as one likes: `make soak MINUTES=30`."""

from __future__ import annotations

import secrets
import sys
import time

import pytest

from tests.faults.fault_scenario import fault_scenario
from tests.faults.schedule import schedule

SEEDS = 1 << 32


def say(line: str) -> None:
    """Write a line at once: the seed is needed when the run is ended from outside."""
    sys.stdout.write(f"\n{line}")
    sys.stdout.flush()


@pytest.mark.soak
async def test_soak(settings, servers, tmp_path, request):
    minutes = request.config.getoption("--soak-minutes")
    end = time.monotonic() + 60 * minutes
    n_schedules = 0
    while time.monotonic() < end:
        seed = secrets.randbelow(SEEDS)
        steps = schedule(seed)
        say(f"seed {seed}: {', '.join(step.fault.name for step in steps)}")
        name = f"{settings.namespace}-{n_schedules}"
        own = settings.model_copy(update={"topic_prefix": f"{name}-", "namespace": name})
        async with fault_scenario(own, tmp_path / name, servers.broker_pid, seed) as running:
            await running.run(steps)
            await running.check()
        n_schedules += 1
    say(f"{n_schedules} schedules, every count exact")
