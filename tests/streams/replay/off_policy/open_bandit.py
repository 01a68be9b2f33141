"""The Open Bandit Dataset in memory, as `experiment import open-bandit --features` logs it."""

from __future__ import annotations

import numpy as np

from streams.cli.imports import definition
from streams.cli.open_bandit.dataset import LoggedSample, declared_features
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.model.quantities import MICRO, to_propensity
from streams.policies.contextual.encoding import FeatureSpace
from streams.replay.off_policy.logged import UnitLog


def contextual_experiment(sample: LoggedSample, policy: str) -> Experiment:
    config, variants = definition(sample, declared_features(sample))
    parsed = parse_definition(config | {"type": policy}, variants)
    return Experiment(7, parsed, Status.RUNNING, 2, 0, 0, 2)


def log_of_sample(sample: LoggedSample) -> UnitLog:
    space = FeatureSpace(declared_features(sample))
    encoded = [space.encode(event.features) for event in sample.events]
    vectors = tuple(dict.fromkeys(encoded))
    places = {vector: place for place, vector in enumerate(vectors)}
    events = sample.events
    clicked = np.array([unit for unit, event in enumerate(events) if event.is_clicked])
    shown_at_ms = np.array([event.shown_at_ms for event in events])
    return UnitLog(
        "click",
        sample.n_items,
        np.array([event.item for event in events]),
        np.array([to_propensity(event.propensity) for event in events]),
        shown_at_ms,
        clicked,
        np.full(len(clicked), MICRO),
        shown_at_ms[clicked],
        cap=MICRO,
        contexts=np.array([places[vector] for vector in encoded]),
        vectors=vectors,
    )
