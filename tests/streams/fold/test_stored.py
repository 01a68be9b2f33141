"""Table entries give back the experiment that was stored, to the order of its keys."""

from __future__ import annotations

from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.fold.stored import StoredExperiment, decode_stored, encode_stored


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
