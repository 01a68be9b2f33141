"""Variants that are added, stopped, reactivated and renamed, and drafts that are edited."""

from __future__ import annotations

from typing import Any

import pytest

from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment
from streams.experiments.roster import Roster, fixed_weights
from streams.experiments.transitions import apply_command
from streams.fold.stored import StoredExperiment, decode_stored, encode_stored
from streams.model.errors import EngineError, InputError
from streams.model.events import Command, CommandKind
from streams.model.quantities import ALLOCATION_TOTAL

CONFIG = {"name": "Hero", "type": "bayesian_ab", "primaryMetric": "click", "unit": "user"}
VARIANTS: tuple[dict[str, Any], ...] = (
    {"name": "A", "isControl": True},
    {"name": "B"},
    {"name": "C"},
)


def created(variants: Any = VARIANTS, **config: Any) -> Experiment:
    payload = {"config": {**CONFIG, **config}, "variants": [dict(each) for each in variants]}
    return apply_command(None, Command("0" * 32, 7, CommandKind.CREATE, 10, payload))


def after(experiment: Experiment, kind: CommandKind, **payload: Any) -> Experiment:
    return apply_command(experiment, Command("0" * 32, 7, kind, 20, payload))


def started(variants: Any = VARIANTS, **config: Any) -> Experiment:
    return after(created(variants, **config), CommandKind.START)


def added(experiment: Experiment, name: str, **payload: Any) -> Experiment:
    return after(experiment, CommandKind.ADD_VARIANT, name=name, **payload)


def changed(experiment: Experiment, variant: str, **payload: Any) -> Experiment:
    return after(experiment, CommandKind.CHANGE_VARIANT, variant=variant, **payload)


def refusal(call: Any, *args: Any, **kwargs: Any) -> tuple[str, str]:
    with pytest.raises(EngineError) as caught:
        call(*args, **kwargs)
    return caught.value.code, caught.value.path


def test_a_draft_is_edited_as_a_whole_by_the_version_that_was_read() -> None:
    draft = created(minSampleSize=5)
    other = {"config": {**CONFIG, "name": "Other"}, "variants": [*VARIANTS[:2]]}

    edited = after(draft, CommandKind.EDIT, **other, version=1)

    assert edited.version == 2
    assert edited.definition.config.name == "Other"
    assert edited.definition.config.min_sample_size != 5
    assert len(edited.definition.variants) == 2
    assert refusal(after, edited, CommandKind.EDIT, **other, version=1) == (
        "VERSION_CONFLICT",
        "version",
    )
    assert after(edited, CommandKind.EDIT, **other).version == 3
    running = after(edited, CommandKind.START)
    assert refusal(after, running, CommandKind.EDIT, **other) == ("INVALID_TRANSITION", "status")


def test_an_edit_is_checked_as_a_creation_and_keeps_the_key() -> None:
    draft = created()
    one = {"config": CONFIG, "variants": [VARIANTS[0]]}

    assert refusal(after, draft, CommandKind.EDIT, **one) == ("OUT_OF_RANGE", "variants")
    keyed = {"config": {**CONFIG, "key": "hero"}, "variants": [*VARIANTS]}
    assert refusal(after, draft, CommandKind.EDIT, **keyed) == ("KEY_FIXED", "config.key")


def test_a_variant_that_is_added_has_an_equal_share_or_the_one_it_asks_for() -> None:
    running = started()

    assert fixed_weights(running.definition) == (21846, 21845, 21845)
    assert fixed_weights(added(running, "D").definition) == (16384,) * 4
    assert fixed_weights(added(running, "D", weight=0.5).definition) == (10923, 10923, 10922, 32768)
    weighted = [
        {**each, "weight": weight} for each, weight in zip(VARIANTS, (0.5, 0.25, 0.25), strict=True)
    ]
    fourth = added(started(weighted), "D")
    assert fixed_weights(fourth.definition) == (24576, 12288, 12288, 16384)
    # Of the active variants', and so also beside a stopped one.
    beside = added(changed(started(weighted), "B", isActive=False), "D", weight=0.25)
    assert fixed_weights(beside.definition) == (32768, 0, 16384, 16384)


def test_a_stopped_variant_has_the_weight_0_and_the_others_keep_their_proportions() -> None:
    weights = (0.5, 0.25, 0.25)
    running = started([{**each, "weight": w} for each, w in zip(VARIANTS, weights, strict=True)])

    stopped = changed(running, "exp_0000000000007_v2", isActive=False)

    assert fixed_weights(stopped.definition) == (43691, 21845, 0)
    assert stopped.definition.active == (0, 1)
    assert fixed_weights(changed(stopped, "C", isActive=True).definition) == (32768, 16384, 16384)
    assert stopped.fixed_version == stopped.version == 3
    assert stopped.roster == Roster(3, (32768, 16384, 16384), (32768, 16384, 16384), 3)
    fewer = added(stopped, "D", weight=0.5)
    assert fewer.roster == Roster(3, (32768, 16384, 16384), (21845, 10923, 16384, 32768), 4)


def test_a_rename_keeps_id_and_weights_and_overrides_follow_it() -> None:
    running = started(overrides={"tester": "B", "other": "C"})

    renamed = changed(running, "B", name="Bee", config={"adId": 9})

    assert renamed.variant_id(1) == running.variant_id(1)
    assert (renamed.definition.variants[1].name, renamed.definition.variants[1].config) == (
        "Bee",
        {"adId": 9},
    )
    assert renamed.definition.config.overrides == {"tester": "Bee", "other": "C"}
    assert renamed.roster is None
    assert renamed.fixed_version == running.fixed_version
    assert refusal(changed, renamed, "B", name="X") == ("VARIANT_NOT_FOUND", "variantId")
    assert refusal(changed, renamed, "Bee", name="C") == ("DUPLICATE_NAME", "variants[2].name")


@pytest.mark.parametrize("policy", ["bayesian_ab", "thompson_sampling"])
def test_the_control_and_the_last_two_active_ones_cannot_be_stopped(policy: str) -> None:
    running = started(type=policy)

    assert refusal(changed, running, "A", isActive=False) == ("CONTROL_STOPPED", "isActive")
    two = changed(running, "B", isActive=False)
    assert refusal(changed, two, "C", isActive=False) == ("TOO_FEW_ACTIVE", "variants")
    assert refusal(changed, two, "C", weight=0.5) == ("VARIANT_FIXED", "weight")
    code, _ = refusal(after, two, CommandKind.CONCLUDE, winnerVariantId=two.variant_id(1))
    assert code == "VARIANT_STOPPED"


def test_weights_are_not_stated_under_a_policy_that_chooses_them() -> None:
    running = started(type="thompson_sampling")

    assert refusal(added, running, "D", weight=0.5)[0] == "WEIGHTS_NOT_USED"
    assert added(running, "D").roster == Roster(3, (), (), 3)


@pytest.mark.parametrize("name", ["exp_0000000000007_v0", " exp_0000000000009_v1 "])
def test_a_name_is_no_id_of_a_variant(name: str) -> None:
    """`eligible` takes both: it would mean one variant, and an override of that name another."""
    experiment = started()
    variants = [{"name": "A", "isControl": True}, {"name": name}]

    assert refusal(created, variants) == ("INVALID_NAME", "variants[1].name")
    assert refusal(changed, experiment, "B", name=name) == ("INVALID_NAME", "name")
    assert refusal(added, experiment, name) == ("INVALID_NAME", "name")


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0, float("nan"), "half"])
def test_a_share_is_between_0_and_1(share: Any) -> None:
    assert refusal(added, started(), "D", weight=share)[1] == "weight"


def test_a_running_experiment_gets_as_many_variants_as_its_receipts_have_weights_of() -> None:
    experiment = started()
    for index in range(3, 16):
        experiment = added(experiment, f"v{index}")

    assert sum(fixed_weights(experiment.definition)) == ALLOCATION_TOTAL
    assert refusal(added, experiment, "one more") == ("TOO_MANY_VARIANTS", "variants")
    # Of variants that are stopped the ids are not used again.
    stopped = changed(experiment, "v15", isActive=False)
    assert refusal(added, stopped, "one more") == ("TOO_MANY_VARIANTS", "variants")
    assert len(added(created(), "D").definition.variants) == 4
    many = [{"name": f"v{index}", "isControl": index == 0} for index in range(16)]
    assert len(added(created(many), "one more").definition.variants) == 17  # of a draft


def test_a_variant_may_be_prepared_and_is_off_at_the_start() -> None:
    running = started([*VARIANTS[:2], {"name": "C", "isActive": False}])

    assert fixed_weights(running.definition) == (32768, 32768, 0)
    assert not running.has_changed
    on = changed(running, "C", isActive=True)
    assert on.has_changed
    assert on.roster == Roster(3, (32768, 32768, 0), (21846, 21845, 21845), 3)


def test_what_is_stored_is_read_again() -> None:
    experiment = added(changed(started(), "B", isActive=False), "D")

    assert decode_stored(encode_stored(StoredExperiment(experiment, ()))).experiment == experiment


def test_one_variant_is_written_as_one() -> None:
    variants = [{"name": "A", "isControl": True}, {"name": "B", "isActive": False}]

    with pytest.raises(InputError, match=r"^TOO_FEW_ACTIVE at variants: 1 active variant, "):
        parse_definition({"name": "X", "type": "bayesian_ab", "primaryMetric": "click"}, variants)
