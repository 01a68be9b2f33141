"""Histories: what a command has changed, their bounds, and the command that undoes an entry."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.experiments.history import (
    MAX_ENTRIES,
    MAX_HISTORY_BYTES,
    MAX_REFUSALS,
    Change,
    HistoryEntry,
    entries_json,
    entries_of,
    with_entry,
)
from streams.experiments.lifecycle import Experiment
from streams.experiments.transitions import apply_command
from streams.experiments.undo import UndoCode, undo_of
from streams.fold.experiment_state import ExperimentState
from streams.model.authors import UNKNOWN_ORIGIN, Origin, author_of, checked
from streams.model.errors import EventError, InputError
from streams.model.events import Command, CommandKind
from streams.model.ids import experiment_id
from streams.model.partitioning import SOLE_PARTITION
from streams.wire.commands import decode_command, encode_command
from tests.strategies import records

NUMBER = 7
NAME = experiment_id(NUMBER)
DEFINITION = {
    "config": {"name": "Hero", "type": "bayesian_ab", "primaryMetric": "click"},
    "variants": [{"name": "A", "isControl": True}, {"name": "B"}, {"name": "C"}],
}


class Run:
    """An experiment that is given one command after the other."""

    def __init__(self) -> None:
        self.state = ExperimentState(NUMBER)
        self.offset = 0
        self.give(CommandKind.CREATE, DEFINITION)

    def give(self, kind: CommandKind, payload: Any = None, origin: Origin = UNKNOWN_ORIGIN) -> None:
        command = Command(f"{self.offset:032x}", NUMBER, kind, self.offset, payload or {}, origin)
        self.state.take_command(self.offset, command)
        self.offset += 1

    @property
    def last(self) -> HistoryEntry:
        return self.state.entries[-1]

    @property
    def now(self) -> Experiment:
        assert self.state.experiment is not None
        return self.state.experiment


def test_an_entry_says_who_why_and_what_has_changed():
    run = Run()
    run.give(CommandKind.START)
    run.give(
        CommandKind.UPDATE,
        {"trafficAllocation": 0.5, "parameters": {"earlyStoppingThreshold": 0.99}},
        Origin("key:analyst/ana", "too many errors"),
    )

    assert (run.last.author, run.last.reason) == ("key:analyst/ana", "too many errors")
    assert run.last.changes == (
        Change("config.trafficAllocation", 1.0, 0.5),
        Change("config.parameters.earlyStoppingThreshold", 0.95, 0.99),
    )


def test_ids_of_units_are_not_kept_and_ticks_are_no_entries():
    run = Run()
    run.give(CommandKind.UPDATE, {"overrides": {"user_1": "B"}})
    assert run.last.changes == (Change("config.overrides", is_omitted=True),)
    run.give(CommandKind.START)
    run.give(CommandKind.TICK)
    assert run.last.kind == "start"


def test_a_refused_command_is_an_entry_with_its_code_and_pushes_no_other_out():
    run = Run()
    for _ in range(MAX_REFUSALS + 5):
        run.give(CommandKind.RESUME, origin=Origin("key:bot"))
    run.give(CommandKind.START)

    refused = [each for each in run.state.entries if each.code]
    assert len(refused) == MAX_REFUSALS
    assert {each.code for each in refused} == {"INVALID_TRANSITION"}
    assert [each.kind for each in run.state.entries if not each.code] == ["create", "start"]
    assert undo_of(refused[0], run.now).code is UndoCode.NOTHING_TO_UNDO


def test_a_history_is_bounded_in_entries_and_in_bytes():
    small = HistoryEntry("a" * 32, 1, "pause", "key:a")
    entries: tuple[HistoryEntry, ...] = ()
    for _ in range(MAX_ENTRIES + 9):
        entries = with_entry(entries, small)
    assert len(entries) == MAX_ENTRIES
    for _ in range(MAX_ENTRIES):
        changes = tuple(Change(f"config.{n}", "x" * 500, "y" * 500) for n in range(20))
        entries = with_entry(entries, HistoryEntry("b" * 32, 1, "update", "key:a", changes=changes))
    assert len(entries_json(entries)) <= MAX_HISTORY_BYTES + 2
    assert entries[-1].kind == "update"


@given(st.lists(records(HistoryEntry), max_size=4).map(tuple))
def test_json_of_entries_is_inverted(entries: tuple[HistoryEntry, ...]):
    assert entries_of(entries_json(entries)) == entries


@given(entry=records(HistoryEntry))
def test_json_of_an_entry_has_every_field_that_says_something(entry: HistoryEntry):
    [found] = orjson.loads(entries_json([entry]))

    said = {name: value for name, value in asdict(entry).items() if value}
    always = {"id", "at_ms", "kind", "author"}
    assert found.keys() == said.keys() | always
    assert {name: found[name] for name in said if name != "changes"} == {
        name: value for name, value in said.items() if name != "changes"
    }
    assert [each["path"] for each in found.get("changes", ())] == [
        each.path for each in entry.changes
    ]


@pytest.mark.parametrize(
    ("kind", "payload", "code", "method", "path", "body"),
    [
        ("pause", {}, "PARTIAL", "POST", f"/experiments/{NAME}/resume", {}),
        (
            "update",
            {"trafficAllocation": 0.25},
            "COMPLETE",
            "PATCH",
            f"/experiments/{NAME}",
            {"trafficAllocation": 1.0},
        ),
        (
            "change_variant",
            {"variant": "B", "isActive": False},
            "PARTIAL",
            "PATCH",
            f"/experiments/{NAME}/variants/{NAME}_v1",
            {"isActive": True},
        ),
        (
            "change_variant",
            {"variant": "B", "name": "Blue"},
            "COMPLETE",
            "PATCH",
            f"/experiments/{NAME}/variants/{NAME}_v1",
            {"name": "B"},
        ),
        (
            "add_variant",
            {"name": "D"},
            "PARTIAL",
            "PATCH",
            f"/experiments/{NAME}/variants/{NAME}_v3",
            {"isActive": False},
        ),
        (
            "conclude",
            {"winnerVariantId": f"{NAME}_v1"},
            "PARTIAL",
            "POST",
            f"/experiments/{NAME}/rollback",
            {},
        ),
        ("conclude", {}, "FINAL", "", "", {}),
        ("update", {"overrides": {"user_1": "B"}}, "VALUES_NOT_KEPT", "", "", {}),
    ],
)
def test_an_entry_names_the_command_that_undoes_it(kind, payload, code, method, path, body):
    run = Run()
    run.give(CommandKind.START)
    run.give(CommandKind(kind), payload)
    undo = undo_of(run.last, run.now)
    assert (undo.code, undo.method, undo.path, undo.body) == (code, method, path, body)


def test_what_was_changed_again_cannot_be_undone():
    run = Run()
    run.give(CommandKind.START)
    run.give(CommandKind.UPDATE, {"trafficAllocation": 0.5})
    entry = run.last
    run.give(CommandKind.UPDATE, {"trafficAllocation": 0.7})
    assert undo_of(entry, run.now).code is UndoCode.CHANGED_SINCE


_COMMANDS = st.one_of(
    st.sampled_from(["start", "pause", "resume", "conclude", "rollback", "archive"]).map(
        lambda kind: (kind, {})
    ),
    st.tuples(st.just("conclude"), st.just({"winnerVariantId": f"{NAME}_v1"})),
    st.tuples(
        st.just("update"),
        st.fixed_dictionaries({"trafficAllocation": st.sampled_from([0.1, 0.5, 1.0])}),
    ),
    st.tuples(
        st.just("update"),
        st.fixed_dictionaries(
            {"minSampleSize": st.integers(0, 3), "minDuration": st.integers(0, 3)}
        ),
    ),
    st.tuples(
        st.just("change_variant"),
        st.fixed_dictionaries(
            {"variant": st.sampled_from(["A", "B", "C"]), "isActive": st.booleans()}
        ),
    ),
    st.tuples(st.just("add_variant"), st.sampled_from([{"name": "D"}, {"name": "E"}])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_COMMANDS, min_size=1, max_size=6))
def test_a_command_that_is_offered_to_undo_an_entry_is_accepted(commands):
    run = Run()
    for kind, payload in commands:
        run.give(CommandKind(kind), payload)
    for entry in run.state.entries:
        undo = undo_of(entry, run.now)
        assert bool(undo.path) == (undo.code in {UndoCode.COMPLETE, UndoCode.PARTIAL})
        if not undo.path:
            continue
        *_, last = undo.path.split("/")
        kind, payload = CommandKind.UPDATE, dict(undo.body)
        if undo.method == "POST":
            kind = CommandKind(last)
        elif "/variants/" in undo.path:
            kind, payload = CommandKind.CHANGE_VARIANT, {**undo.body, "variant": last}
        try:
            after = apply_command(run.now, Command("f" * 32, NUMBER, kind, 99, payload))
        except InputError as error:
            if error.code in {"TOO_FEW_ACTIVE", "CONTROL_STOPPED"}:
                continue  # it would stop the last variants but one
            raise
        if undo.code is UndoCode.COMPLETE:
            changed = {each.path: each.before for each in entry.changes}
            dumped = after.definition.config.model_dump(by_alias=True, mode="json")
            for path, value in changed.items():
                if path.startswith("config.") and "parameters" not in path:
                    assert dumped[path.removeprefix("config.")] == value


@pytest.mark.parametrize(
    ("author", "reason", "code"),
    [
        ("x" * 257, "", "OUT_OF_RANGE"),
        ("a\nb", "", "INVALID_NAME"),
        ("", "r\x1b[1m", "INVALID_NAME"),
    ],
)
def test_a_command_with_a_hostile_origin_is_a_dead_letter(author, reason, code):
    command = Command("a" * 32, NUMBER, CommandKind.START, 1, {}, Origin(author, reason))
    with pytest.raises(EventError) as refused:
        decode_command(encode_command(command), SOLE_PARTITION)
    assert refused.value.code == code


@given(st.text(max_size=600))
def test_a_checked_text_is_bounded_and_shown_as_it_is(text: str):
    try:
        found = checked(text, 500, "query.reason")
    except InputError:
        return
    assert len(found) <= 500
    assert not any(each < " " for each in found)
    assert len(author_of("k" * 100, found[:100])) <= 256
