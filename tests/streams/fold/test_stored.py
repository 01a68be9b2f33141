"""Table entries give back the experiment that was stored, to the order of its keys."""

from __future__ import annotations

import orjson
import pytest

from streams.experiments.definition import parse_definition
from streams.experiments.history import HistoryEntry
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.transitions import apply_command
from streams.fold.stored import StoredExperiment, decode_stored, encode_stored
from streams.model.errors import TransitionError
from streams.model.events import Command, CommandKind


def test_a_restored_definition_is_as_its_author_wrote_it():
    # Snapshots hold it as text: in another order, a restarted worker publishes other bytes than a
    # replay comes to.
    definition = parse_definition(
        {
            "name": "Hero",
            "type": "thompson_sampling",
            "primaryMetric": "spent",
            "secondaryMetrics": ["clicks"],
            "metrics": {"spent": {"kind": "revenue"}, "clicks": {"kind": "count"}},
        },
        [{"name": "B", "isControl": True, "config": {"url": "/b", "color": "red"}}, {"name": "A"}],
    )
    experiment = Experiment(7, definition, Status.DRAFT, version=1, created_at_ms=1)

    restored = decode_stored(encode_stored(StoredExperiment(experiment, ()))).experiment

    assert restored == experiment
    assert restored.definition.model_dump_json() == definition.model_dump_json()


def test_an_entry_from_before_changed_versions_has_that_of_its_last_change():
    """Three commands, a refused one and two ticks: what is newer than the third shows the same."""
    entries = tuple(
        HistoryEntry(str(number), 1, "update", "", version=number) for number in (1, 2, 3)
    )
    refused = HistoryEntry("4", 1, "conclude", "", version=4, code="INVALID_TRANSITION")

    restored = from_before(experiment(version=5), (*entries, refused))

    assert (restored.version, restored.changed_version) == (5, 3)


def test_what_is_not_known_of_an_entry_from_before_changed_versions_counts_as_changed():
    restored = from_before(experiment(version=5), ())

    assert restored.changed_version == 5
    with pytest.raises(TransitionError, match="VERSION_CONFLICT"):
        apply_command(restored, Command("c", 7, CommandKind.START, 1, {}, expected_version=4))


def experiment(version: int) -> Experiment:
    definition = parse_definition(
        {"name": "Hero", "type": "bayesian_ab", "primaryMetric": "clicks"},
        [{"name": "A", "isControl": True}, {"name": "B"}],
    )
    return Experiment(7, definition, Status.DRAFT, version, created_at_ms=1)


def from_before(stored: Experiment, entries: tuple[HistoryEntry, ...]) -> Experiment:
    entry = orjson.loads(encode_stored(StoredExperiment(stored, (), entries=entries)))
    del entry["changedVersion"]
    return decode_stored(orjson.dumps(entry)).experiment
