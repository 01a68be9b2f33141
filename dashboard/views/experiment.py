"""The page of an experiment."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.views import health
from dashboard.views.actions import Action, actions
from dashboard.views.checklist import Checklist, checklist
from dashboard.views.densities import Densities, densities
from dashboard.views.facts import ExperimentFacts
from dashboard.views.forest import Forest, forest
from dashboard.views.headline import Headline, headline
from dashboard.views.metrics import MetricTable, metric_tables
from dashboard.views.text import count, day_of, iso, moment
from dashboard.views.variants import VariantRow, colors, variant_rows


@dataclass(frozen=True, slots=True)
class ExperimentView:
    """Contents of the page.

    Attributes:
        id, name, key, status, description, type, unit: Of the experiment.
        primary_metric: Name of the metric that decides.
        as_of, as_of_iso: Time of the newest event, for people and for machines.
        day: Day of the experiment, from 1; None before there are events.
        total: Units assigned so far.
        dimensions: Names of the dimensions.
        colors: Classes that color the variants, by index.
        headline, actions, ...: Sections of the page; None where there is nothing to show.
    """

    id: str
    name: str
    key: str
    status: str
    description: str
    type: str
    unit: str
    units: str
    primary_metric: str
    control: str
    as_of: str
    as_of_iso: str
    day: int | None
    total: str
    error: float | None
    headline: Headline
    actions: list[Action]
    checklist: Checklist | None
    forest: Forest | None
    densities: Densities | None
    variants: list[VariantRow]
    colors: tuple[str, ...]
    sample_ratio: health.Dots | None
    guardrails: health.Dots | None
    guardrails_since: health.Dots | None
    metrics: list[MetricTable]
    notes: list[str]
    dimensions: list[str]


def experiment_view(facts: ExperimentFacts) -> ExperimentView:
    """Return what the page of an experiment shows."""
    stats, evidence = facts.stats, facts.evidence
    return ExperimentView(
        id=stats.experiment_id,
        name=stats.name,
        key=stats.key or "",
        status=stats.status,
        description=str(facts.experiment.config.get("description") or ""),
        type=stats.type.replace("_", " "),
        unit=stats.unit,
        units=facts.units,
        primary_metric=stats.primary_metric,
        control=facts.control_name,
        as_of=moment(stats.as_of_ms),
        as_of_iso=iso(stats.as_of_ms),
        day=day_of(evidence.duration_ms) if evidence is not None and stats.as_of_ms else None,
        total=count(stats.total_assignments),
        error=None if evidence is None else evidence.error,
        headline=headline(facts),
        actions=actions(facts),
        checklist=checklist(facts),
        forest=forest(facts),
        densities=densities(facts),
        variants=variant_rows(facts),
        colors=colors(facts),
        sample_ratio=health.sample_ratio(facts),
        guardrails=health.guardrails(facts),
        guardrails_since=health.guardrails_since(facts),
        metrics=metric_tables(facts),
        notes=health.notes(facts),
        dimensions=[str(each["name"]) for each in facts.experiment.config.get("dimensions") or ()],
    )
