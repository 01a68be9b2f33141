"""The list of experiments."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.context import client_of, page
from dashboard.views.listing import STATUSES, list_rows
from dashboard.views.text import moment

_DEFAULT_STATUSES = ("running", "paused", "draft", "concluded")
_MAX_SEARCH = 200
_MAX_LABEL = 100


async def show(request: Request) -> Response:
    """Return the list; only its rows where htmx asks for them."""
    client = await client_of(request)
    query = request.query_params
    chosen = [each for each in query.getlist("status") if each in STATUSES]
    search = query.get("search", "").strip()[:_MAX_SEARCH]
    owner, tag = (query.get(name, "").strip()[:_MAX_LABEL] for name in ("owner", "tag"))
    found = await client.list_experiments(
        *(chosen or _DEFAULT_STATUSES),
        search=search or None,
        owner=owner or None,
        tags=[tag] if tag else (),
        sort="attention",
    )
    rows = list_rows(found)
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
        "as_of": moment(int(time.time() * 1000)),
        "address": str(request.url.include_query_params()).partition(request.url.netloc)[2],
    }
    is_part = request.headers.get("hx-request") == "true"
    return await page(request, "list_rows.html" if is_part else "list.html", context)


ROUTES = (Route("/", show, methods=["GET"], name="list"),)
