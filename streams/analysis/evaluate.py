"""Evaluation of an experiment, from definition and tally to snapshot, in four stages."""

from __future__ import annotations

from collections.abc import Sequence

from streams.analysis.by_definition import by_definition
from streams.analysis.decision import decide
from streams.analysis.evidence import compare
from streams.analysis.holdouts import by_primary_metric, together
from streams.analysis.inputs import read
from streams.analysis.metric_analysis import analyse
from streams.analysis.publication import snapshot_of
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import CellPlace, Snapshot
from streams.tallies.cell import Tally


def evaluate(experiment: Experiment, tally: Tally, cells: Sequence[CellPlace]) -> Snapshot:
    """Return the statistics, the allocation and the recommended action of an experiment.

    It is a pure function of its arguments, so a replay with the same tally gives the same snapshot.
    Impressions and observations arrive in different topics: an observation may be counted before
    its impression, and then its unit counts as assigned.

    Args:
        experiment: Definition and lifecycle.
        tally: Sum of the newest cells.
        cells: Positions of those cells, in order of source and partition.
    """
    readings, snapshots = by_primary_metric(experiment, tally), []
    for reading in readings:
        inputs = read(reading, tally)
        analysis = analyse(inputs)
        evidence = by_definition(inputs, analysis, compare(inputs, analysis))
        decision = decide(reading, analysis.primary.model, evidence)
        snapshots.append(snapshot_of(inputs, analysis, evidence, decision, cells))
    return together(snapshots)
