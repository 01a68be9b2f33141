"""Evaluation of a holdout: every metric has what it would have as the primary one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.analysis.evaluate import evaluate
from streams.analysis.holdouts import by_primary_metric
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.statistics.metric_model import MetricRole
from streams.tallies.cell import Tally
from tests.streams.analysis.test_evaluate import tally, variant

SEEN = tally(
    variant(40, click=[1] * 9 + [0] * 20, spend=[1.5, 20.0, 3.25]),
    variant(60, click=[1] * 25 + [0] * 20, paid=[1] * 7),
)


def experiment(primary: str, *, is_holdout: bool) -> Experiment:
    holdout = {"holdout": {"key": "all", "share": 0.5}} if is_holdout else {}
    definition = parse_definition(
        {"name": "H", "type": "bayesian_ab", "unit": "user", "primaryMetric": primary} | holdout,
        [{"name": "held out", "isControl": True}, {"name": "others"}],
    )
    return Experiment(7, definition, Status.RUNNING, version=3, created_at_ms=1, started_version=2)


def test_every_metric_is_compared_as_if_it_were_the_primary_one():
    found = evaluate(experiment("click", is_holdout=True), SEEN, ())

    assert list(found.metrics) == ["click", "paid", "spend"]
    for name, model in found.metrics.items():
        alone = evaluate(experiment(name, is_holdout=False), SEEN, ())
        role = MetricRole.PRIMARY if name == "click" else MetricRole.SECONDARY
        assert model == replace(alone.metrics[name], role=role)
        for together, own in zip(found.variants, alone.variants, strict=True):
            assert together.metrics[name] == own.metrics[name]


def test_all_but_the_other_metrics_is_that_of_the_primary_one():
    found = evaluate(experiment("click", is_holdout=True), SEEN, ())
    alone = evaluate(experiment("click", is_holdout=False), SEEN, ())

    assert (found.winner, found.evidence, found.allocation) == (
        alone.winner,
        alone.evidence,
        alone.allocation,
    )


@pytest.mark.parametrize("is_holdout", [False, True])
def test_before_any_event_there_is_one_reading(is_holdout):
    value = experiment("click", is_holdout=is_holdout)

    assert by_primary_metric(value, Tally()) == [value]


def test_metrics_of_variants_that_the_definition_does_not_have_are_left_out():
    value = experiment("click", is_holdout=True)
    promoted = Tally(variants={**SEEN.variants, 256: variant(9, other=[1])})

    found = by_primary_metric(value, promoted)

    names = [each.definition.config.primary_metric for each in found]
    assert names == ["click", "paid", "spend"]
