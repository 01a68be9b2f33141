"""Logs in memory, and experiments to ask them about."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.vectors import INTERCEPT
from streams.replay.off_policy.logged import UnitLog
from streams.replay.off_policy.partial_tally import PartialTally, batches
from streams.tallies.cell import Tally

HALF = PROPENSITY_ONE // 2


def log_of(
    variants,
    observations=(),
    *,
    propensity=HALF,
    n_arms=2,
    contexts=(),
    vectors=(INTERCEPT,),
    cap=None,
) -> UnitLog:
    """Return a log of one unit a millisecond; observations are (unit, value, delay in ms)."""
    n_units = len(variants)
    units = np.array([unit for unit, _, _ in observations], np.int64)
    return UnitLog(
        "click",
        n_arms,
        np.array(variants, np.int64),
        np.full(n_units, propensity, np.int64),
        np.arange(n_units),
        units,
        np.array([round(value * MICRO) for _, value, _ in observations], np.int64),
        units + np.array([delay for _, _, delay in observations], np.int64),
        cap=cap,
        contexts=np.array(contexts, np.int64),
        vectors=tuple(vectors),
    )


def experiment_of(policy: str, n_arms: int = 2, **parameters) -> Experiment:
    definition = parse_definition(
        {"name": "x", "type": policy, "primaryMetric": "click", "parameters": parameters},
        [{"name": str(arm), "isControl": arm == 0} for arm in range(n_arms)],
    )
    return Experiment(7, definition, Status.RUNNING, 2, 0, 0, 2)


def tallies(log: UnitLog, size: int) -> Iterator[Tally]:
    """Yield what is known when each batch begins."""
    partial = PartialTally(log, log.propensities)
    for batch in batches(log, size):
        partial.observe(batch.news)
        yield partial.tally()
        partial.assign(batch.units)
