from __future__ import annotations

from typing import Any

from experiment_streams_client import Assignment, ObservationRequest, Stats
from streams.cli.demo.ledger import ASSIGNMENTS, ComparedCount, CountAndSum, SentEvents
from tests.streams.cli.conftest import EXPERIMENT_ID

A, B = f"{EXPERIMENT_ID}_v0", f"{EXPERIMENT_ID}_v1"


def assignment(receipt: str | None, variant_id: str = A) -> Assignment:
    return Assignment(
        id=receipt,
        experiment_id=EXPERIMENT_ID,
        variant_id=variant_id,
        variant_name="A",
        config={},
        enrolled=receipt is not None,
        reason="ALLOCATION",
        propensity=0.5,
    )


def observation(assignment_id: str, metric: str, value: float, event_id: str) -> ObservationRequest:
    return ObservationRequest(
        assignment_id=assignment_id, metric=metric, value=value, event_id=event_id
    )


def lines_of(ledger: SentEvents, stats: dict[str, Any]) -> dict[tuple[str, str], ComparedCount]:
    compared = ledger.compared(Stats.from_json(stats))
    return {(line.variant, line.metric): line for line in compared}


def test_a_unit_counts_once_and_so_does_an_event_however_often_they_come(stats) -> None:
    ledger = SentEvents()
    for receipt in ("r1", "r1", "r2", None):
        ledger.assigned(assignment(receipt))
    for event_id in ("e1", "e1", "e2"):
        ledger.observed(A, observation("r1", "revenue", 0.1, event_id))
    ledger.observed(A, observation("r2", "revenue", 0.2, "e1"))

    lines = lines_of(ledger, stats)

    assert lines["A", ASSIGNMENTS].sent == CountAndSum(2)
    assert lines["A", "revenue"].sent == CountAndSum(3, 400_000)
    assert (ledger.assignments_answered, ledger.not_enrolled) == (3, 1)
    assert (ledger.observations_sent, ledger.duplicates) == (4, 1)


def test_a_line_is_exact_only_if_number_and_sum_agree(stats) -> None:
    ledger = SentEvents()
    for index, value in enumerate((9.99, 20.0, 20.0)):
        ledger.observed(A, observation(f"r{index}", "revenue", value, "e"))
    for index, value in enumerate((9.99, 20.0, 69.98)):
        ledger.observed(B, observation(f"r{index}", "revenue", value, "e"))

    lines = lines_of(ledger, stats)

    assert lines["A", "revenue"].is_exact
    assert not lines["B", "revenue"].is_exact
    assert lines["B", "revenue"].counted == CountAndSum(3, 99_980_000)


def test_what_only_one_side_knows_differs(stats) -> None:
    ledger = SentEvents()
    ledger.observed(A, observation("r1", "signup", 1, "e"))

    lines = lines_of(ledger, stats)

    assert (lines["A", "signup"].sent, lines["A", "signup"].counted) == (
        CountAndSum(1, 1_000_000),
        CountAndSum(),
    )
    assert (lines["A", "click"].sent, lines["A", "click"].counted) == (
        CountAndSum(),
        CountAndSum(120, 120_000_000),
    )
