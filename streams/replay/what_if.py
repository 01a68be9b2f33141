"""The same log under another policy, prior or metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic.alias_generators import to_camel

from streams.experiments.definition import ExperimentDefinition, parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.measurement_plan import plan_of
from streams.experiments.snapshot import Snapshot
from streams.fold.experiment_state import snapshot_of
from streams.kafka.records import LogSource
from streams.policies.base import Policy
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.registry import POLICIES
from streams.replay.history import experiment_of
from streams.replay.partitions import FoldInputs, Part, fold_parts
from streams.replay.verify import ReplayObserver
from streams.stats.kinds import MetricKind
from streams.tallies.cell import Source


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Changed assumptions; what is left out stays as it was.

    Attributes:
        policy: Another policy, by its `type`; with it, the parameters begin at their defaults, but
            for the features of one that decides by them as the experiment's does.
        parameters: Parameters of the policy, over those it has.
        prior: Pseudo-successes and pseudo-failures of the Beta prior, each > 0.
        metric: The metric that decides. The one that did is reported besides.
        caps: Largest value of a unit by metric; None for no cap. Others stay.
        floors: Smallest value of a unit by metric; None for the floor of its kind. Others stay.
        periods: Fields of `config.periods`, over those it has; empty for all units alike, None for
            as it was.
    """

    policy: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    prior: tuple[float, float] | None = None
    metric: str | None = None
    caps: Mapping[str, float | None] = field(default_factory=dict)
    periods: Mapping[str, Any] | None = None
    floors: Mapping[str, float | None] = field(default_factory=dict)

    def applied_to(self, definition: ExperimentDefinition) -> ExperimentDefinition:
        """Return the definition with these assumptions.

        Raises:
            InputError: they do not fit each other or the experiment, with code and path.
        """
        config = definition.config.model_dump(by_alias=True, mode="json")
        variants = [
            variant.model_dump(by_alias=True, mode="json") for variant in definition.variants
        ]
        if self.policy is not None and self.policy != definition.config.type:
            kept = {}
            if isinstance(definition.config.parameters, ContextualPolicy) and issubclass(
                POLICIES.get(self.policy, Policy), ContextualPolicy
            ):
                kept = {"features": config["parameters"]["features"]}
            config |= {"type": self.policy, "parameters": kept}
        parameters = {to_camel(name): value for name, value in self.parameters.items()}
        if self.prior is not None:
            parameters |= {"priorAlpha": self.prior[0], "priorBeta": self.prior[1]}
        config["parameters"] |= parameters
        if self.metric is not None:
            config |= _decided_by(config, self.metric)
        if self.periods is not None:
            stated = {to_camel(name): value for name, value in self.periods.items()}
            config["periods"] = {**(config["periods"] or {}), **stated} if stated else None
        for bound, values in (("cap", self.caps), ("floor", self.floors)):
            if values:
                config["metrics"] = _bounded(config["metrics"], bound, values)
        supposed = parse_definition(config, [each | {"weight": None} for each in variants])
        if supposed.config.parameters.adaptive:  # it chooses the weights itself
            return supposed
        return parse_definition(config, variants)

    def experiment(self, actual: Experiment) -> Experiment:
        """Return the experiment with these assumptions, running if it had ended.

        What would have been recommended is the question, and of an ended experiment nothing is.

        Raises:
            InputError: as `applied_to`.
        """
        ended = (
            actual.status in {Status.CONCLUDED, Status.ARCHIVED}
            and actual.started_at_ms is not None
        )
        return replace(
            actual,
            definition=self.applied_to(actual.definition),
            status=Status.RUNNING if ended else actual.status,
            winner=None if ended else actual.winner,
            promotion=None if ended else actual.promotion,
        )


def _decided_by(config: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Return the metrics of a configuration with another primary one.

    What is declared of it stays, but for what a primary metric does not have: what is asked of
    guardrails, and a Beta prior, which is the policy's.
    """
    named = (config["primaryMetric"], *config["secondaryMetrics"])
    declared = dict(config["metrics"])
    if metric in declared:
        own = declared[metric] | dict.fromkeys(("toleratedHarm", "mode", "margin"))
        declared[metric] = own | {"prior": None} if own["kind"] == MetricKind.BINARY else own
    return {
        "primaryMetric": metric,
        "secondaryMetrics": [name for name in named if name != metric],
        "guardrailMetrics": [name for name in config["guardrailMetrics"] if name != metric],
        "metrics": declared,
    }


def _bounded(
    declared: Mapping[str, Mapping[str, Any]], bound: str, values: Mapping[str, float | None]
) -> dict[str, Any]:
    """Return what is declared of the metrics, with another `cap` or `floor`."""
    return {
        **declared,
        **{name: {**declared.get(name, {}), bound: value} for name, value in values.items()},
    }


@dataclass(frozen=True, slots=True)
class Alternatives:
    """One log, read twice.

    Attributes:
        actual: What the log gives as things are.
        supposed: What it gives under the assumptions.
    """

    actual: Snapshot
    supposed: Snapshot


def what_if(
    source: LogSource,
    inputs: FoldInputs,
    number: int,
    assumptions: Assumptions,
    *,
    processes: int = 1,
    watcher: ReplayObserver | None = None,
) -> Alternatives:
    """Return what the whole log gives of an experiment, with and without the assumptions.

    Who was assigned to what stays as it was: an adaptive policy would have sent other units to the
    variants. The weights are those that the other policy would give to the next unit.

    Args:
        source: The log.
        inputs: What is folded with, and up to when.
        number: The experiment.
        assumptions: What should have been otherwise.
        processes: How many partitions are folded at a time.
        watcher: Receives the progress.

    Raises:
        ExperimentNotFoundError: it had not been created by then.
        InputError: the assumptions do not fit.
        LogError: the log no longer begins at its beginning.
        DependencyError: Kafka or the schema registry does not answer.
    """
    watcher = watcher or ReplayObserver()
    actual = experiment_of(source, inputs, number)
    supposed = assumptions.experiment(actual)
    parts = [
        Part(topic, partition, span.end)
        for topic in Source
        for partition, span in source.spans(topic.value).items()
    ]
    plans = [plan_of(each.definition, each.n_started) for each in (actual, supposed)]
    # Units that are measured in the same way are read once.
    different = plans if plans[0] != plans[1] else plans[:1]
    watcher.begin(len(different) * sum(part.end for part in parts))
    readings = []
    for plan in different:
        planned = replace(inputs, plans={number: plan})
        folded = fold_parts(source, planned, parts, processes, watcher.advance)
        readings.append(
            [captured.last[number] for captured in folded.values() if number in captured.last]
        )
    return Alternatives(snapshot_of(actual, readings[0]), snapshot_of(supposed, readings[-1]))
