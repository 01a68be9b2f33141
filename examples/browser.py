"""The users of `ad_server.py`: what their browsers and the shop send, for the tutorial.

Prints the receipt of the last user who saw an ad.
"""

from __future__ import annotations

import os
import sys
from http import HTTPStatus

import httpx

AD_SERVER = f"http://127.0.0.1:{os.environ.get('AD_SERVER_PORT', '8070')}"
USERS = 200
ONE_CLICKS_OF = 5
TIMEOUT_S = 60.0

with httpx.Client(base_url=AD_SERVER, timeout=TIMEOUT_S, trust_env=False) as browser:
    shown = clicked = 0
    for number in range(USERS):
        user, place = f"user_{number}", ("DE", "US", "JP")[number % 3]
        answer = browser.get("/ad", params={"user": user, "place": place})
        if answer.status_code == HTTPStatus.NO_CONTENT or "seen" not in (page := answer.json()):
            continue  # no ad, or the usual one
        browser.post(page["seen"]).raise_for_status()
        shown += 1
        if shown % ONE_CLICKS_OF == 0:
            clicked += 1
            for _ in ("once", "and again, which counts no more"):
                browser.get(page["click"])
            paid = {"order": f"order_{number}", "user": user, "amount": 89.90}
            browser.post("/orders", json=paid).raise_for_status()
print(f"{shown} of {USERS} users saw an ad, {clicked} clicked", file=sys.stderr)
print(page["seen"].removeprefix("/seen/"))
