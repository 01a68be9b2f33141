"""The list of experiments."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.context import client_of, page
from dashboard.views.facts import Facts
from dashboard.views.listing import STATUSES, list_rows
from dashboard.views.text import moment

_DEFAULT_STATUSES = ("running", "paused", "draft", "concluded")


async def show(request: Request) -> Response:
    """Return the list; only its rows where htmx asks for them."""
    client = await client_of(request)
    query = request.query_params
    chosen = [each for each in query.getlist("status") if each in STATUSES]
    search = query.get("search", "").strip()[:200]
    experiments = await client.list_experiments(*(chosen or _DEFAULT_STATUSES))
    wanted = [
        each
        for each in experiments
        if search.lower() in f"{each.name} {each.key or ''} {each.id}".lower()
    ]
    stats = await asyncio.gather(*(client.get_experiment_stats(each.id) for each in wanted))
    rows = list_rows(map(Facts, wanted, stats))
    context = {
        "rows": rows,
        "search": search,
        "chosen": chosen,
        "statuses": STATUSES,
        "n_all": len(experiments),
        "as_of": moment(int(time.time() * 1000)),
        "address": str(request.url.include_query_params()).partition(request.url.netloc)[2],
    }
    is_part = request.headers.get("hx-request") == "true"
    return await page(request, "list_rows.html" if is_part else "list.html", context)


ROUTES = (Route("/", show, methods=["GET"], name="list"),)
