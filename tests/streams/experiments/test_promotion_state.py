"""State after a conclusion with a control share, and its rollback."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.experiments.lifecycle import Status
from streams.experiments.promotion_state import (
    MAX_CONTROL_SHARE,
    Phase,
    Promotion,
    weight_of_share,
)
from streams.experiments.served import Served
from streams.experiments.transitions import apply_command
from streams.model.errors import InputError, TransitionError
from streams.model.quantities import ALLOCATION_TOTAL
from tests.streams.experiments.test_transitions import command, reached

WINNER = {"winnerVariantId": "exp_0000000000007_v1"}
CONTROL = {"winnerVariantId": "exp_0000000000007_v0"}


def promoted(**payload: Any) -> Any:
    return apply_command(
        reached(Status.RUNNING),
        command("conclude", 90, **WINNER | {"controlShare": 0.05} | payload),
    )


def test_a_winner_with_a_control_share_goes_on_assigning():
    experiment = promoted()

    assert experiment.promotion == Promotion(
        variant=1,
        control_weight=3_277,
        is_automatic=False,
        is_rolled_back=False,
        began_at_ms=90,
        version=3,
    )
    assert (experiment.status, experiment.winner) == (Status.CONCLUDED, 1)
    assert (experiment.is_assigning, experiment.phase) == (True, Phase.PROMOTED)
    assert experiment.promotion.weights(2, 0) == (3_277, 62_259)


@pytest.mark.parametrize(
    "payload",
    [WINNER, WINNER | {"controlShare": 0}, CONTROL | {"controlShare": 0.05}, {"controlShare": 0.1}],
    ids=["says no share", "share of nothing", "the control won", "no winner"],
)
def test_a_conclusion_without_promotion_serves_one_variant(payload):
    experiment = apply_command(reached(Status.RUNNING), command("conclude", 90, **payload))

    assert experiment.promotion is None
    assert not experiment.is_assigning
    assert experiment.shipped == Served(experiment.winner or 0, 90)


def test_a_roll_back_gives_all_users_the_control():
    after: Any = apply_command(promoted(), command("rollback", 99))

    assert (after.status, after.winner, after.concluded_at_ms) == (Status.CONCLUDED, 0, 90)
    assert after.promotion.weights(2, 0) == (ALLOCATION_TOTAL, 0)
    assert (after.promotion.began_at_ms, after.promotion.version) == (99, 4)
    assert (after.promotion.variant, after.phase) == (1, Phase.ROLLED_BACK)
    assert after.is_assigning


def test_an_archived_experiment_assigns_no_longer_and_rolls_nothing_back():
    archived = apply_command(promoted(), command("archive", 99))

    assert not archived.is_assigning
    with pytest.raises(TransitionError) as caught:
        apply_command(archived, command("rollback", 100))
    assert caught.value.code == "INVALID_TRANSITION"


@given(st.integers(1, 6))
def test_rolling_back_again_changes_nothing(times):
    once = apply_command(promoted(), command("rollback", 99))

    for at_ms in range(100, 100 + times):
        with pytest.raises(TransitionError) as caught:
            apply_command(once, command("rollback", at_ms))
        assert (caught.value.code, caught.value.path) == ("INVALID_TRANSITION", "status")


@pytest.mark.parametrize(
    ("payload", "code", "path"),
    [
        ({"controlShare": 0.6}, "OUT_OF_RANGE", "controlShare"),
        ({"controlShare": -0.1}, "OUT_OF_RANGE", "controlShare"),
        ({"controlShare": True}, "WRONG_TYPE", "controlShare"),
        ({"isPromotion": 1}, "WRONG_TYPE", "isPromotion"),
    ],
)
def test_a_conclusion_that_cannot_be_used_is_refused(payload, code, path):
    with pytest.raises(InputError) as caught:
        promoted(**payload)

    assert (caught.value.code, caught.value.path) == (code, path)


def test_a_roll_back_takes_nothing_but_its_reason():
    with pytest.raises(InputError) as caught:
        apply_command(promoted(), command("rollback", 99, winnerVariantId="x"))

    assert (caught.value.code, caught.value.path) == ("UNKNOWN_FIELD", "winnerVariantId")


@given(
    st.floats(0.0, MAX_CONTROL_SHARE, exclude_min=True),
    st.integers(2, 256).flatmap(
        lambda n: st.tuples(st.just(n), st.permutations(range(n)).map(lambda order: order[:2]))
    ),
    st.booleans(),
)
def test_weights_sum_to_one_and_no_other_variant_has_any(share, variants, is_rolled_back):
    n, (winner, control) = variants
    value = Promotion(
        winner, weight_of_share(share), is_automatic=True, is_rolled_back=is_rolled_back,
        began_at_ms=0, version=3,
    )  # fmt: skip

    weights = value.weights(n, control)

    assert sum(weights) == ALLOCATION_TOTAL
    assert sum(weights) == weights[winner] + weights[control]
    assert all(weight >= 0 for weight in weights)
    if is_rolled_back:
        assert weights[control] == ALLOCATION_TOTAL
    else:
        assert 1 <= weights[control] <= weights[winner]
        assert abs(weights[control] / ALLOCATION_TOTAL - share) <= 1 / ALLOCATION_TOTAL


def test_indices_of_the_phases_do_not_meet():
    experiment = promoted()

    found = [experiment.logged_index(variant, phase) for phase in Phase for variant in range(2)]

    assert found == [0, 1, 256, 257, 512, 513]
