"""Exclusions of an experiment, and their order."""

from __future__ import annotations

from typing import Any

import pytest

from streams.experiments.admission import admission_of, kept_out
from streams.experiments.assignment_reason import Reason
from streams.experiments.definition import parse_definition
from streams.experiments.holdouts import Holdout, HoldoutSpec
from streams.experiments.shared_units import LayerSpec
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import InputError
from streams.model.experiment_keys import holdout_number
from streams.policies.bucketing import lasting_unit
from tests.streams.targeting.test_rule import Request

VARIANTS = [{"name": "A", "isControl": True}, {"name": "B"}, {"name": "C"}]
MOBILE = {"==": [{"var": "device"}, "mobile"]}


def definition(**config: Any):
    base = {"name": "Hero", "type": "bayesian_ab", "primaryMetric": "click"}
    return parse_definition(base | config, VARIANTS)


def test_an_experiment_for_everyone_demands_nothing():
    assert admission_of(definition()) is None


def test_an_override_comes_before_targeting():
    admission = admission_of(definition(targeting=MOBILE, overrides={"qa": "C"}))
    assert admission is not None

    assert admission.exclusion("qa", None, Request(user_id="qa")) == (Reason.FORCED, 2)
    assert admission.exclusion("u", None, Request(user_id="u")) == (Reason.NOT_TARGETED, 0)
    assert admission.exclusion("u", None, Request(user_id="u", device="mobile")) is None


def test_where_every_impression_is_a_unit_people_are_known_by_user_or_session():
    admission = admission_of(definition(unit="impression", overrides={"qa": "B"}))
    assert admission is not None

    assert admission.exclusion(None, None, Request(user_id="qa")) == (Reason.FORCED, 1)
    by_session = Request(user_id="u", session_id="qa")
    assert admission.exclusion(None, None, by_session) == (Reason.FORCED, 1)
    assert admission.exclusion(None, None, Request(session_id="s")) is None


def ignores_none(_: str) -> bool:
    """Ignore no id."""
    return False


def a_holdout() -> Holdout:
    return Holdout(holdout_number("all"), HoldoutSpec(key="all", share=0.5), 1, 0, UnitKind.USER)


def test_the_order_is_override_holdout_targeting_layer():
    holdout = a_holdout()
    held = next(f"h{n}" for n in range(99) if holdout.holds(lasting_unit(f"h{n}")))
    half = LayerSpec(key="page", range=(0.0, 0.5))
    free = [f"f{n}" for n in range(99) if not holdout.holds(lasting_unit(f"f{n}"))]
    inside = next(unit for unit in free if half.has(unit))
    outside = next(unit for unit in free if not half.has(unit))
    admission = admission_of(
        definition(
            targeting=MOBILE,
            overrides={"qa": "C"},
            layer={"key": "page", "range": [0, 0.5]},
        )
    )
    assert admission is not None

    def reason(unit: str, former: str | None = None, device: str | None = "mobile"):
        request = Request(user_id=unit, device=device)
        if kept_out(admission, [holdout], former, request, ignores_none) is not None:
            return Reason.HOLDOUT
        found = admission.exclusion(unit, former, request)
        return None if found is None else found.reason

    assert reason("qa", former=held) is Reason.FORCED
    assert reason(held, device=None) is Reason.HOLDOUT
    assert reason(outside, device=None) is Reason.NOT_TARGETED
    assert reason(outside) is Reason.NOT_IN_LAYER
    assert reason(inside) is None
    # One that has logged in stays where it was before.
    assert reason(outside, former=inside) is None
    assert reason(inside, former=outside) is Reason.NOT_IN_LAYER
    assert reason(inside, former=held) is Reason.HOLDOUT


IDS = [f"u{n}" for n in range(40)]


def by_impression(**config: Any):
    found = admission_of(definition(unit="impression", **config))
    assert found is not None
    return found


def test_an_impression_is_in_the_layer_as_its_user_is():
    layer = {"key": "page", "range": [0, 0.5]}
    of_impressions, of_users = by_impression(layer=layer), admission_of(definition(layer=layer))
    assert of_users is not None

    for unit in IDS:
        request = Request(user_id=unit, session_id="s")
        found = of_impressions.exclusion(None, None, request)
        assert found == of_users.exclusion(unit, None, request)
        assert (found is None) is LayerSpec(key="page", range=(0.0, 0.5)).has(unit)
        # As a user who has logged in, it stays where it was.
        moved = of_impressions.exclusion(None, unit, Request(user_id="other"))
        assert moved == of_users.exclusion("other", unit, Request(user_id="other"))


@pytest.mark.parametrize("request_", [Request(), Request(session_id="s"), Request(user_id="null")])
def test_an_impression_without_a_unit_is_in_no_part_of_a_layer(request_):
    everyone = by_impression(layer={"key": "page", "range": [0, 1]})

    assert everyone.exclusion(None, None, request_) == (Reason.NOT_IN_LAYER, 0)


@pytest.mark.parametrize("kind", [UnitKind.USER, UnitKind.SESSION])
def test_a_holdout_goes_by_the_id_of_the_unit_it_is_for(kind):
    spec = HoldoutSpec(key="all", share=0.5)
    holdout = Holdout(spec.number, spec, 1, 0, kind)
    other = "session_id" if kind is UnitKind.USER else "user_id"
    held = next(each for each in IDS if holdout.holds(lasting_unit(each)))

    def kept(former: str | None = None, **ids: str):
        return kept_out(None, [holdout], former, Request(**ids), lambda each: each == "null")

    for unit in IDS:
        found = kept(**{f"{kind}_id": unit, other: held})
        assert (found is not None) is holdout.holds(lasting_unit(unit))
        assert found is None or found == (holdout, unit)
    assert kept() is None
    assert kept(**{other: held}) is None
    assert kept(held, **{f"{kind}_id": "other"}) == (holdout, held)
    assert kept(held) == (holdout, held)
    assert kept(**{f"{kind}_id": "null"}) is None


def test_whom_an_override_names_is_held_out_of_no_impression():
    spec = HoldoutSpec(key="all", share=0.5)
    holdout = Holdout(spec.number, spec, 1, 0, UnitKind.USER)
    held = next(each for each in IDS if holdout.holds(lasting_unit(each)))
    admission = by_impression(overrides={held: "B", "qa": "B"})

    for request in (Request(user_id=held), Request(user_id=held, session_id="qa")):
        assert kept_out(admission, [holdout], None, request, ignores_none) is None


@pytest.mark.parametrize(
    ("config", "code", "path"),
    [
        ({"layer": {"key": "Page", "range": [0, 1]}}, "INVALID_NAME", "config.layer.key"),
        ({"layer": {"key": "page", "range": [0.5, 0.5]}}, "EMPTY_RANGE", "config.layer.range"),
        ({"layer": {"key": "page", "range": [0.5, 0.2]}}, "EMPTY_RANGE", "config.layer.range"),
        ({"layer": {"key": "page", "range": [0, 1.5]}}, "OUT_OF_RANGE", "config.layer.range[1]"),
        ({"layer": {"key": "page", "range": [0]}}, "MISSING_FIELD", "config.layer.range[1]"),
        ({"layer": {"key": "page"}}, "MISSING_FIELD", "config.layer.range"),
        ({"overrides": {"qa": "Z"}}, "UNKNOWN_VARIANT", "config.overrides.qa"),
        ({"overrides": {"": "B"}}, "OUT_OF_RANGE", "config.overrides"),
        ({"overrides": {f"u{n}": "B" for n in range(101)}}, "OUT_OF_RANGE", "config.overrides"),
        ({"overrides": ["qa"]}, "WRONG_TYPE", "config.overrides"),
        ({"targeting": {"like": ["a", "b"]}}, "UNKNOWN_OPERATOR", "config.targeting"),
        ({"targeting": "mobile"}, "WRONG_TYPE", "config.targeting"),
        (
            {"targeting": {"and": [MOBILE, {"==": [{"var": "x"}, 1]}]}},
            "UNKNOWN_ATTRIBUTE",
            "config.targeting.and[1].==[0].var",
        ),
    ],
)
def test_refused(config, code, path):
    with pytest.raises(InputError) as caught:
        definition(**config)

    assert caught.value.code == code
    assert caught.value.path.startswith(path)


def test_a_rule_is_written_as_it_was_read():
    found = definition(targeting=MOBILE)

    dumped = found.model_dump(by_alias=True, mode="json")
    assert dumped["config"]["targeting"] == MOBILE
    assert parse_definition(dumped["config"], dumped["variants"]) == found
