"""Handlers that change experiments: each sends one command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import Request, Response

from api.http.dependencies import Services, ServicesDep, json_response
from api.http.dry_runs import dry_run_response
from api.http.handlers.options import ChangeOptionsDep, CommandOptions, OptionsDep
from api.http.models.requests import ConcludeRequest
from api.http.payloads import experiment_response
from api.strict_json import decode_object
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.served import Serve
from streams.experiments.update import ExperimentUpdate
from streams.experiments.variant_changes import (
    MAX_REFERENCE,
    AddedVariant,
    DraftEdit,
    VariantUpdate,
)
from streams.model.errors import EngineError, ExperimentNotFoundError, InputError
from streams.model.events import CommandKind
from streams.model.experiment_keys import named_experiment
from streams.model.ids import experiment_id as named_id
from streams.model.validation import check_change, parse


async def create_experiment(
    services: ServicesDep, options: OptionsDep, request: Request
) -> Response:
    """Create an experiment, as a draft."""
    body = decode_object(await request.body())
    definition = parse(ExperimentDefinition, body)
    _refuse_holdout(definition)
    services.schemas.require_definition(definition)
    key = options.idempotency(body)
    if options.is_dry_run:
        preview = await services.commands.preview_creation(definition, key)
        return json_response(dry_run_response(CommandKind.CREATE, preview))
    snapshot = await services.commands.create(definition, key, options.origin)
    return json_response(experiment_response(snapshot.experiment), 201)


async def edit_experiment(
    services: ServicesDep,
    options: ChangeOptionsDep,
    experiment_id: str,
    request: Request,
) -> Response:
    """Replace the definition of a draft as a whole.

    With the `version` that was read, it is refused if the draft has changed since.
    """
    body = decode_object(await request.body())
    edit = parse(DraftEdit, body)
    _refuse_holdout(edit)
    services.schemas.require_definition(edit)
    number, expected = _number(experiment_id), options.expected_version
    if options.is_dry_run:
        preview = await services.commands.preview_edit(number, edit, expected)
        return json_response(dry_run_response(CommandKind.EDIT, preview))
    key = options.idempotency(body)
    snapshot = await services.commands.edit(number, edit, key, options.origin, expected)
    return json_response(experiment_response(snapshot.experiment))


async def add_variant(
    services: ServicesDep,
    options: ChangeOptionsDep,
    experiment_id: str,
    request: Request,
) -> Response:
    """Add a variant after all others; a running experiment assigns it from then on."""
    body = decode_object(await request.body())
    added = parse(AddedVariant, body)
    payload = added.model_dump(by_alias=True, mode="json", exclude_none=True)
    return await _change(
        services, experiment_id, CommandKind.ADD_VARIANT, payload, options, body, status=201
    )


async def change_variant(
    services: ServicesDep,
    options: ChangeOptionsDep,
    experiment_id: str,
    variant_id: str,
    request: Request,
) -> Response:
    """Rename a variant, change its configuration, stop or reactivate it."""
    body = decode_object(await request.body())
    update = parse(VariantUpdate, body)
    check_change(update)
    payload = update.model_dump(by_alias=True, mode="json", exclude_none=True)
    payload["variant"] = variant_id[:MAX_REFERENCE]
    named = {**body, "variant": payload["variant"]}
    return await _change(
        services, experiment_id, CommandKind.CHANGE_VARIANT, payload, options, named
    )


async def update_experiment(
    services: ServicesDep,
    options: ChangeOptionsDep,
    experiment_id: str,
    request: Request,
) -> Response:
    """Change the traffic share or the thresholds; omitted fields stay."""
    body = decode_object(await request.body())
    update = parse(ExperimentUpdate, body)
    check_change(update)
    services.schemas.require_definition(update)
    payload = update.model_dump(by_alias=True, mode="json", exclude_none=True)
    return await _change(services, experiment_id, CommandKind.UPDATE, payload, options, body)


async def conclude_experiment(
    services: ServicesDep,
    options: ChangeOptionsDep,
    experiment_id: str,
    request: Request,
) -> Response:
    """Conclude an experiment, with or without a winner."""
    body = decode_object(await request.body())
    conclude = parse(ConcludeRequest, body)
    payload = conclude.model_dump(by_alias=True, mode="json", exclude_none=True)
    is_served = conclude.winner_variant_id is not None and conclude.serve in {None, Serve.WINNER}
    if is_served and conclude.control_share is None:
        experiment = services.experiments.snapshot(experiment_id).experiment
        payload["controlShare"] = experiment.definition.config.kept_control_share
    return await _change(services, experiment_id, CommandKind.CONCLUDE, payload, options, body)


def bare_command(kind: CommandKind, description: str) -> Callable[..., Awaitable[Response]]:
    """Return the handler of a command without a body."""

    async def command(
        services: ServicesDep,
        options: ChangeOptionsDep,
        experiment_id: str,
        request: Request,
    ) -> Response:
        surplus = decode_object(await request.body())
        if surplus:
            raise InputError("UNKNOWN_FIELD", "this command takes no fields", min(surplus))
        # Its receipts are signed with the same key from start to end.
        payload = {}
        if kind is CommandKind.START:
            payload["receiptKey"] = services.receipt_key(_number(experiment_id))
        return await _change(services, experiment_id, kind, payload, options, {})

    command.__name__ = f"{kind}_experiment"
    command.__doc__ = description
    return command


def _refuse_holdout(definition: ExperimentDefinition) -> None:
    if definition.config.holdout is not None:
        message = "a holdout is no experiment on variants; begin it by POST /holdouts"
        raise InputError("NOT_A_HOLDOUT", message, "config.holdout")


async def _change(
    services: Services,
    experiment_id: str,
    kind: CommandKind,
    payload: dict[str, Any],
    options: CommandOptions,
    body: dict[str, Any],
    *,
    status: int = 200,
) -> Response:
    number, expected = _number(experiment_id), options.expected_version
    found = services.experiments.snapshots().get(named_id(number))
    if found is not None and found.experiment.definition.config.holdout is not None:
        raise ExperimentNotFoundError(experiment_id)  # it is managed at /holdouts
    with _missing_as(experiment_id):
        if options.is_dry_run:
            preview = await services.commands.preview(number, kind, payload, expected)
            return json_response(dry_run_response(kind, preview))
        key = options.idempotency(body)
        snapshot = await services.commands.change(
            number, kind, payload, key, options.origin, expected
        )
    return json_response(experiment_response(snapshot.experiment), status)


@contextmanager
def _missing_as(experiment_id: str) -> Iterator[None]:
    """Name an experiment that does not exist as the caller has named it, by its key or its id."""
    try:
        yield
    except EngineError as error:
        missing = ExperimentNotFoundError(experiment_id)
        if error.code != missing.code:
            raise
        raise missing from error


def _number(experiment_id: str) -> int:
    try:
        return named_experiment(experiment_id)
    except InputError as error:
        raise ExperimentNotFoundError(experiment_id) from error
