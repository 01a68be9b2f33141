"""Filters of the list of experiments."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from api.http.models.queries import ExperimentsQuery
from streams.experiments.lifecycle import Status
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.experiments.summary import Health, health_of
from streams.model.errors import InputError, quoted
from streams.policies.registry import POLICIES

Filter = Callable[[Snapshot], bool]


def matching(snapshots: Iterable[Snapshot], query: ExperimentsQuery) -> list[Snapshot]:
    """Return the snapshots that a query asks for.

    Raises:
        InputError: a status, type, action or health is unknown (`UNKNOWN_VALUE`).
    """
    filters = list(_filters(query))
    return [each for each in snapshots if all(wanted(each) for wanted in filters)]


def _filters(query: ExperimentsQuery) -> Iterable[Filter]:
    """Yield the filters, the cheapest first."""
    if query.status is not None:
        statuses = named(query.status, list(Status), "query.status")
        yield lambda each: each.experiment.status in statuses
    if query.action is not None:
        actions = named(query.action, list(RecommendedAction), "query.action")
        yield lambda each: each.recommended_action in actions
    if query.type is not None:
        types = named(query.type, sorted(POLICIES), "query.type")
        yield lambda each: each.experiment.definition.config.type in types
    if query.owner is not None:
        owner = query.owner.strip()
        yield lambda each: each.experiment.definition.config.owner == owner
    if query.tag is not None:
        tags = {tag.strip() for tag in query.tag.split(",")}
        yield lambda each: not tags.isdisjoint(each.experiment.definition.config.tags)
    if query.health is not None:
        kinds = named(query.health, list(Health), "query.health")
        yield lambda each: health_of(each) in kinds
    if query.search is not None and query.search.strip():
        text = query.search.strip().casefold()
        yield lambda each: _contains(each, text)


def _contains(snapshot: Snapshot, text: str) -> bool:
    experiment = snapshot.experiment
    config = experiment.definition.config
    found = (
        config.name,
        config.key or "",
        experiment.id,
        config.owner or "",
        *config.tags,
        config.description,
    )
    return any(text in each.casefold() for each in found)


def named(text: str, known: Collection[str], path: str) -> frozenset[str]:
    """Return the values named, separated by commas.

    Raises:
        InputError: one of them is unknown (`UNKNOWN_VALUE`).
    """
    found = frozenset(text.split(","))
    for each in sorted(found.difference(known)):
        message = f"{quoted(each)} is not one of {', '.join(known)}"
        raise InputError("UNKNOWN_VALUE", message, path)
    return found
