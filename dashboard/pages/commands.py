"""Commands: for each a page that states its effect, and the call that a confirmation makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypedDict
from urllib.parse import quote

from starlette.exceptions import HTTPException
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
from dashboard.views.actions import Action, action_named
from dashboard.views.checklist import checklist
from dashboard.views.facts import ExperimentFacts
from dashboard.views.headline import headline
from dashboard.views.history import HistoryRow, history_since
from dashboard.views.text import percent_field
from experiment_streams_client import ApiError, AsyncExperimentClient, Experiment

REASON_FIELD = "reason"
MAX_REASON = 500
_PREFILLED = ("traffic", "variant")
HUNDRED = 100  # percent

Send = Callable[[AsyncExperimentClient, str, Mapping[str, str], "CommandArguments"], Awaitable[Any]]


class CommandArguments(TypedDict):
    """Arguments that every command takes besides."""

    idempotency_key: str | None
    reason: str | None
    expected_version: int | None


class FieldError(Exception):
    """A field of a form that the API would not understand.

    Attributes:
        field: Name of the field.
        message: What is wrong with it.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


async def ask(request: Request) -> Response:
    """Return the page that states what a command does, with the fields that its address names."""
    query = request.query_params
    given = {name: query[name][:MAX_REASON] for name in _PREFILLED if name in query}
    return await _confirmation(request, {**given, **await draft_of(request)}, None)


async def give(request: Request) -> Response:
    """Give a command, and return to the experiment; a refusal shows the form as it was."""
    fields = await form_of(request)
    client = await client_of(request)
    name, action = request.path_params["id"], request.path_params["action"]
    send = _COMMANDS.get(action)
    if send is None:
        raise HTTPException(404)
    try:
        await send(client, name, fields, _command_arguments(fields))
    except FieldError as error:
        return await _confirmation(request, fields, (error.field, error.message), 422)
    except ApiError as error:
        if is_signed_out(error) or error.code == "EXPERIMENT_NOT_FOUND":
            raise
        field = _FIELD_OF_PATH.get(error.path, "")
        return await _confirmation(request, fields, (field, message_of(error)), status_of(error))
    return redirect(request, f"/experiments/{quote(name, safe='')}")


async def _confirmation(
    request: Request,
    fields: Mapping[str, str],
    error: tuple[str, str] | None,
    status: int = 200,
) -> Response:
    client, session = await client_of(request), await session_of(request)
    name = request.path_params["id"]
    facts = ExperimentFacts(
        await client.get_experiment(name), await client.get_experiment_stats(name)
    )
    action = action_named(facts, request.path_params["action"])
    if action is None and error is None:
        # The experiment has changed since the page was loaded, for example by another user.
        return redirect(request, f"/experiments/{quote(name, safe='')}")
    found = checklist(facts)
    context = {
        "facts": facts,
        "name": facts.stats.name,
        "id": facts.stats.experiment_id,
        "action": action or Action(request.path_params["action"], "Back", "", "", ""),
        "is_possible": action is not None,
        "headline": headline(facts),
        "missing": () if found is None else [item for item in found.items if not item.is_met],
        "variants": [
            {
                "id": each.id,
                "name": each.name,
                "is_control": each.is_control,
                "is_active": each.is_active,
            }
            for each in facts.stats.variants
        ],
        "suggested": _suggested(facts, request.path_params["action"]),
        "fields": fields,
        "traffic": percent_field(facts.experiment.config.get("trafficAllocation", 1)),
        "control_share": percent_field(facts.experiment.config.get("controlShare") or 0),
        "error": error,
        "since": await changed_since(client, fields, status, facts.experiment),
        "key": next_key(fields, status),
        "version": next_version(fields, status, facts.experiment.version),
        "may_manage": session.may("manage"),
    }
    return await page(request, "command.html", context, status)


async def changed_since(
    client: AsyncExperimentClient, fields: Mapping[str, str], status: int, experiment: Experiment
) -> list[HistoryRow]:
    """Return what has happened to an experiment since the page of a form was opened.

    After an attempt without answer that is nothing: it may be the attempt itself.
    """
    seen = seen_version(fields)
    if seen is None or next_version(fields, status, experiment.version) <= seen:
        return []
    return history_since(await client.get_experiment_history(experiment.id), experiment, seen)


def _suggested(facts: ExperimentFacts, action: str) -> str:
    """Return the variant that the recommendation is about, or none."""
    if action == "ship" and facts.stats.winner is not None:
        return facts.stats.winner.id
    if action == "stop-variant" and facts.evidence is not None:
        tripped = [each.variant for each in facts.evidence.guardrails if each.is_tripped]
        return facts.stats.variants[tripped[0]].id if tripped else ""
    return ""


_FIELD_OF_PATH = {
    "trafficAllocation": "traffic",
    "controlShare": "controlShare",
    "winnerVariantId": "variant",
    "variantId": "variant",
    "isActive": "variant",
    "serve": "serve",
    "query.reason": REASON_FIELD,
}


def _command_arguments(fields: Mapping[str, str]) -> CommandArguments:
    reason = fields.get(REASON_FIELD, "").strip()
    if len(reason) > MAX_REASON:
        raise FieldError(REASON_FIELD, f"Enter at most {MAX_REASON} characters.")
    return {
        "idempotency_key": fields.get(KEY_FIELD),
        "reason": reason or None,
        "expected_version": seen_version(fields),
    }


def _share(fields: Mapping[str, str], name: str) -> float | None:
    text = fields.get(name, "").strip().removesuffix("%").strip().replace(",", ".")
    if not text:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise FieldError(name, "Enter a number of percent.") from None
    if not value.is_finite() or not 0 <= value <= HUNDRED:
        raise FieldError(name, "Enter a number from 0 to 100.")
    return float(value / HUNDRED)


def _variant(fields: Mapping[str, str]) -> str:
    chosen = fields.get("variant", "")
    if not chosen:
        raise FieldError("variant", "Choose a variant.")
    return chosen


async def _start(
    client: AsyncExperimentClient, name: str, _: Any, arguments: CommandArguments
) -> None:
    await client.start_experiment(name, **arguments)


async def _pause(
    client: AsyncExperimentClient, name: str, _: Any, arguments: CommandArguments
) -> None:
    await client.pause_experiment(name, **arguments)


async def _resume(
    client: AsyncExperimentClient, name: str, _: Any, arguments: CommandArguments
) -> None:
    await client.resume_experiment(name, **arguments)


async def _rollback(
    client: AsyncExperimentClient, name: str, _: Any, arguments: CommandArguments
) -> None:
    await client.rollback_experiment(name, **arguments)


async def _archive(
    client: AsyncExperimentClient, name: str, _: Any, arguments: CommandArguments
) -> None:
    await client.archive_experiment(name, **arguments)


async def _ship(
    client: AsyncExperimentClient, name: str, fields: Mapping[str, str], arguments: CommandArguments
) -> None:
    share = _share(fields, "controlShare")
    await client.conclude_experiment(name, _variant(fields), control_share=share, **arguments)


async def _conclude(
    client: AsyncExperimentClient, name: str, fields: Mapping[str, str], arguments: CommandArguments
) -> None:
    serve = fields.get("serve", "control")
    if serve not in {"control", "none"}:
        raise FieldError("serve", "Choose what is shown from now on.")
    await client.conclude_experiment(
        name, None, **arguments, serve="none" if serve == "none" else "control"
    )


async def _ramp(
    client: AsyncExperimentClient, name: str, fields: Mapping[str, str], arguments: CommandArguments
) -> None:
    share = _share(fields, "traffic")
    if share is None:
        raise FieldError("traffic", "Enter a number of percent.")
    await client.update_experiment(name, {"trafficAllocation": share}, **arguments)


async def _stop_variant(
    client: AsyncExperimentClient, name: str, fields: Mapping[str, str], arguments: CommandArguments
) -> None:
    await client.change_variant(name, _variant(fields), is_active=False, **arguments)


async def _reactivate_variant(
    client: AsyncExperimentClient, name: str, fields: Mapping[str, str], arguments: CommandArguments
) -> None:
    await client.change_variant(name, _variant(fields), is_active=True, **arguments)


_COMMANDS: dict[str, Send] = {
    "start": _start,
    "pause": _pause,
    "resume": _resume,
    "ramp": _ramp,
    "ship": _ship,
    "conclude": _conclude,
    "rollback": _rollback,
    "archive": _archive,
    "stop-variant": _stop_variant,
    "reactivate-variant": _reactivate_variant,
}

_PLACE = "/experiments/{id}/commands/{action}"

ROUTES = (Route(_PLACE, ask, methods=["GET"]), Route(_PLACE, give, methods=["POST"]))
