"""Invariants of every evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from schemas.catalogue import STATE_BYTES
from streams.analysis.answered_evidence import stored_evidence
from streams.analysis.evaluate import evaluate
from streams.analysis.reasons import reason
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import CellPlace, Snapshot
from streams.model.quantities import ALLOCATION_TOTAL
from streams.policies.weights import final_floor, smallest_weight
from streams.stats.kinds import MetricKind
from streams.tallies.cell import Tally
from streams.wire.snapshots import decode_snapshot, encode_snapshot


def numbers(value: Any, path: str = "snapshot") -> Iterator[tuple[str, float]]:
    """Yield every float of a snapshot with its path."""
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, (tuple, list)):
        for index, each in enumerate(value):
            yield from numbers(each, f"{path}[{index}]")
    elif is_dataclass(value):
        for each in fields(value):
            if each.name != "experiment":
                yield from numbers(getattr(value, each.name), f"{path}.{each.name}")


def check(experiment: Experiment, tally: Tally, cells: Sequence[CellPlace]) -> Snapshot:
    """Evaluate, and hold every law of a snapshot."""
    snapshot = evaluate(experiment, tally, cells)
    endless = [(path, value) for path, value in numbers(snapshot) if not math.isfinite(value)]
    assert not endless, f"not finite: {endless[:3]}"
    probabilities = [variant.probability_best for variant in snapshot.variants]
    assert all(0.0 <= p <= 1.0 for p in probabilities), f"P(best): {probabilities[:4]}"
    assert abs(math.fsum(probabilities) - 1.0) < 1e-6, f"sum: {math.fsum(probabilities)}"
    for variant in snapshot.variants:
        assert variant.expected_loss >= 0.0, "expected loss"
        for metric in variant.metrics.values():
            ends = metric.lower, metric.upper
            # A confidence sequence of a quantile has no upper end until there are enough units.
            is_open = metric.kind is MetricKind.QUANTILE and metric.lower is not None
            is_missing = metric.lower is None if is_open else None in ends
            assert is_missing == (metric.mean is None), f"defined {metric.kind}"
            if metric.lower is not None and metric.upper is not None:
                assert metric.lower <= metric.upper, f"interval {metric.kind}"
            against = metric.against_control
            if against is not None:
                assert 0.0 <= against.probability_better <= 1.0, "P(better)"
                assert 0.0 <= against.p_value <= 1.0, "p-value"
                assert against.expected_loss >= 0.0, "loss against control"
                assert against.difference_lower <= against.difference_upper, (
                    f"difference {metric.kind}"
                )
                if against.relative_lower is not None and against.relative_upper is not None:
                    assert against.relative_lower <= against.relative_upper, (
                        f"relative {metric.kind}"
                    )
    weights = snapshot.allocation.weights
    assert sum(weights) == ALLOCATION_TOTAL, "sum of weights"
    assert min(weights) >= 0, "negative weight"
    definition = experiment.definition
    if experiment.promotion is None and definition.policy.adaptive:
        least = definition.policy.min_allocation
        can_starve = final_floor(definition.policy, len(weights)) == 0.0
        floor = 0 if can_starve else smallest_weight(definition.policy, len(weights))
        assert min(weights) >= floor, f"floor {least}"
    found = snapshot.evidence
    assert found is not None
    p_values = [each.p_value for each in found.guardrails]
    p_values += [each.p_value for each in found.comparisons]
    for p_value in p_values:
        assert 0.0 <= p_value <= 1.0, "p-value of evidence"
    assert 0.0 <= found.sample_ratio.p_value <= 1.0, "p-value of the sample ratio"
    for comparison in found.comparisons:
        if comparison.lower is None and comparison.upper is None:
            assert comparison.p_value == 1.0, "p-value without an interval"
        if comparison.lower is not None and comparison.upper is not None:
            assert comparison.lower <= comparison.upper, "comparison"
    payload = encode_snapshot(snapshot)
    assert len(payload) <= STATE_BYTES, f"{len(payload)} bytes"
    assert decode_snapshot(payload) == snapshot, "round trip"
    stored_evidence(snapshot)
    assert reason(snapshot)
    return snapshot
