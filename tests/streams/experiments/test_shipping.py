"""Variants that a concluded experiment serves, to whom, and their roll-back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.experiments.assignment_reason import Reason
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.served import Serve, Served
from streams.experiments.shared_unit_conflicts import check_shared_units
from streams.experiments.shipping import Shipping
from streams.experiments.transitions import apply_command
from streams.model.errors import ExperimentNotRunningError, InputError, TransitionError
from streams.policies.bucketing import lasting_unit
from tests.streams.experiments.test_admission import MOBILE, a_holdout
from tests.streams.experiments.test_transitions import command, reached
from tests.streams.targeting.test_rule import Request

VARIANTS = [f"exp_0000000000007_v{index}" for index in range(2)]
CONTROL, WINNER = VARIANTS
VARIANT_LIST = [{"name": "A", "isControl": True}, {"name": "B"}]


def concluded(**payload: Any) -> Experiment:
    return apply_command(reached(Status.RUNNING), command("conclude", 90, **payload))


def shipping(**config: Any) -> Shipping:
    """Return what ships B of an experiment with this configuration."""
    whole = {"name": "n", "type": "bayesian_ab", "primaryMetric": "click", "unit": "user", **config}
    definition = parse_definition(whole, VARIANT_LIST)
    return Shipping(
        Experiment(
            7, definition, Status.CONCLUDED, 3, 0, started_at_ms=1, winner=1, served=Served(1, 90)
        )
    )


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "winnerVariantId": st.sampled_from(VARIANTS),
            "serve": st.sampled_from(["winner", "control", "none"]),
            "controlShare": st.floats(0.0, 0.5),
        },
    ),
    st.booleans(),
)
def test_one_of_three_things_is_answered_and_what_contradicts_itself_is_refused(payload, paused):
    before = reached(Status.PAUSED if paused else Status.RUNNING)
    winner, serve = payload.get("winnerVariantId"), payload.get("serve")
    share = payload.get("controlShare", 0.0)
    is_refused = {
        ("WINNER_NOT_NAMED", "serve"): serve == "winner" and winner is None,
        ("CONTROL_SHARE_NOT_USED", "controlShare"): serve in {"control", "none"} and share > 0.0,
    }
    expected = [each for each, is_so in is_refused.items() if is_so]
    if expected:
        with pytest.raises(InputError) as caught:
            apply_command(before, command("conclude", 90, **payload))
        assert (caught.value.code, caught.value.path) in expected
        return
    after = apply_command(before, command("conclude", 90, **payload))

    shown = serve or ("control" if winner is None else "winner")
    is_promoted = shown == "winner" and winner == WINNER and share > 0.0
    assert after.is_assigning == (after.promotion is not None) == is_promoted
    if shown == "none" or is_promoted:
        assert after.shipped is None
    else:
        assert after.shipped == Served(1 if (shown, winner) == ("winner", WINNER) else 0, 90)
    assert after.winner == (None if winner is None else VARIANTS.index(winner))
    archived = apply_command(after, command("archive", 99))
    assert (archived.shipped, archived.is_assigning) == (None, False)


@given(st.sampled_from([None, *Serve]), st.sampled_from([None, *VARIANTS]), st.integers(1, 3))
def test_a_shipped_winner_is_taken_back_once_and_nothing_else_is(serve, winner, times):
    payload = {"serve": serve and serve.value, "winnerVariantId": winner}
    given_ = {name: value for name, value in payload.items() if value is not None}
    if serve is Serve.WINNER and winner is None:
        return
    after = concluded(**given_)
    if after.shipped is not None and after.shipped.variant == 1:
        after = apply_command(after, command("rollback", 95))
        assert (after.winner, after.shipped) == (0, Served(0, 95))
        assert after.concluded_at_ms == 90
    for at_ms in range(96, 96 + times):
        with pytest.raises(TransitionError) as caught:
            apply_command(after, command("rollback", at_ms))
        assert (caught.value.code, caught.value.path) == ("INVALID_TRANSITION", "status")


@pytest.mark.parametrize("serve", ["", "Winner", "variant", None, 1, ["winner"]])
def test_anything_else_to_serve_is_refused(serve):
    if serve is None:
        assert concluded(serve=serve).shipped == Served(0, 90)
        return
    with pytest.raises(InputError) as caught:
        concluded(serve=serve)
    assert caught.value.path == "serve"


def test_nothing_is_compiled_of_an_experiment_that_serves_nothing():
    with pytest.raises(ExperimentNotRunningError):
        Shipping(concluded(serve="none"))


def test_override_holdout_and_targeting_come_before_what_is_shipped():
    half = a_holdout()
    held = next(f"h{n}" for n in range(99) if half.holds(lasting_unit(f"h{n}")))
    free = next(f"f{n}" for n in range(99) if not half.holds(lasting_unit(f"f{n}")))
    of = shipping(targeting=MOBILE, overrides={"qa": "A"})

    def decided(user: str | None, device: str = "mobile", fallback: str | None = None) -> Any:
        return of.decide(Request(user_id=user, device=device), fallback, [half])

    assert decided("qa") == (Reason.FORCED, 0)
    assert decided(held, "desktop") == (Reason.HOLDOUT, 0)
    assert decided(free, "desktop") == (Reason.NOT_TARGETED, 0)
    assert decided(free) == (Reason.SHIPPED, 1)
    assert decided(free, fallback=held) == (Reason.HOLDOUT, 0)
    assert decided(held, fallback=free) == (Reason.SHIPPED, 1)
    assert decided(None, fallback=held) == (Reason.HOLDOUT, 0)


@given(st.sampled_from([None, "", "anonymous", " NULL ", "u"]), st.floats(0.0, 1.0))
def test_layer_enrollment_and_junk_are_of_no_account(user, traffic):
    layer = {"key": "page", "range": [0, 1e-6]}
    of = shipping(layer=layer, trafficAllocation=traffic, overrides={"qa": "A"})

    assert of.decide(Request(user_id=user)) == (Reason.SHIPPED, 1)


@given(st.sampled_from([None, "", "anonymous", " NULL "]))
def test_a_request_without_a_unit_is_in_no_holdout(user):
    found = shipping().decide(Request(user_id=user), None, [a_holdout()])
    assert found == (Reason.SHIPPED, 1)


def test_a_shipped_experiment_frees_its_range():
    config = {"name": "n", "type": "bayesian_ab", "primaryMetric": "click", "unit": "user"}
    layer = {"layer": {"key": "page", "range": [0, 0.5]}}
    old = parse_definition({**config, **layer}, VARIANT_LIST)
    other = Experiment(1, old, Status.CONCLUDED, 3, 0, winner=1, served=Served(1, 90))

    check_shared_units(2, old, [other])
