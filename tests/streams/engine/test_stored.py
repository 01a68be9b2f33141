"""Experiments as table entries, of this version and of older ones."""

from __future__ import annotations

import orjson

from streams.engine.stored import StoredExperiment, decode_stored, encode_stored
from streams.experiments.lifecycle import apply_command
from tests.streams.experiments.test_lifecycle import command
from tests.streams.experiments.test_promoted import promoted


def test_a_promoted_experiment_returns_as_it_was_and_as_it_was_rolled_back():
    for experiment in (promoted(), apply_command(promoted(), command("rollback", 99))):
        stored = StoredExperiment(experiment, ())

        assert decode_stored(encode_stored(stored)) == stored


def test_an_entry_from_before_there_were_promotions_has_none():
    entry = orjson.loads(encode_stored(StoredExperiment(promoted(), ())))
    del entry["promotion"], entry["plannedUnits"]

    assert decode_stored(orjson.dumps(entry)).experiment.promotion is None
