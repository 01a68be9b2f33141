"""Handlers of OFREP, the OpenFeature Remote Evaluation Protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

import orjson
from fastapi import Request, Response

from api.http.dependencies import Services, ServicesDep, event_stream
from api.http.ofrep_errors import ofrep_error
from streams.api_keys import Scope

EVENTS_PATH = "/ofrep/v1/events"


def evaluate_flag(services: Services, key: str, body: bytes) -> Awaitable[bytes]:
    """Evaluate one flag: the experiment with this key assigns a unit.

    It is an assignment like any other, logged and counted; `metadata.assignmentId` is its receipt.
    """
    return services.flags.evaluate(key, body)


async def evaluate_flags(services: ServicesDep, request: Request) -> Response:
    """Evaluate all flags for one unit, ahead of their use. Nothing is counted.

    Flags of experiments whose `exposure` is `event` have their receipt, `metadata.assignmentId`.
    """
    try:
        evaluations = await services.flags.evaluate_all(await request.body())
    except Exception as error:  # noqa: BLE001 - answered in the form of OFREP
        return _failed(services, error)
    url = services.flag_streams.url(EVENTS_PATH, request.headers.get("host", ""))
    etag = evaluations.etag(url)
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if _matches(request.headers.getlist("if-none-match"), etag):
        return Response(None, 304, headers)
    streams = orjson.dumps([{"type": "sse", "url": url}])  # of any text that named the host
    body = b'{"flags":%b,"eventStreams":%b}' % (evaluations.flags, streams)
    return Response(body, 200, headers, media_type="application/json")


async def flag_events(services: ServicesDep, request: Request) -> Response:
    """Send an event whenever flags have changed and must be evaluated again.

    The address is in `eventStreams` of the answer for all flags. Its `token` authorizes the reader,
    since browsers send no headers with it; an API key in a header is also accepted.
    """
    try:
        token = request.query_params.get("token", "")
        if not (services.auth.is_open or services.flag_streams.admits(token)):
            services.auth.check(request.headers.raw, Scope.ASSIGN)
        events = services.flag_streams.open(request.headers.get("last-event-id"))
    except Exception as error:  # noqa: BLE001 - answered in the form of OFREP
        return _failed(services, error)
    return event_stream(events)


def _failed(services: Services, error: Exception) -> Response:
    status, body, headers, code = ofrep_error(error, "")
    services.counters.errors[code] += 1
    return Response(body, status, {name.decode(): value.decode() for name, value in headers})


def _matches(conditions: Iterable[str], etag: str) -> bool:
    """Return whether one of the validators of `If-None-Match` is this one (RFC 9110, 13.1.2)."""
    known = {each.strip().removeprefix("W/") for line in conditions for each in line.split(",")}
    return etag in known or "*" in known
