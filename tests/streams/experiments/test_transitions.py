import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.experiments.lifecycle import Status
from streams.experiments.transitions import apply_command
from streams.model.errors import EngineError, InputError, TransitionError
from streams.model.events import Command, CommandKind
from streams.model.experiment_keys import key_number

NUMBER = 7
PAYLOAD = {
    "config": {"name": "Hero", "type": "thompson_sampling", "primaryMetric": "click"},
    "variants": [{"name": "A", "isControl": True}, {"name": "B"}],
}
ALLOWED = {
    (Status.DRAFT, CommandKind.START): Status.RUNNING,
    (Status.DRAFT, CommandKind.UPDATE): Status.DRAFT,
    (Status.DRAFT, CommandKind.ARCHIVE): Status.ARCHIVED,
    (Status.RUNNING, CommandKind.PAUSE): Status.PAUSED,
    (Status.RUNNING, CommandKind.UPDATE): Status.RUNNING,
    (Status.RUNNING, CommandKind.CONCLUDE): Status.CONCLUDED,
    (Status.PAUSED, CommandKind.RESUME): Status.RUNNING,
    (Status.PAUSED, CommandKind.UPDATE): Status.PAUSED,
    (Status.PAUSED, CommandKind.CONCLUDE): Status.CONCLUDED,
    (Status.CONCLUDED, CommandKind.ARCHIVE): Status.ARCHIVED,
    (Status.RUNNING, CommandKind.TICK): Status.RUNNING,
    (Status.PAUSED, CommandKind.TICK): Status.PAUSED,
    (Status.CONCLUDED, CommandKind.TICK): Status.CONCLUDED,
    (Status.DRAFT, CommandKind.EDIT): Status.DRAFT,
    **{
        (status, kind): status
        for status in (Status.DRAFT, Status.RUNNING, Status.PAUSED)
        for kind in (CommandKind.ADD_VARIANT, CommandKind.CHANGE_VARIANT)
    },
}
PAYLOADS: dict[CommandKind, dict[str, Any]] = {
    CommandKind.EDIT: PAYLOAD,
    CommandKind.ADD_VARIANT: {"name": "C"},
    CommandKind.CHANGE_VARIANT: {"variant": "B", "name": "D"},
}
WAY_TO = {
    Status.DRAFT: [],
    Status.RUNNING: ["start"],
    Status.PAUSED: ["start", "pause"],
    Status.CONCLUDED: ["start", "conclude"],
    Status.ARCHIVED: ["archive"],
}


def command(kind, at_ms=0, **payload):
    return Command("0" * 32, NUMBER, CommandKind(kind), at_ms, payload)


def created():
    return apply_command(None, command("create", 10, **PAYLOAD))


def reached(status):
    experiment = created()
    for kind in WAY_TO[status]:
        experiment = apply_command(experiment, command(kind, 20))
    return experiment


def test_a_tick_moves_the_clock_forward_alone():
    running = reached(Status.RUNNING)

    later = apply_command(apply_command(running, command("tick", 900)), command("tick", 800))

    assert later == replace(running, version=running.version + 2, clock_ms=900)


def test_created_experiment_is_the_first_version_of_a_draft():
    experiment = created()

    assert (experiment.status, experiment.version, experiment.created_at_ms) == ("draft", 1, 10)
    assert (experiment.started_at_ms, experiment.started_version, experiment.winner) == (
        None,
        0,
        None,
    )
    assert experiment.id == "exp_0000000000007"
    assert experiment.variant_id(1) == "exp_0000000000007_v1"


@pytest.mark.parametrize(
    ("status", "kind"),
    list(itertools.product(Status, [kind for kind in CommandKind if kind != CommandKind.CREATE])),
)
def test_every_transition_is_allowed_or_refused_as_the_table_says(status, kind):
    experiment = reached(status)
    assert experiment.status is status

    if (status, kind) in ALLOWED:
        after = apply_command(experiment, command(kind, 99, **PAYLOADS.get(kind, {})))
        assert after.status is ALLOWED[status, kind]
        assert after.version == experiment.version + 1
    else:
        with pytest.raises(TransitionError) as caught:
            apply_command(experiment, command(kind, 99))
        assert (caught.value.code, caught.value.path) == ("INVALID_TRANSITION", "status")


@pytest.mark.parametrize("status", list(Status))
def test_nothing_is_created_twice(status):
    with pytest.raises(TransitionError) as caught:
        apply_command(reached(status), command("create", **PAYLOAD))

    assert caught.value.code == "EXPERIMENT_EXISTS"


@pytest.mark.parametrize("kind", [kind for kind in CommandKind if kind != CommandKind.CREATE])
def test_nothing_happens_to_what_does_not_exist(kind):
    with pytest.raises(TransitionError) as caught:
        apply_command(None, command(kind))

    assert (caught.value.code, caught.value.path) == ("EXPERIMENT_NOT_FOUND", "experimentId")


def test_start_notes_its_time_and_version_and_a_pause_keeps_them():
    experiment = apply_command(created(), command("update", minSampleSize=5))
    started = apply_command(experiment, command("start", 50))
    resumed = apply_command(apply_command(started, command("pause", 60)), command("resume", 70))

    assert (started.started_at_ms, started.started_version) == (50, 3)
    assert (resumed.started_at_ms, resumed.started_version, resumed.version) == (50, 3, 5)


def test_update_changes_the_definition():
    after = apply_command(reached(Status.RUNNING), command("update", trafficAllocation=0.5))

    assert after.definition.config.traffic_allocation == 0.5


def test_conclude_with_a_winner():
    after = apply_command(
        reached(Status.RUNNING), command("conclude", 90, winnerVariantId="exp_0000000000007_v1")
    )

    assert (after.status, after.winner, after.concluded_at_ms) == ("concluded", 1, 90)


@pytest.mark.parametrize("payload", [{}, {"winnerVariantId": None}])
def test_conclude_without_a_winner_ships_no_variant(payload):
    assert apply_command(reached(Status.RUNNING), command("conclude", **payload)).winner is None


@pytest.mark.parametrize(
    "winner", ["exp_0000000000007_v2", "exp_0000000000008_v1", "B", "", 1, ["x"], True]
)
def test_winner_that_is_no_variant_is_refused(winner):
    with pytest.raises(InputError) as caught:
        apply_command(reached(Status.RUNNING), command("conclude", winnerVariantId=winner))

    assert (caught.value.code, caught.value.path) == ("UNKNOWN_VARIANT", "winnerVariantId")


@pytest.mark.parametrize(
    ("status", "kind", "payload", "code", "path"),
    [
        (Status.RUNNING, "conclude", {"winner": "B"}, "UNKNOWN_FIELD", "winner"),
        (Status.RUNNING, "update", {"name": "x"}, "UNKNOWN_FIELD", "name"),
        (Status.RUNNING, "update", {"trafficAllocation": 2}, "OUT_OF_RANGE", "trafficAllocation"),
    ],
)
def test_payload_that_cannot_be_used_is_refused(status, kind, payload, code, path):
    with pytest.raises(InputError) as caught:
        apply_command(reached(status), command(kind, **payload))

    assert (caught.value.code, caught.value.path) == (code, path)


@pytest.mark.parametrize("payload", [{}, {"config": PAYLOAD["config"]}, PAYLOAD | {"more": 1}])
def test_definition_that_cannot_be_used_is_refused(payload):
    with pytest.raises(InputError):
        apply_command(None, command("create", **payload))


@given(st.lists(st.sampled_from([kind for kind in CommandKind if kind != CommandKind.CREATE])))
def test_version_counts_the_commands_applied_and_what_ended_stays_ended(kinds):
    experiment, applied = created(), 1
    for at_ms, kind in enumerate(kinds):
        before = experiment
        try:
            experiment = apply_command(experiment, command(kind, at_ms))
            applied += 1
        except EngineError:
            assert experiment == before
        if before.status is Status.ARCHIVED:
            assert experiment == before

    assert experiment.version == applied


def test_the_number_of_an_experiment_with_a_key_is_that_of_its_key():
    config = {"name": "Hero", "type": "ucb", "primaryMetric": "click", "key": "hero"}
    payload = {**PAYLOAD, "config": config}
    number = key_number("hero")

    experiment = apply_command(None, Command("0" * 32, number, CommandKind.CREATE, 0, payload))
    with pytest.raises(InputError) as mismatch:
        apply_command(None, command("create", **payload))
    with pytest.raises(TransitionError) as taken:
        apply_command(experiment, Command("1" * 32, number, CommandKind.CREATE, 0, payload))
    with pytest.raises(TransitionError) as exists:
        apply_command(experiment, Command("1" * 32, number, CommandKind.CREATE, 0, PAYLOAD))

    assert (experiment.key, experiment.number) == ("hero", number)
    assert (mismatch.value.code, mismatch.value.path) == ("KEY_MISMATCH", "config.key")
    assert (taken.value.code, taken.value.path) == ("KEY_TAKEN", "config.key")
    assert exists.value.code == "EXPERIMENT_EXISTS"


def test_the_largest_share_of_the_units_and_its_first_lowering_are_noted():
    shares = []
    experiment = created()
    for kind, payload in (
        (CommandKind.UPDATE, {"trafficAllocation": 0.2}),  # of a draft
        (CommandKind.START, {}),
        (CommandKind.UPDATE, {"trafficAllocation": 0.6}),
        (CommandKind.UPDATE, {"trafficAllocation": 0.1}),
        (CommandKind.UPDATE, {"trafficAllocation": 0.9}),
        (CommandKind.UPDATE, {"trafficAllocation": 0.3}),
    ):
        experiment = apply_command(experiment, command(kind, 9, **payload))
        shares.append((experiment.peak_traffic, experiment.lowered_version))

    assert shares == [(0.0, 0), (0.2, 0), (0.6, 0), (0.6, 5), (0.9, 5), (0.9, 5)]


def seeing(version, kind, **payload):
    return replace(command(kind, 30, **payload), expected_version=version)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("update", {"trafficAllocation": 0.2}),
        ("pause", {}),
        ("conclude", {}),
        ("add_variant", {"name": "D"}),
        ("change_variant", {"variant": "B", "name": "Blue"}),
        ("archive", {}),
    ],
)
def test_a_command_is_refused_if_the_experiment_has_changed_since_its_author_saw_it(kind, payload):
    running = reached(Status.RUNNING)
    seen = running.version
    other = apply_command(running, command("update", 25, trafficAllocation=0.5))

    with pytest.raises(TransitionError) as conflict:
        apply_command(other, seeing(seen, kind, **payload))
    with pytest.raises(TransitionError) as ahead:
        apply_command(other, seeing(other.version + 1, kind, **payload))

    for each in (conflict, ahead):
        assert (each.value.code, each.value.path) == ("VERSION_CONFLICT", "expectedVersion")


def test_of_two_that_saw_the_same_version_the_first_wins():
    running = reached(Status.RUNNING)

    first = apply_command(running, seeing(running.version, "update", trafficAllocation=0.5))

    with pytest.raises(TransitionError):
        apply_command(first, seeing(running.version, "update", trafficAllocation=0.9))
    again = apply_command(first, seeing(first.version, "update", trafficAllocation=0.9))
    assert again.definition.config.traffic_allocation == 0.9


def test_a_tick_is_no_change_that_a_command_could_have_missed():
    running = reached(Status.RUNNING)
    ticked = apply_command(running, command(CommandKind.TICK, 10_000))

    paused = apply_command(ticked, seeing(running.version, "pause"))

    assert (ticked.version, ticked.changed_version) == (running.version + 1, running.version)
    assert (paused.status, paused.changed_version) == (Status.PAUSED, paused.version)
