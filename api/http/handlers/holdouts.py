"""Handlers of holdouts: each is an experiment, started and ended by its commands."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from fastapi import Query, Request, Response

from api.http.dependencies import Services, ServicesDep, json_response, rendered_response
from api.http.dry_runs import dry_run_response
from api.http.handlers.experiments import concluded_snapshot
from api.http.handlers.options import CommandOptions, OptionsDep
from api.http.models.queries import StatsQuery
from api.http.models.requests import HoldoutRequest
from api.http.models.responses import Holdouts
from api.http.pages import stats_page
from api.http.payloads import holdout_response
from api.strict_json import decode_object
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.holdouts import ALL, HoldoutSpec, variants_of
from streams.experiments.lifecycle import Experiment
from streams.experiments.served import Serve
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import InputError
from streams.model.events import CommandKind
from streams.model.experiment_keys import named_experiment
from streams.model.ids import experiment_id
from streams.model.validation import parse

DEFAULT_METRIC = "conversion"
"""Default primary metric of a holdout that covers no experiment yet."""


async def create_holdout(services: ServicesDep, options: OptionsDep, request: Request) -> Response:
    """Start to hold a share of the units out of experiments.

    Share, unit and experiments are fixed: with another share, counted units would switch groups. To
    change them, end the holdout and start another one.
    """
    body = decode_object(await request.body())
    asked = parse(HoldoutRequest, body)
    definition = _definition(services, asked)
    services.schemas.require_definition(definition)
    key = options.idempotency(body)
    if options.is_dry_run:
        preview = await services.commands.preview_creation(definition, key)
        return json_response(dry_run_response(CommandKind.CREATE, preview))
    snapshot = await services.commands.create(definition, key, options.origin)
    return json_response(holdout_response(snapshot.experiment), 201)


async def list_holdouts(services: ServicesDep) -> Response:
    """Return all holdouts, newest first."""
    found = services.experiments.holdouts()
    return json_response(
        Holdouts(holdouts=tuple(holdout_response(each.experiment) for each in found))
    )


async def get_holdout(services: ServicesDep, holdout_key: str) -> Response:
    """Return a holdout."""
    return json_response(holdout_response(services.experiments.holdout(holdout_key).experiment))


async def get_holdout_stats(
    services: ServicesDep, holdout_key: str, query: Annotated[StatsQuery, Query()]
) -> Response:
    """Return the statistics of the held-out units and of all others.

    Every metric is compared like a primary one. With `at=conclusion`, the statistics as of the end
    of the holdout.
    """
    snapshot = services.experiments.holdout(holdout_key)
    if query.at is not None:
        snapshot = await concluded_snapshot(services, snapshot.experiment)
    return rendered_response(await stats_page(snapshot))


async def end_holdout(
    services: ServicesDep,
    options: OptionsDep,
    holdout_key: str,
    request: Request,
) -> Response:
    """End a holdout: it stops holding units out, and its report is kept."""
    payload = {"serve": Serve.NONE.value}
    return await _change(services, options, holdout_key, request, CommandKind.CONCLUDE, payload)


async def archive_holdout(
    services: ServicesDep,
    options: OptionsDep,
    holdout_key: str,
    request: Request,
) -> Response:
    """Archive an ended holdout: observations of its units are no longer counted."""
    return await _change(services, options, holdout_key, request, CommandKind.ARCHIVE, {})


async def _change(
    services: Services,
    options: CommandOptions,
    holdout_key: str,
    request: Request,
    kind: CommandKind,
    payload: dict[str, str],
) -> Response:
    surplus = decode_object(await request.body())
    if surplus:
        raise InputError("UNKNOWN_FIELD", "this command takes no fields", min(surplus))
    number = services.experiments.holdout(holdout_key).experiment.number
    if options.is_dry_run:
        preview = await services.commands.preview(number, kind, payload)
        return json_response(dry_run_response(kind, preview))
    key = options.idempotency({})
    snapshot = await services.commands.change(number, kind, payload, key, options.origin)
    return json_response(holdout_response(snapshot.experiment))


def _definition(services: Services, asked: HoldoutRequest) -> ExperimentDefinition:
    """Return a holdout as the definition of an experiment.

    Raises:
        InputError: as `HoldoutSpec`, or an experiment named by its id does not exist
            (`UNKNOWN_EXPERIMENT`), or randomises by another unit (`HOLDOUT_UNIT_DIFFERS`).
    """
    spec = parse(
        HoldoutSpec, {"key": asked.key, "share": asked.share, "experiments": asked.experiments}
    )
    metric = asked.primary_metric or _usual_metric(_covered(services, asked, spec))
    config = {
        "name": f"holdout {spec.key}",
        "type": "bayesian_ab",
        "primaryMetric": metric,
        "unit": asked.unit,
        "exposure": "event",
        "attributionWindow": 0,
        "ignoredUnits": [],
        "receiptKey": services.receipt_key(spec.number),
        "holdout": spec.model_dump(by_alias=True, mode="json"),
    }
    return parse(ExperimentDefinition, {"config": config, "variants": variants_of(spec.share)})


def _covered(services: Services, asked: HoldoutRequest, spec: HoldoutSpec) -> list[Experiment]:
    """Return the existing experiments whose units a holdout counts."""
    if ALL in spec.experiments:
        known = (each.experiment for each in services.experiments.all())
        return [each for each in known if each.definition.config.unit == asked.unit]
    found = []
    for index, name in enumerate(spec.experiments):
        path = f"experiments[{index}]"
        number = named_experiment(name)
        snapshot = services.experiments.snapshots().get(experiment_id(number))
        if snapshot is None:
            if name == experiment_id(number):
                raise InputError("UNKNOWN_EXPERIMENT", f"there is no experiment {name}", path)
            continue  # one with this key may be created later
        config = snapshot.experiment.definition.config
        if config.unit is UnitKind.IMPRESSION:
            continue
        if config.unit is not UnitKind(asked.unit) or config.holdout is not None:
            message = f"{name} randomises by {config.unit}, and the holdout is of {asked.unit}s"
            raise InputError("HOLDOUT_UNIT_DIFFERS", message, path)
        found.append(snapshot.experiment)
    return found


def _usual_metric(experiments: list[Experiment]) -> str:
    """Return the most common primary metric of experiments, ties broken by name."""
    counts = Counter(
        config.primary_metric
        for config in (each.definition.config for each in experiments)
        if config.spec(config.primary_metric).components is None
    )
    return min(counts, key=lambda name: (-counts[name], name), default=DEFAULT_METRIC)
