"""Preconditions of a switch and of a drop."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from streams.model.generations import ChangeKind, GenerationChange, Generations
from streams.replay import rebuild
from streams.replay.difference import Difference
from streams.replay.rebuild import GenerationError
from streams.replay.report import Report
from streams.settings import Settings
from tests.twins.positions import MemoryGroups

SETTINGS = Settings()
EQUAL = Report(None, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1_000, (1,))
DIFFERENT = Report(
    Difference("g2-tallies/0@1", "x", "duplicates", "1", "0"), 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, (1,)
)


@dataclass
class Installation:
    """Generations, how far each is, and what was changed."""

    generations: Generations = field(
        default_factory=lambda: Generations(known=frozenset({1, 2, 3}), dropped=frozenset({3}))
    )
    workers: Counter[int] = field(default_factory=lambda: Counter({1: 1, 2: 1}))
    groups: MemoryGroups = field(default_factory=MemoryGroups)
    versions: dict[int, dict[str, int]] = field(
        default_factory=lambda: {1: {"a": 5}, 2: {"a": 5, "b": 1}}
    )
    changes: list[tuple[int, str]] = field(default_factory=list)
    is_overtaken: bool = False

    def fold_to(self, generation: int, offset: int) -> None:
        """Have a generation fold `commands` up to an offset."""
        self.groups.committed[generation]["commands", 0] = offset

    def append(self, _settings: Settings, generation: int, kind: ChangeKind) -> None:
        self.changes.append((generation, kind.value))
        if self.is_overtaken:
            generation, kind = 2, ChangeKind.SERVED
        change = GenerationChange(generation, kind, 0)
        self.generations = self.generations.after(len(self.changes), change)


@pytest.fixture
def there(monkeypatch) -> Installation:
    made = Installation()

    for generation in (1, 2):
        made.fold_to(generation, 10)

    async def nothing(*_anything: object) -> None:
        pass

    for name, stand_in in {
        "generations_of": lambda _: (made.generations, 0),
        "append_change": made.append,
        "_workers": lambda _: made.workers,
        "_versions": lambda _, number: made.versions[number],
        "GroupPositions": made.groups.positions,
        "_await_pointer": lambda *_: None,
        "delete_projections": lambda _: 5,
        "_remove_snapshots": nothing,
        "SIGN_PATIENCE_S": 0.0,
        "SNAPSHOT_PATIENCE_S": 0.0,
        "LOOK_S": 0.0,
    }.items():
        monkeypatch.setattr(rebuild, name, stand_in)
    return made


def switch(generation: int, report: Report = EQUAL) -> None:
    rebuild.switch(SETTINGS, generation, lambda _: report, 0.0)


def refusal(action, *arguments: object) -> str:
    with pytest.raises(GenerationError) as raised:
        action(*arguments)
    return raised.value.code


def test_what_is_verified_and_complete_is_served(there):
    switch(2)

    assert there.generations.active == 2
    assert there.changes == [(2, "served")]


@pytest.mark.parametrize(
    ("generation", "code"),
    [(1, "GENERATION_SERVED"), (3, "GENERATION_DROPPED"), (4, "GENERATION_UNKNOWN")],
)
def test_only_what_is_there_and_not_served_can_be(there, generation, code):
    assert refusal(switch, generation) == code
    assert not there.changes


def test_nothing_is_served_that_no_worker_continues(there):
    there.workers[2] = 0

    assert refusal(switch, 2) == "GENERATION_WITHOUT_WORKERS"
    assert not there.changes


def test_nothing_is_served_that_lacks_records_or_snapshots(there):
    there.fold_to(2, 9)
    assert refusal(switch, 2) == "GENERATION_BEHIND"

    there.fold_to(2, 11)
    there.versions[2] = {"b": 1}
    assert refusal(switch, 2) == "GENERATION_BEHIND"

    there.versions[2] = {"a": 4}
    assert refusal(switch, 2) == "GENERATION_BEHIND"
    assert not there.changes


def test_nothing_is_served_that_differs_from_the_log(there):
    with pytest.raises(GenerationError, match="duplicates is 1, must be 0") as raised:
        switch(2, DIFFERENT)

    assert raised.value.code == "GENERATION_DIFFERENT"
    assert not there.changes


def test_what_is_not_served_and_has_no_workers_is_dropped_and_can_be_again(there):
    there.workers[2] = 0

    assert rebuild.drop(SETTINGS, 2) == 5
    assert rebuild.drop(SETTINGS, 2) == 5

    assert there.changes == [(2, "dropped")]


def test_what_is_served_or_has_workers_is_not_dropped(there):
    assert refusal(rebuild.drop, SETTINGS, 1) == "GENERATION_SERVED"
    assert refusal(rebuild.drop, SETTINGS, 2) == "GENERATION_HAS_WORKERS"
    assert not there.changes


def test_what_is_served_since_a_moment_ago_is_not_dropped(there):
    there.workers[2] = 0
    there.is_overtaken = True

    assert refusal(rebuild.drop, SETTINGS, 2) == "GENERATION_NOT_CHANGED"


def test_how_far_a_generation_is_is_shown_in_records_of_the_served_one(there):
    there.fold_to(2, 12)

    statuses = rebuild.statuses(SETTINGS)

    assert [(each.number, each.is_active, each.folded, each.to_fold) for each in statuses] == [
        (1, True, 10, 10),
        (2, False, 10, 10),
    ]
