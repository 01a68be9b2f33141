"""An ad server: eligible ads, an auction, exposures, clicks, and orders of users.

`python examples/ad_server.py` listens on port 8070, beside an engine that runs the experiment of
`hero_ad.yaml`. `docs/tutorials/ad-server.md` goes through it.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from experiment_streams_client import DEFAULT_URL, ApiError, AsyncExperimentClient

ENGINE = os.environ.get("EXPERIMENT_API_URL", DEFAULT_URL)
AD_TIMEOUT_S = float(os.environ.get("AD_TIMEOUT_S", "0.1"))
PORT = int(os.environ.get("AD_SERVER_PORT", "8070"))

choices = AsyncExperimentClient(ENGINE, timeout_s=AD_TIMEOUT_S, attempts=1)  # a page waits
events = AsyncExperimentClient(ENGINE)  # what happened must arrive


# The ad server itself.


async def ad(request: Request) -> Response:
    """Choose one of the ads that may be shown, and answer it if it wins the auction."""
    user, place = request.query_params["user"], request.query_params["place"]
    if not (eligible := may_be_shown(place)):
        return Response(status_code=204)
    try:
        choice = await choices.assign_variant("hero-ad", {"userId": user, "eligible": eligible})
        name, receipt = choice.variant_name, choice.id
    except ApiError:  # without the engine there is the usual ad
        name, receipt = eligible[0], None
    if not wins_auction(name):
        return Response(status_code=204)
    page = {"ad": name}
    if receipt is not None:
        page |= {"seen": f"/seen/{receipt}", "click": f"/click/{receipt}/{uuid.uuid4().hex}"}
    return JSONResponse(page)


async def seen(request: Request) -> Response:
    """Note that an ad was seen: from now on its user counts."""
    await events.record_exposure(request.path_params["receipt"])
    return Response(status_code=204)


async def click(request: Request) -> Response:
    """Note a click, once however often the page is reloaded, and go where the ad leads."""
    receipt, impression = request.path_params["receipt"], request.path_params["impression"]
    await events.record_observation(receipt, "click", 1, event_id=impression)
    return RedirectResponse("https://shop.example/", status_code=303)


async def order(request: Request) -> Response:
    """Note what a user paid: the shop knows the user, and no receipt."""
    paid = await request.json()
    await events.record_unit_observation(
        "revenue", paid["amount"], user_id=paid["user"], event_id=paid["order"]
    )
    return Response(status_code=204)


# What every ad server has: campaigns, pacing and an auction.


@dataclass(slots=True)
class Campaign:
    """A campaign.

    Attributes:
        places: Where its ad may be shown.
        per_second: How often it may be shown: its budget, spread over the day.
        bid: What it pays for an impression.
        won: Auctions that it has won.
    """

    places: frozenset[str]
    per_second: float
    bid: float
    won: int = 0


CAMPAIGNS = {
    "boots": Campaign(frozenset({"DE", "US"}), per_second=30.0, bid=2.0),
    "tents": Campaign(frozenset({"DE", "US", "JP"}), per_second=10.0, bid=2.5),
    "maps": Campaign(frozenset({"US", "JP"}), per_second=20.0, bid=1.5),
}
STARTED_S = time.monotonic()
RIVALS_MEAN_BID = 1.5


def may_be_shown(place: str) -> list[str]:
    """Return the ads that are for a place and within their budget."""
    seconds = 1.0 + time.monotonic() - STARTED_S
    return [
        name
        for name, campaign in CAMPAIGNS.items()
        if place in campaign.places and campaign.won < campaign.per_second * seconds
    ]


def wins_auction(name: str) -> bool:
    """Return whether an ad pays more than the ads of others, and note it."""
    campaign = CAMPAIGNS[name]
    is_won = campaign.bid > random.expovariate(1 / RIVALS_MEAN_BID)
    campaign.won += is_won
    return is_won


async def refused(_: Request, error: Exception) -> Response:
    """Answer what the engine does not take: a forged receipt is the caller's, the rest is ours."""
    status = getattr(error, "status", 0)
    return JSONResponse({"error": str(error)}, status if 400 <= status < 500 else 503)  # noqa: PLR2004


app = Starlette(
    routes=[
        Route("/ad", ad),
        Route("/seen/{receipt}", seen, methods=["POST"]),
        Route("/click/{receipt}/{impression}", click),
        Route("/orders", order, methods=["POST"]),
    ],
    exception_handlers={ApiError: refused},
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")
