from __future__ import annotations

from typing import Any

import httpx
import pytest

from experiment_streams_client import Assignment, AsyncExperimentClient, ObservationRequest
from streams.cli.demo import report
from streams.cli.demo.ledger import SentEvents
from streams.cli.demo.report import settled
from tests.streams.cli.conftest import EXPERIMENT_ID


@pytest.fixture
def ledger(stats) -> SentEvents:
    """A ledger that agrees with `stats`."""
    written = SentEvents()
    for variant in stats["variants"]:
        for number in range(1234):
            written.assigned(
                Assignment(
                    id=f"{variant['name']}{number}",
                    experiment_id=EXPERIMENT_ID,
                    variant_id=variant["id"],
                    variant_name=variant["name"],
                    config={},
                    enrolled=True,
                    reason="ASSIGNED",
                    propensity=0.5,
                )
            )
        metrics = variant["stats"]["metrics"]
        for name, metric in metrics.items():
            each, rest = divmod(metric["sumMicro"], metric["observations"])
            for number in range(metric["observations"]):
                value = (each + (rest if number == 0 else 0)) / 1_000_000
                written.observed(
                    variant["id"],
                    ObservationRequest(
                        assignment_id="r", metric=name, value=value, event_id=str(number)
                    ),
                )
    return written


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(report, "SETTLE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(report, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(report, "STILL_S", 0.05)


def client_that_says(*answers: dict[str, Any]) -> AsyncExperimentClient:
    left = list(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=left.pop(0) if len(left) > 1 else left[0])

    return AsyncExperimentClient("http://api", transport=httpx.MockTransport(answer))


async def test_it_waits_until_the_counts_are_right(ledger, stats) -> None:
    early = stats | {"variants": [stats["variants"][0], _with(stats["variants"][1], 3)]}

    found = await settled(client_that_says(early, early, stats), [EXPERIMENT_ID], ledger)

    assert found.is_exact
    assert found.to_json()["exact"]


async def test_counts_that_go_wrong_after_being_right_are_not_exact(ledger, stats) -> None:
    """A repetition that is counted late must be seen."""
    late = stats | {"variants": [stats["variants"][0], _with(stats["variants"][1], 1235)]}

    found = await settled(client_that_says(stats, late), [EXPERIMENT_ID], ledger)

    assert not found.is_exact
    assert [line.variant for line in found.lines if not line.is_exact] == ["B"]


async def test_counts_that_never_come_end_the_wait(ledger, stats) -> None:
    wrong = stats | {"variants": [stats["variants"][0], _with(stats["variants"][1], 3)]}

    found = await settled(client_that_says(wrong), [EXPERIMENT_ID], ledger)

    assert (found.is_exact, found.settled_in_s) == (False, None)


def _with(variant: dict[str, Any], assignments: int) -> dict[str, Any]:
    return variant | {"stats": variant["stats"] | {"assignments": assignments}}
