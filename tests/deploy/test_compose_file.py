"""Order and time in which the services of docker-compose.yml stop, without an engine."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from streams.process.exits import LOG_PATIENCE_S, STOP_S
from tests.compose.stack import LONG_RUNNING, ROOT

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
    "services"
]
ENGINE = sorted(set(LONG_RUNNING) - {"kafka", "redis"})


@pytest.mark.parametrize("name", ENGINE)
def test_a_service_gets_longer_than_its_process_takes_to_end(name: str):
    grace = re.fullmatch("([0-9]+)s", SERVICES[name]["stop_grace_period"])

    assert grace is not None
    assert int(grace[1]) >= STOP_S + LOG_PATIENCE_S


@pytest.mark.parametrize("name", ENGINE)
def test_a_service_stops_before_each_server_that_its_settings_name(name: str):
    """Directly: Compose 1 knows no order by way of a task that has ended, such as `topics`."""
    environment = SERVICES[name]["environment"]
    servers = {
        match
        for value in environment.values()
        for match in re.findall(r"(?:^|@|//)(kafka|redis|api):[0-9]", str(value))
    }

    assert servers
    assert servers <= SERVICES[name]["depends_on"].keys()
