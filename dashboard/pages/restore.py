"""Restoring the values of before a change: its effect by a dry run, and its confirmation."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.attempts import (
    KEY_FIELD,
    is_signed_out,
    message_of,
    next_key,
    next_version,
    seen_version,
    status_of,
)
from dashboard.context import client_of, draft_of, form_of, page, redirect, session_of
from dashboard.pages.commands import MAX_REASON, REASON_FIELD, changed_since
from dashboard.views.facts import ExperimentFacts
from dashboard.views.history import change_texts, history
from dashboard.views.undo import effects_on_users
from experiment_streams_client import ApiError, AsyncExperimentClient, Experiment, HistoryItem
from experiment_streams_client.calls.base import Call


async def ask(request: Request) -> Response:
    """Return the page that states what restoring does."""
    return await _confirmation(request, await draft_of(request), "")


async def give(request: Request) -> Response:
    """Restore the values, and return to the experiment; a refusal shows the page again."""
    fields = await form_of(request)
    reason = fields.get(REASON_FIELD, "").strip()
    if len(reason) > MAX_REASON:
        return await _confirmation(request, fields, f"Enter at most {MAX_REASON} characters.", 422)
    client = await client_of(request)
    entry = await _entry(request, client)
    if entry is None:
        return await _confirmation(request, fields, "")
    call = _call(entry, fields.get(KEY_FIELD) or next_key({}, 200))
    try:
        given = {"reason": reason, "expectedVersion": seen_version(fields)}
        arguments = {name: str(value) for name, value in given.items() if value}
        await client.send(call.with_parameters(**arguments))
    except ApiError as error:
        if is_signed_out(error):
            raise
        return await _confirmation(request, fields, message_of(error), status_of(error))
    return redirect(request, _experiment(request))


async def _confirmation(
    request: Request, fields: Mapping[str, str], error: str, status: int = 200
) -> Response:
    client, session = await client_of(request), await session_of(request)
    name = request.path_params["id"]
    facts = ExperimentFacts(
        await client.get_experiment(name), await client.get_experiment_stats(name)
    )
    entry = await _entry(request, client)
    if entry is None and not error:
        return redirect(request, _experiment(request))  # another user has restored it meanwhile
    effect = ""
    changes: tuple[str, ...] = ()
    if entry is not None and session.may("manage"):
        try:
            tried = await client.dry_run(_call(entry, next_key({}, 200)))
        except ApiError as refusal:
            if is_signed_out(refusal):
                raise
            error, status, entry = message_of(refusal), status_of(refusal), None
        else:
            effect = effects_on_users(facts, tried.effects)
            changes = change_texts(
                tried.changes,
                tried.omitted_changes,
                {each.id: each.name for each in facts.experiment.variants},
            )
    context = {
        "name": facts.stats.name,
        "id": facts.stats.experiment_id,
        "entry_id": request.path_params["entry"],
        "happening": None if entry is None else history([entry], facts.experiment)[0],
        "effect": effect,
        "changes": changes,
        "fields": fields,
        "error": error,
        "since": await changed_since(client, fields, status, facts.experiment),
        "version": next_version(fields, status, facts.experiment.version),
        "key": next_key(fields, status),
        "may_manage": session.may("manage"),
    }
    return await page(request, "restore.html", context, status)


async def _entry(request: Request, client: AsyncExperimentClient) -> HistoryItem | None:
    """Return the entry, if values can be restored by it now."""
    found = await client.get_experiment_history(request.path_params["id"])
    return next(
        (
            each
            for each in found
            if each.id == request.path_params["entry"] and each.undo.method == "PATCH"
        ),
        None,
    )


def _call(entry: HistoryItem, key: str) -> Call[Experiment]:
    undo = entry.undo
    return Call(
        "PATCH",
        undo.path,
        Experiment.model_validate,
        undo.body,
        {"Idempotency-Key": key},
        is_command=True,
    )


def _experiment(request: Request) -> str:
    return f"/experiments/{quote(request.path_params['id'], safe='')}"


_PLACE = "/experiments/{id}/restore/{entry}"

ROUTES = (Route(_PLACE, ask, methods=["GET"]), Route(_PLACE, give, methods=["POST"]))
