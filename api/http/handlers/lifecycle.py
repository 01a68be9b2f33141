"""Routes that change experiments: each one command in the log."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Request, Response

from api.auth import Scope
from api.client.results import Experiment
from api.http.bodies import decode_object
from api.http.dependencies import Services, json_answer
from api.http.models.requests import ConcludeRequest
from api.http.openapi import ERRORS, json_body, keys_documented
from api.http.payloads import experiment_payload
from api.http.routing import Requires
from api.services.control import IdempotencyKey
from api.snapshots.follower import Experiments
from streams.experiments.definition import ExperimentDefinition, ExperimentUpdate
from streams.experiments.definition_versions import unused
from streams.model.errors import InputError
from streams.model.events import CommandKind
from streams.model.ids import experiment_number
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


def commands(services: Services) -> APIRouter:
    """Return the routes of commands."""
    router = APIRouter(
        tags=["experiments"],
        dependencies=[Depends(Requires(services.gate, Scope.MANAGE)), keys_documented()],
        responses=ERRORS,
    )

    @router.post(
        "/experiments",
        status_code=201,
        response_model=Experiment,
        openapi_extra=json_body(ExperimentDefinition),
    )
    async def create_experiment(request: Request, key: KeyHeader = None) -> Response:
        """Create an experiment, as a draft."""
        body = decode_object(await request.body())
        definition = parse(ExperimentDefinition, body)
        services.schemas.require_definition(definition)
        payload = definition.model_dump(by_alias=True, mode="json", exclude=unused(definition))
        snapshot = await services.commands.create(payload, _key(request, key, body))
        return json_answer(experiment_payload(snapshot.experiment), 201)

    @router.patch(
        "/experiments/{experiment_id}",
        response_model=Experiment,
        openapi_extra=json_body(ExperimentUpdate, is_required=False),
    )
    async def update_experiment(
        experiment_id: str, request: Request, key: KeyHeader = None
    ) -> Response:
        """Change the share of traffic or the thresholds; what is left out stays."""
        body = decode_object(await request.body())
        update = parse(ExperimentUpdate, body)
        services.schemas.require_definition(update)
        payload = update.model_dump(by_alias=True, mode="json", exclude_none=True)
        return await change(experiment_id, CommandKind.UPDATE, payload, _key(request, key, body))

    @router.post(
        "/experiments/{experiment_id}/conclude",
        response_model=Experiment,
        openapi_extra=json_body(ConcludeRequest, is_required=False),
    )
    async def conclude_experiment(
        experiment_id: str, request: Request, key: KeyHeader = None
    ) -> Response:
        """End an experiment, with a winner or without."""
        body = decode_object(await request.body())
        conclude = parse(ConcludeRequest, body)
        payload = conclude.model_dump(by_alias=True, exclude_none=True)
        if conclude.winner_variant_id is not None and conclude.control_share is None:
            experiment = services.experiments.snapshot(experiment_id).experiment
            payload["controlShare"] = experiment.definition.config.kept_control_share
        return await change(experiment_id, CommandKind.CONCLUDE, payload, _key(request, key, body))

    def bare(kind: CommandKind, does: str) -> None:
        async def command(experiment_id: str, request: Request, key: KeyHeader = None) -> Response:
            surplus = decode_object(await request.body())
            if surplus:
                raise InputError("UNKNOWN_FIELD", "this command takes no fields", min(surplus))
            # Its receipts are signed by one key from its start to its end.
            payload = {"receiptKey": services.receipt_key()} if kind is CommandKind.START else {}
            return await change(experiment_id, kind, payload, _key(request, key, {}))

        router.add_api_route(
            f"/experiments/{{experiment_id}}/{kind}",
            command,
            methods=["POST"],
            name=f"{kind}_experiment",
            description=does,
            response_model=Experiment,
        )

    bare(CommandKind.START, "Start a draft: from now on it assigns.")
    bare(CommandKind.PAUSE, "Stop assigning; observations of earlier assignments still count.")
    bare(CommandKind.RESUME, "Go on assigning after a pause.")
    bare(
        CommandKind.ROLLBACK,
        "Take a promoted winner back: the control is shown to everybody until it is archived.",
    )
    bare(CommandKind.ARCHIVE, "Put a draft or a concluded experiment away.")

    async def change(
        experiment_id: str,
        kind: CommandKind,
        payload: dict[str, Any],
        key: IdempotencyKey | None,
    ) -> Response:
        number = _number(services.experiments, experiment_id)
        snapshot = await services.commands.change(number, kind, payload, key)
        return json_answer(experiment_payload(snapshot.experiment))

    return router


def _number(experiments: Experiments, experiment_id: str) -> int:
    """Return the number of an experiment; one that no id could name is simply not there."""
    try:
        return experiment_number(experiment_id)
    except InputError:
        return experiments.snapshot(experiment_id).experiment.number


def _key(request: Request, key: str | None, body: dict[str, Any]) -> IdempotencyKey | None:
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
    spelled = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return IdempotencyKey(key, request.state.caller, spelled)
