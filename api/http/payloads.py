"""Responses about experiments, made of their snapshots."""

from __future__ import annotations

from dataclasses import fields, replace

from api.http.models import responses
from api.http.models.summaries import ExperimentSummary, Headline
from streams.analysis.answered_evidence import answered_evidence
from streams.analysis.misspelled_metrics import misspelt_metrics
from streams.analysis.reasons import reason
from streams.experiments.exposure import Exposure
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.schedule import is_held, next_at_ms
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.record import Statistics
from streams.experiments.stats_response import Stats, VariantResult, VariantStats, Winner
from streams.experiments.summary import summary_of
from streams.model.published import field_values
from streams.model.quantities import ALLOCATION_TOTAL


def experiment_response(experiment: Experiment) -> responses.Experiment:
    """Return the response for an experiment, with all defaults of its definition filled in."""
    definition = experiment.definition
    winner = experiment.winner
    return responses.Experiment(
        id=experiment.id,
        key=experiment.key,
        status=experiment.status,
        version=experiment.version,
        config=definition.config.model_dump(by_alias=True, mode="json"),
        variants=tuple(
            responses.Variant(
                id=experiment.variant_id(index),
                name=variant.name,
                is_control=variant.is_control,
                is_active=variant.is_active,
                weight=variant.weight,
                config=variant.config,
            )
            for index, variant in enumerate(definition.variants)
        ),
        created_at=experiment.created_at_ms,
        started_at=experiment.started_at_ms,
        concluded_at=experiment.concluded_at_ms,
        winner_variant_id=None if winner is None else experiment.variant_id(winner),
        promotion=_promotion(experiment),
        served=_served(experiment),
        schedule=_schedule(experiment),
    )


def summary_response(snapshot: Snapshot) -> ExperimentSummary:
    """Return what is known of an experiment in a list."""
    found, experiment = summary_of(snapshot), snapshot.experiment

    def named(index: int | None) -> str | None:
        return None if index is None else experiment.variant_id(index)

    return ExperimentSummary(
        action=snapshot.recommended_action,
        reason_code=snapshot.reason_code,
        headline=Headline(
            variant_id=named(found.headline.variant),
            metric=found.headline.metric,
            value=found.headline.value,
            limit=found.headline.limit,
        ),
        urgency=found.urgency.name.lower(),
        lead_variant_id=named(found.lead),
        probability_best=None if found.lead is None else snapshot.confidence,
        units=found.units,
        planned_units=found.planned_units,
        progress=found.progress,
        health=found.health,
        health_codes=found.health_codes,
        as_of=snapshot.as_of_ms,
        version=snapshot.version,
    )


_HOLDOUT_STATUS = {Status.RUNNING: "running", Status.CONCLUDED: "ended"}


def holdout_response(experiment: Experiment) -> responses.Holdout:
    """Return the response for the holdout that an experiment is."""
    config = experiment.definition.config
    spec = config.holdout
    assert spec is not None  # noqa: S101 - it is one
    return responses.Holdout(
        key=spec.key,
        status=_HOLDOUT_STATUS.get(experiment.status, experiment.status.value),
        share=spec.share,
        unit=config.unit,
        experiments=spec.experiments,
        primary_metric=config.primary_metric,
        experiment_id=experiment.id,
        created_at=experiment.created_at_ms,
        ended_at=experiment.concluded_at_ms,
    )


def stats_of(snapshot: Snapshot, dimension: str | None = None) -> Stats:
    """Return the statistics of an experiment but for its variants; `variant_result` has those.

    Args:
        snapshot: Its snapshot.
        dimension: The dimension of which the values are in it; None without one.
    """
    experiment = snapshot.experiment
    config = experiment.definition.config
    shared = {each.name: getattr(snapshot, each.name) for each in fields(Statistics)}
    return Stats(
        **shared
        | {
            "evidence": answered_evidence(snapshot),
            "dimensions": tuple(
                each if each.name == dimension else replace(each, values=())
                for each in snapshot.dimensions
            ),
        },
        experiment_id=experiment.id,
        key=experiment.key if config.holdout is None else config.holdout.key,
        name=config.name,
        type=config.type,
        unit=config.unit,
        status=experiment.status,
        primary_metric=config.primary_metric,
        total_assignments=sum(report.assignments for report in snapshot.variants),
        total_exposures=(
            sum(report.exposures or 0 for report in snapshot.variants)
            if config.exposure is Exposure.EVENT
            else None
        ),
        total_observations=sum(report.observations for report in snapshot.variants),
        variants=(),
        winner=_winner(snapshot),
        reason=reason(snapshot),
        misspelt=misspelt_metrics(snapshot),
    )


def variant_result(snapshot: Snapshot, index: int) -> VariantResult:
    """Return one variant with its statistics."""
    variant = snapshot.experiment.definition.variants[index]
    share = snapshot.allocation.weights[index] / ALLOCATION_TOTAL
    return VariantResult(
        id=snapshot.experiment.variant_id(index),
        name=variant.name,
        is_control=variant.is_control,
        is_active=variant.is_active,
        stats=VariantStats(**field_values(snapshot.variants[index]), allocation=share),
        config=variant.config,
    )


def _promotion(experiment: Experiment) -> responses.Promotion | None:
    found = experiment.promotion
    if found is None:
        return None
    return responses.Promotion(
        variant_id=experiment.variant_id(found.variant),
        control_share=found.control_weight / ALLOCATION_TOTAL,
        is_automatic=found.is_automatic,
        rolled_back_at=found.began_at_ms if found.is_rolled_back else None,
    )


def _served(experiment: Experiment) -> responses.Served | None:
    shipped = experiment.shipped
    if shipped is None:
        return None
    return responses.Served(
        variant_id=experiment.variant_id(shipped.variant), since=shipped.since_ms
    )


def _schedule(experiment: Experiment) -> responses.Schedule | None:
    schedule = experiment.definition.config.schedule
    if schedule is None:
        return None
    is_over = experiment.status in {Status.CONCLUDED, Status.ARCHIVED}
    due_ms = next_at_ms(schedule, experiment.history, experiment.started_at_ms)
    return responses.Schedule(
        events=tuple(
            responses.ScheduleEvent(
                action=event.action,
                due_at=event.due_at_ms,
                at=event.at_ms,
                late_ms=event.at_ms - event.due_at_ms,
                traffic_allocation=event.traffic_allocation,
                because=event.because,
            )
            for event in experiment.history
        ),
        is_held=is_held(experiment.history),
        next_at=None if is_over else due_ms,
    )


def _winner(snapshot: Snapshot) -> Winner | None:
    if snapshot.winner is None:
        return None
    return Winner(
        snapshot.experiment.variant_id(snapshot.winner),
        snapshot.experiment.definition.variants[snapshot.winner].name,
    )
