"""Bases of recommended actions: which of two states of an experiment has what the other lacks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import CellPlace
from streams.fold.action_history import NOTHING_LOGGED
from streams.fold.basis import Basis
from streams.fold.decisions import number_of, recommended
from tests.api.memory import snapshot_of

DEFINITION = parse_definition(
    {"name": "Hero", "type": "bayesian_ab", "primaryMetric": "click"},
    [{"name": "A", "isControl": True}, {"name": "B"}],
)
SNAPSHOT = snapshot_of(Experiment(7, DEFINITION, Status.RUNNING, 2, created_at_ms=1))
PLACES = 3
offsets = st.tuples(*[st.integers(-1, 3)] * PLACES)
states = st.tuples(st.integers(1, 3), offsets)
State = tuple[int, tuple[int, ...]]


def basis(state: State, generation: int = 1) -> Basis:
    """Return the basis of a state: a number of commands, and the last offset of each cell."""
    commands, last = state
    cells = tuple(
        CellPlace("impressions", partition, offset)
        for partition, offset in enumerate(last)
        if offset >= 0
    )
    made = replace(
        SNAPSHOT,
        experiment=replace(SNAPSHOT.experiment, version=commands),
        version=commands + sum(offset + 1 for offset in last),
        cells=cells,
    )
    return Basis.of(made, generation)


def includes(one: State, other: State) -> bool:
    return one[0] >= other[0] and all(a >= b for a, b in zip(one[1], other[1], strict=True))


@given(states, states)
def test_a_state_that_includes_another_is_never_behind_it(one, other):
    if includes(one, other):
        assert not basis(one).is_behind(basis(other))


@given(states, states)
def test_of_two_different_states_one_at_least_is_behind_and_their_union_is_not(one, other):
    found, others = basis(one), basis(other)
    union = max(one[0], other[0]), tuple(map(max, one[1], other[1]))

    assert (found.is_behind(others) or others.is_behind(found)) is (one != other)
    assert not basis(union).is_behind(found)
    assert not basis(union).is_behind(others)


@given(states, states)
def test_states_of_other_generations_are_not_behind_each_other(one, other):
    assert not basis(one, 1).is_behind(basis(other, 2))


def test_two_sets_of_cells_of_one_version_have_different_bases():
    """A worker had 2 and 1 records of two partitions, and the one after it has 1 and 2."""
    one, other = (basis((2, last)) for last in ((1, 0, -1), (0, 1, -1)))

    assert one.version == other.version
    assert one != other
    assert one.is_behind(other)
    assert other.is_behind(one)


@pytest.mark.parametrize("generation", [1, 2])
def test_a_logged_action_states_its_basis(generation):
    logged = recommended(SNAPSHOT, generation)

    assert Basis.of_decision(logged) == Basis.of(SNAPSHOT, generation)
    without = replace(
        logged, evidence={key: logged.evidence[key] for key in logged.evidence if key != "basis"}
    )
    assert Basis.of_decision(without) == Basis.of(SNAPSHOT, generation).unstated


@pytest.mark.parametrize("value", [None, "2", [2], {}, 2.5])
def test_evidence_that_is_no_number_states_nothing(value):
    """A record that another program has written ends no worker that reads the log."""
    logged = recommended(SNAPSHOT)
    without = Basis.of(SNAPSHOT).unstated

    for evidence in (
        {"generation": value, "basis": value, "number": value},
        {"basis": {"commands": value}},
    ):
        strange = replace(logged, evidence=evidence)
        assert Basis.of_decision(strange) == without
        assert NOTHING_LOGGED.followed_by(strange).n_logged <= 1
        assert number_of(strange) is None
