"""Handlers that change experiments: each sends one command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import orjson
from fastapi import Header, Request, Response

from api.http.dependencies import CallerDep, Services, ServicesDep, json_response
from api.http.models.requests import ConcludeRequest
from api.http.payloads import experiment_response
from api.services.control import IdempotencyKey
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
from streams.model.errors import ExperimentNotFoundError, InputError
from streams.model.events import CommandKind
from streams.model.experiment_keys import named_experiment
from streams.model.ids import experiment_id as named_id
from streams.model.validation import parse

MAX_IDEMPOTENCY_KEY = 256
_HEADER = "Idempotency-Key"

KeyHeader = Annotated[
    str | None,
    Header(
        alias=_HEADER,
        description="The same key of the same caller, for the same command and body, gives the "
        "first answer again; with another body it is refused (`IDEMPOTENCY_KEY_REUSED`).",
    ),
]


async def create_experiment(
    services: ServicesDep, caller: CallerDep, request: Request, key: KeyHeader = None
) -> Response:
    """Create an experiment, as a draft."""
    body = decode_object(await request.body())
    definition = parse(ExperimentDefinition, body)
    _refuse_holdout(definition)
    services.schemas.require_definition(definition)
    snapshot = await services.commands.create(definition, idempotency_key(caller, key, body))
    return json_response(experiment_response(snapshot.experiment), 201)


async def edit_experiment(
    services: ServicesDep,
    caller: CallerDep,
    experiment_id: str,
    request: Request,
    key: KeyHeader = None,
) -> Response:
    """Put another definition in the place of a draft's, as a whole.

    With the `version` that was read, it is refused if the draft has changed since.
    """
    body = decode_object(await request.body())
    edit = parse(DraftEdit, body)
    _refuse_holdout(edit)
    services.schemas.require_definition(edit)
    number = _number(experiment_id)
    snapshot = await services.commands.edit(number, edit, idempotency_key(caller, key, body))
    return json_response(experiment_response(snapshot.experiment))


async def add_variant(
    services: ServicesDep,
    caller: CallerDep,
    experiment_id: str,
    request: Request,
    key: KeyHeader = None,
) -> Response:
    """Add a variant, behind all others; a running experiment assigns it from then on."""
    body = decode_object(await request.body())
    added = parse(AddedVariant, body)
    payload = added.model_dump(by_alias=True, mode="json", exclude_none=True)
    idempotency = idempotency_key(caller, key, body)
    return await _change(
        services, experiment_id, CommandKind.ADD_VARIANT, payload, idempotency, status=201
    )


async def change_variant(
    services: ServicesDep,
    caller: CallerDep,
    experiment_id: str,
    variant_id: str,
    request: Request,
    key: KeyHeader = None,
) -> Response:
    """Rename a variant, change its configuration, stop or reactivate it."""
    body = decode_object(await request.body())
    update = parse(VariantUpdate, body)
    payload = update.model_dump(by_alias=True, mode="json", exclude_none=True)
    payload["variant"] = variant_id[:MAX_REFERENCE]
    idempotency = idempotency_key(caller, key, {**body, "variant": payload["variant"]})
    return await _change(services, experiment_id, CommandKind.CHANGE_VARIANT, payload, idempotency)


async def update_experiment(
    services: ServicesDep,
    caller: CallerDep,
    experiment_id: str,
    request: Request,
    key: KeyHeader = None,
) -> Response:
    """Change the share of traffic or the thresholds; what is left out stays."""
    body = decode_object(await request.body())
    update = parse(ExperimentUpdate, body)
    services.schemas.require_definition(update)
    payload = update.model_dump(by_alias=True, mode="json", exclude_none=True)
    idempotency = idempotency_key(caller, key, body)
    return await _change(services, experiment_id, CommandKind.UPDATE, payload, idempotency)


async def conclude_experiment(
    services: ServicesDep,
    caller: CallerDep,
    experiment_id: str,
    request: Request,
    key: KeyHeader = None,
) -> Response:
    """End an experiment, with a winner or without."""
    body = decode_object(await request.body())
    conclude = parse(ConcludeRequest, body)
    payload = conclude.model_dump(by_alias=True, mode="json", exclude_none=True)
    is_served = conclude.winner_variant_id is not None and conclude.serve in {None, Serve.WINNER}
    if is_served and conclude.control_share is None:
        experiment = services.experiments.snapshot(experiment_id).experiment
        payload["controlShare"] = experiment.definition.config.kept_control_share
    idempotency = idempotency_key(caller, key, body)
    return await _change(services, experiment_id, CommandKind.CONCLUDE, payload, idempotency)


def bare_command(kind: CommandKind, description: str) -> Callable[..., Awaitable[Response]]:
    """Return the handler of a command without a body."""

    async def command(
        services: ServicesDep,
        caller: CallerDep,
        experiment_id: str,
        request: Request,
        key: KeyHeader = None,
    ) -> Response:
        surplus = decode_object(await request.body())
        if surplus:
            raise InputError("UNKNOWN_FIELD", "this command takes no fields", min(surplus))
        # Its receipts are signed by one key from its start to its end.
        payload = {}
        if kind is CommandKind.START:
            payload["receiptKey"] = services.receipt_key(_number(experiment_id))
        idempotency = idempotency_key(caller, key, {})
        return await _change(services, experiment_id, kind, payload, idempotency)

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
    key: IdempotencyKey | None,
    *,
    status: int = 200,
) -> Response:
    number = _number(experiment_id)
    found = services.experiments.snapshots().get(named_id(number))
    if found is not None and found.experiment.definition.config.holdout is not None:
        raise ExperimentNotFoundError(experiment_id)  # its commands are those of /holdouts
    snapshot = await services.commands.change(number, kind, payload, key)
    return json_response(experiment_response(snapshot.experiment), status)


def _number(experiment_id: str) -> int:
    try:
        return named_experiment(experiment_id)
    except InputError as error:
        raise ExperimentNotFoundError(experiment_id) from error


def idempotency_key(caller: str, key: str | None, body: dict[str, Any]) -> IdempotencyKey | None:
    """Return the idempotency key of a request, if it has one.

    Raises:
        InputError: it is too long or empty (`OUT_OF_RANGE`), or not printable ASCII
            (`INVALID_NAME`).
    """
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY:
        raise InputError(
            "OUT_OF_RANGE", f"must have 1 to {MAX_IDEMPOTENCY_KEY} characters", _HEADER
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError("INVALID_NAME", "must be printable ASCII", _HEADER)
    return IdempotencyKey(key, caller, orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
