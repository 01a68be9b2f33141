"""Assignment of units to variants."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.models.requests import AssignmentContext
from streams.experiments.assignment import Assigner
from streams.experiments.definition import parse_definition
from streams.experiments.hash_assignment import decide_by_hash
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.promotion_state import Promotion
from streams.experiments.snapshot import Allocation, Snapshot
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.experiments.statistics.variant_report import VariantReport
from streams.model.errors import ExperimentNotRunningError, InputError
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipts import Receipt
from streams.model.vectors import unpack
from streams.policies.bucketing import draws, promoted_draw
from streams.policies.draw_tables import draw_table

REPORT = VariantReport(0, 0, 0.0, 0.0, 1.0, 0.5, 0.0, {})


def snapshot(
    weights: tuple[int, ...] = (16_384, 49_152),
    status: Status = Status.RUNNING,
    **config: object,
) -> Snapshot:
    definition = parse_definition(
        {"name": "Hero", "type": "thompson_sampling", "primaryMetric": "click", **config},
        [
            {"name": f"V{index}", "isControl": index == len(weights) - 1}
            for index in range(len(weights))
        ],
    )
    return Snapshot(
        experiment=Experiment(5, definition, status, 2, 1, 1_000, 2),
        version=40,
        allocation=Allocation(40, weights),
        variants=(REPORT,) * len(weights),
        winner=None,
        confidence=0.5,
        recommended_action=RecommendedAction.CONTINUE,
        reason_code=ReasonCode.NOT_STARTED,
        duplicates=0,
        cells=(),
        as_of_ms=0,
    )


def test_an_impression_by_hand() -> None:
    # The draws of this key are an example of `draws`: variant draw 15381469048812534449,
    # which is bucket 54644 of 65536, in the second variant.
    assigner = Assigner(replace(snapshot(), experiment=replace(
        snapshot().experiment, number=0x0123456789ABCDEF)))  # fmt: skip

    found = assigner.assign("user_123", 77)

    propensity, unit = 3 * PROPENSITY_ONE // 4, 15901143124756564115
    receipt = Receipt(0x0123456789ABCDEF, 1, propensity, 40, 77, unit, 86_400)
    assert found == (1, True, receipt)
    assert (assigner.is_remembered, assigner.attribution_window_s) == (False, 86_400)


def test_a_unit_outside_gets_the_control() -> None:
    found = Assigner(snapshot(trafficAllocation=0.0)).assign("u", 1)

    assert (found.variant, found.enrolled, found.receipt.propensity) == (1, False, 0)


def test_a_user_under_fixed_weights_has_one_receipt_whenever_it_comes() -> None:
    assigner = Assigner(snapshot(type="bayesian_ab"))

    assert assigner.assign("u", 5_000) == assigner.assign("u", 9_000)
    assert assigner.assign("u", 5_000).receipt.assigned_at_ms == 1_000
    assert not assigner.is_remembered


@pytest.mark.parametrize("unit", ["user", "session"])
def test_a_unit_that_comes_again_under_a_bandit_is_remembered(unit: str) -> None:
    assigner = Assigner(snapshot(unit=unit))

    assert assigner.is_remembered
    assert assigner.assign("u", 5_000).receipt.assigned_at_ms == 5_000


def test_covariates_are_in_the_first_receipt_which_is_kept() -> None:
    covariates = [
        {"name": "age", "minimum": 0, "maximum": 100},
        {"name": "spend", "minimum": 0, "maximum": 8},
    ]
    assigner = Assigner(snapshot(type="bayesian_ab", covariates=covariates))

    found = assigner.assign("u", 5_000, features={"age": 75, "spend": None, "other": "text"})

    # 4: spend is missing
    assert unpack(found.receipt.features) == ((0, 1_024), (1, 512), (4, 1_024))
    assert (assigner.is_remembered, found.receipt.assigned_at_ms) == (True, 5_000)
    for value, code in (("75", "WRONG_TYPE"), (True, "WRONG_TYPE"), (math.inf, "NOT_FINITE")):
        with pytest.raises(InputError) as refused:
            assigner.assign("u", 5_000, features={"age": value})
        assert (refused.value.code, refused.value.path) == (code, "features.age")
    draws_of_impressions = Assigner(snapshot(covariates=covariates))
    assert not draws_of_impressions.is_remembered


@pytest.mark.parametrize("status", [Status.DRAFT, Status.PAUSED, Status.CONCLUDED])
def test_only_a_running_experiment_assigns(status: Status) -> None:
    with pytest.raises(ExperimentNotRunningError):
        Assigner(snapshot(status=status))


@given(
    key=st.binary(min_size=1, max_size=32),
    cuts=st.lists(st.integers(0, 65_536), min_size=1, max_size=6),
)
def test_the_propensity_is_the_weight_of_the_variant_the_draw_chooses(key, cuts) -> None:
    ends = [0, *sorted(cuts), 65_536]
    weights = tuple(high - low for low, high in pairwise(ends))

    found = Assigner(snapshot(weights)).assign(key, 1)

    assert found.variant == draw_table(weights).choose(draws(5, key).variant)
    assert found.receipt.propensity == weights[found.variant] << 16 > 0


@given(key=st.text(min_size=1), low=st.floats(0, 1), high=st.floats(0, 1))
def test_raising_the_traffic_keeps_everyone_already_in(key: str, low: float, high: float) -> None:
    low, high = sorted((low, high))
    before = Assigner(snapshot(trafficAllocation=low)).assign(key, 1)
    after = Assigner(snapshot(trafficAllocation=high)).assign(key, 1)

    assert not before.enrolled or after == before


@given(st.text(min_size=1), st.floats(0, 1), st.sampled_from(["user", "impression"]))
def test_a_receipt_is_that_of_the_draws(key: str, traffic: float, unit: str) -> None:
    """`receipt_by_hash` and `assign` against the steps that `streams.policies.bucketing` states."""
    assigner = Assigner(snapshot(type="bayesian_ab", unit=unit, trafficAllocation=traffic))
    unit_key = key if unit == "user" else key.encode()
    drawn = draws(5, unit_key)
    variant = int(drawn.variant * 65_536 >> 64 >= 16_384)

    receipt = assigner.receipt_by_hash(unit_key, 2_000)
    assigned = assigner.assign(unit_key, 2_000)

    assert (receipt is not None) is (drawn.enrolment * 2**32 >> 64 < round(traffic * 2**32))
    if receipt is None:
        assert assigned == (1, False, Receipt(5, 0, 0, 0, 2_000, drawn.unit, 0))
        return
    at_ms = 1_000 if unit == "user" else 2_000
    propensity = (PROPENSITY_ONE // 4, 3 * PROPENSITY_ONE // 4)[variant]
    assert receipt[:6] == (5, variant, propensity, 40, at_ms, drawn.unit)
    assert assigned == (variant, True, receipt)


@pytest.mark.parametrize(("now_ms", "assigned_at_ms"), [(999, 1_000), (0, 1_000), (1_001, 1_001)])
def test_no_assignment_is_before_the_start_where_a_clock_is_behind(
    now_ms: int, assigned_at_ms: int
) -> None:
    """A window that begins before the experiment would end as much too early."""
    assigner, request = Assigner(snapshot()), AssignmentContext()

    found = decide_by_hash(assigner, request, None, lambda: now_ms, lambda: bytes(16), False)

    assert isinstance(found, Receipt)
    assert found.assigned_at_ms == assigned_at_ms


def test_shares_are_those_of_the_weights() -> None:
    """20,000 fixed keys; six standard deviations of a binomial: false alarm below 1e-8."""
    assigner = Assigner(snapshot((6_554, 58_982)))
    counts = Counter(assigner.assign(f"user_{number}", 1).variant for number in range(20_000))

    assert abs(counts[0] - 2_000) < 6 * (20_000 * 0.1 * 0.9) ** 0.5


def test_a_promoted_winner_is_drawn_afresh_and_under_its_own_index() -> None:
    promotion = Promotion(0, 16_384, True, False, 7_000, 9)
    concluded = replace(
        snapshot((49_152, 16_384), Status.CONCLUDED, unit="user").experiment, promotion=promotion
    )
    assigner = Assigner(replace(snapshot((49_152, 16_384)), experiment=concluded))

    found = assigner.assign("u", 8_000)

    assert (assigner.first_index, assigner.is_remembered) == (256, False)
    assert found.variant == draw_table((49_152, 16_384)).choose(promoted_draw(5, "u"))
    assert found.receipt.variant == 256 + found.variant
    assert found.receipt.assigned_at_ms == 7_000
    assert found.receipt.unit == draws(5, "u").unit
