"""The list of experiments."""

from __future__ import annotations

import time
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.http.models.summaries import ExperimentsPage
from dashboard.context import client_of, page
from dashboard.views.listing import STATUSES, list_rows
from dashboard.views.text import moment
from experiment_streams_client.calls.base import Call

_DEFAULT_STATUSES = ("running", "paused", "draft", "concluded")
PAGE_ROWS = 50
"""Experiments of one page: more are found by the filters, or on the next page."""

_MAX_SEARCH = 200
_MAX_LABEL = 100


def _page_of(**parameters: str) -> Call[ExperimentsPage]:
    """Return the call for one page of the list, what needs a decision first."""
    given = {name: value for name, value in parameters.items() if value}
    query = urlencode({"limit": PAGE_ROWS, "sort": "attention", **given})
    return Call("GET", f"/experiments?{query}", ExperimentsPage.model_validate)


async def show(request: Request) -> Response:
    """Return the list; only its rows where htmx asks for them."""
    client = await client_of(request)
    query = request.query_params
    chosen = [each for each in query.getlist("status") if each in STATUSES]
    search = query.get("search", "").strip()[:_MAX_SEARCH]
    owner, tag = (query.get(name, "").strip()[:_MAX_LABEL] for name in ("owner", "tag"))
    found = await client.send(
        _page_of(
            status=",".join(chosen or _DEFAULT_STATUSES),
            search=search,
            owner=owner,
            tag=tag,
            cursor=query.get("cursor", ""),
        )
    )
    rows = list_rows(found.experiments)
    context = {
        "rows": rows,
        "search": search,
        "owner": owner,
        "tag": tag,
        "owners": sorted({row.owner for row in rows if row.owner}),
        "tags": sorted({each for row in rows for each in row.tags}),
        "chosen": chosen,
        "is_filtered": bool(chosen or search or owner or tag),
        "statuses": STATUSES,
        "total": len(rows) if found.total is None else found.total,
        "following": (
            ""
            if found.next_cursor is None
            else str(request.url.include_query_params(cursor=found.next_cursor).query)
        ),
        "first": "/"
        if "cursor" not in query
        else f"/?{request.url.remove_query_params('cursor').query}",
        "is_first": "cursor" not in query,
        "as_of": moment(int(time.time() * 1000)),
        "address": str(request.url.include_query_params()).partition(request.url.netloc)[2],
    }
    is_part = request.headers.get("hx-request") == "true"
    return await page(request, "list_rows.html" if is_part else "list.html", context)


ROUTES = (Route("/", show, methods=["GET"], name="list"),)
