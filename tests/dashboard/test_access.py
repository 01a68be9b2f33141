from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from dashboard.csrf import CsrfTokens, is_cross_site
from dashboard.feeds import FeedState
from dashboard.pages.experiment import _events
from dashboard.sessions import SessionStore
from dashboard.views.definition_form import INITIAL
from experiment_streams_client import AsyncExperimentClient
from streams.model.errors import InputError

PAGE = "/experiments/checkout-button"
PAUSE = f"{PAGE}/commands/pause"


def test_who_is_not_signed_in_is_led_to_the_form_and_back(browser):
    answer = browser.get(f"{PAGE}?dimension=device", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == (
        "/sign-in?next=/experiments/checkout-button%3Fdimension%3Ddevice"
    )

    arrived = browser.sign_in("manages", f"{PAGE}?dimension=device")

    assert arrived.status_code == 200
    assert "Checkout button" in arrived.text


@pytest.mark.parametrize(
    "place", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "\t//a"]
)
def test_signing_in_leads_to_no_other_site(browser, place):
    answer = browser.http.post(
        "/sign-in", data={"key": "reads", "next": place}, follow_redirects=False
    )

    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("key", ["unknown", "", " ", "ä", "x" * 600, "a\x00b"])
def test_a_key_that_is_not_known_is_refused_beside_the_field(browser, key):
    answer = browser.sign_in(key)

    assert answer.status_code == 422
    assert 'aria-describedby="key-error"' in answer.text
    assert "set-cookie" not in answer.headers


def test_the_cookie_holds_a_random_id_and_no_key(browser):
    answer = browser.http.post("/sign-in", data={"key": "reads"}, follow_redirects=False)

    cookie = answer.headers["set-cookie"]
    assert "reads" not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie


def test_behind_tls_the_cookie_is_for_tls_alone(browser_of):
    browser = browser_of(host="0.0.0.0", public_url="https://exp.example")

    answer = browser.http.post("/sign-in", data={"key": "reads"}, follow_redirects=False)

    assert answer.headers["set-cookie"].startswith("__Host-")
    assert "Secure" in answer.headers["set-cookie"]


def test_signing_out_ends_the_session_also_for_a_copy_of_the_cookie(browser):
    browser.sign_in("reads")
    cookie = browser.http.cookies["experiment_session"]
    browser.submit("/sign-out", csrf=browser.token("/"))
    browser.http.cookies.set("experiment_session", cookie)

    assert browser.get(PAGE, follow_redirects=False).status_code == 303


def test_without_keys_no_user_signs_in_on_this_machine(browser_of):
    browser = browser_of(needs_key=False)

    assert "Checkout button" in browser.get(PAGE).text
    assert browser.submit(PAUSE).status_code == 200
    assert browser.api.commands()[0][0] == "POST /experiments/checkout-button/pause"


def test_without_keys_a_dashboard_that_others_reach_lets_no_user_in(browser_of):
    browser = browser_of(host="0.0.0.0", needs_key=False)

    assert browser.get(PAGE, follow_redirects=False).status_code == 303
    answer = browser.sign_in("anything")
    assert answer.status_code == 403
    assert "asks for no key" in answer.text


def test_who_may_read_is_offered_no_command_and_gives_none(browser):
    browser.sign_in("reads")

    assert "commands/pause" not in browser.get(PAGE).text
    assert "lacks the scope" in browser.get(PAUSE).text
    answer = browser.submit(PAUSE, csrf=browser.token("/"))

    assert answer.status_code == 403
    assert "does not have the scope manage" in answer.text


def test_a_key_without_read_says_so(browser):
    answer = browser.sign_in("assigns")

    assert answer.status_code == 403
    assert "does not allow this" in answer.text
    assert "Sign out" in answer.text


def test_a_key_that_was_taken_back_signs_out(browser):
    browser.sign_in("reads")
    browser.api.answers["GET /experiments"] = (
        401,
        {"error": {"code": "UNAUTHENTICATED", "message": "no", "path": ""}},
    )

    answer = browser.get("/", follow_redirects=False)

    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in"


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({}, ""),
        ({}, "0123.abcd"),
        ({}, "ä.ä"),
        ({"sec-fetch-site": "cross-site"}, None),
        ({"sec-fetch-site": "same-site"}, None),
        ({"origin": "https://evil.example"}, None),
    ],
)
def test_a_form_of_another_site_gives_no_command(browser, headers, token):
    browser.sign_in("manages")
    sent = browser.token(PAUSE) if token is None else token

    answer = browser.http.post(PAUSE, data={"csrf": sent}, headers=headers)

    assert answer.status_code == 403
    assert not browser.api.commands()


def test_a_token_of_another_session_is_refused(browser_of):
    one = browser_of()
    one.sign_in("manages")
    token = one.token(PAUSE)
    one.sign_in("manages")

    assert one.http.post(PAUSE, data={"csrf": token}).status_code == 403


def test_a_name_that_leads_here_is_not_ours(browser):
    answer = browser.get("/sign-in", headers={"host": "rebound.example:8090"})

    assert answer.status_code == 421


@pytest.mark.parametrize("host", ["[::1", "127.0.0.1:80:90", "localhost/x", "localhost:http", "[]"])
def test_a_name_that_no_address_has_is_not_ours(browser, host):
    for path in ("/", "/sign-in"):
        assert browser.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["[", "a[b", "a@b", "caf\xe9", 'a"b', "a b"])
def test_where_any_name_may_lead_here_it_is_a_name(browser_of, host):
    browser = browser_of(host="0.0.0.0")
    browser.sign_in("reads")

    assert browser.get("/", headers={"host": host.encode("latin-1")}).status_code == 421
    assert browser.get("/", headers={"host": "any-name.example:8090"}).status_code == 200


def test_a_form_in_parts_is_refused(browser):
    """It could be in any encoding of Python, and text come out that no page can hold."""
    kind = "multipart/form-data; boundary=b; charset=unicode_escape"
    body = b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\n\\ud800\r\n--b--\r\n'
    answer = browser.http.post("/sign-in", content=body, headers={"content-type": kind})

    assert answer.status_code == 415


FORMS = (
    PAUSE,
    f"{PAGE}/commands/ship",
    f"{PAGE}/restore/{'0' * 32}",
    "/experiments/new",
    "/experiments/new/preview",
    "/experiments/new/plan",
    "/system/dead-letters/resend",
    "/sign-out",
)


def test_every_form_is_among_those_that_are_tried(browser):
    posted = {
        route.path
        for route in browser.http.app.routes
        if "POST" in (getattr(route, "methods", ()) or ())
    }
    patterns = {re.sub(r"\{\w+\}", "[^/]+", path) for path in posted - {"/sign-in"}}
    assert all(any(re.fullmatch(each, path) for path in FORMS) for each in patterns)


@pytest.mark.parametrize("key", ["", "x" * 257, "a\nb", "\N{SNOWMAN}", "\x00"])
@pytest.mark.parametrize("path", FORMS)
def test_a_key_that_no_page_has_drawn_is_a_form_that_is_out_of_date(browser, path, key):
    browser.sign_in("manages")
    token = browser.token()

    answer = browser.http.post(path, data={"csrf": token, "reason": "typed", "idempotencyKey": key})

    assert answer.status_code == 403
    assert "This form is out of date." in answer.text
    assert not browser.api.commands()


@pytest.mark.parametrize("path", [PAUSE, "/experiments/new"])
def test_what_the_client_does_not_send_is_a_page_with_its_code(browser, monkeypatch, path):
    """Every field is checked where it is read; this is what is left if one is forgotten."""

    async def refuse(*_: object, **__: object) -> None:
        raise InputError("TOO_DEEP", "the body is nested too deeply")

    browser.sign_in("manages")
    token = browser.token()
    for name in ("pause_experiment", "create_experiment"):
        monkeypatch.setattr(AsyncExperimentClient, name, refuse)
    fields = {**INITIAL, "config.name": "n", "variants.1.name": "b", "metrics.0.name": "m"}

    answer = browser.http.post(path, data={"csrf": token, "reason": "because", **fields})

    assert answer.status_code == 422
    assert "The body is nested too deeply. (TOO_DEEP) Nothing was changed." in answer.text
    assert "because" in browser.get(path).text or path != PAUSE


def test_a_form_is_at_most_a_mebibyte(browser):
    answer = browser.http.post("/sign-in", data={"key": "x" * (2 << 20)})

    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/sign-in", "/nowhere", "/static/dashboard.css", "/health"])
def test_every_answer_has_the_policy(browser, path):
    headers = browser.get(path).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@given(st.text(max_size=40), st.text(max_size=40))
def test_only_its_own_session_has_a_token(session, other):
    tokens = CsrfTokens(b"secret")

    assert tokens.holds(tokens.token(session), session)
    assert tokens.holds(tokens.token(session), other) == (session == other)
    assert not CsrfTokens().holds(tokens.token(session), session)
    assert not tokens.holds(other, session)


def test_two_pages_of_a_session_have_different_tokens():
    tokens = CsrfTokens()

    assert tokens.token("a") != tokens.token("a")


def test_a_request_without_any_hint_of_its_site_is_not_of_a_browser():
    assert not is_cross_site({})
    assert not is_cross_site({"origin": "http://a:1", "host": "a:1"})
    assert is_cross_site({"origin": "null", "host": "a"})


def test_an_idle_session_ends():
    now_s = 0.0
    store = SessionStore(60, lambda: now_s)
    session = store.open("key", "ana", frozenset({"read"}))
    now_s = 59.0
    assert store.find(session.id) == session
    now_s = 118.0
    assert store.find(session.id) == session
    now_s = 179.0

    assert store.find(session.id) is None
    assert store.find("unknown") is None


def test_who_signs_in_again_returns_to_the_page_that_was_open(browser):
    headers = {"HX-Request": "true", "HX-Current-URL": "http://127.0.0.1/experiments/x?metric=a"}

    answer = browser.get("/experiments/x/history", headers=headers)

    assert answer.headers["hx-redirect"] == "/sign-in?next=/experiments/x%3Fmetric%3Da"


async def test_who_has_signed_out_is_shown_nothing_new(browser):
    browser.sign_in("reads")
    dashboard = browser.http.app.state.dashboard
    [session_id] = dashboard.sessions._sessions
    session = dashboard.sessions.find(session_id)

    async def changing(*_):
        yield FeedState(1, is_live=False)
        dashboard.sessions.close(session_id)
        yield FeedState(2, is_live=False)
        yield FeedState(3, is_live=False)

    dashboard.feeds.follow = changing
    request = Request({"type": "http", "app": browser.http.app, "headers": []})
    events = [each["data"] async for each in _events(request, session, "x")]

    assert events == ["lost", "refused"]


def test_an_error_links_to_no_other_site(browser):
    answer = browser.get("http://127.0.0.1//other.example/x")

    assert answer.status_code == 404
    assert 'href="//' not in answer.text


def test_a_form_of_an_ended_session_comes_back_with_what_was_typed(browser):
    browser.sign_in("manages")
    path = f"{PAGE}/commands/ramp"
    token = browser.token(path)
    browser.http.cookies.clear()

    sent = {"csrf": token, "idempotencyKey": "k1", "traffic": '37"<', "reason": "slow & sure"}
    asked = browser.http.post(path, data=sent, follow_redirects=False)

    assert asked.status_code == 401
    assert token not in asked.text
    assert "k1" not in asked.text
    hidden = hidden_of(asked.text)
    assert hidden == {"next": path, "typed.traffic": '37"<', "typed.reason": "slow & sure"}
    refused = browser.http.post("/sign-in", data={**hidden, "key": "unknown"})
    assert hidden_of(refused.text) == hidden
    arrived = browser.http.post("/sign-in", data={**hidden, "key": "manages"})
    assert arrived.url.path == path
    assert not arrived.url.query
    assert 'value="37&#34;&lt;"' in arrived.text
    assert 'value="slow &amp; sure"' in arrived.text
    assert "nothing was changed" in arrived.text
    assert not browser.api.commands()
    assert "slow" not in browser.get(path).text  # once


def test_a_new_experiment_outlives_its_session(browser):
    typed = {"config.name": "A long name", "variants.0.name": "one", "add": "metrics"}
    asked = browser.http.post("/experiments/new", data=typed)

    arrived = browser.http.post("/sign-in", data={**hidden_of(asked.text), "key": "manages"})

    assert 'value="A long name"' in arrived.text
    assert 'value="one"' in arrived.text


def test_a_form_of_before_a_restart_comes_back_with_what_was_typed(browser):
    browser.sign_in("manages")
    path = f"{PAGE}/commands/ramp"

    refused = browser.http.post(path, data={"csrf": "old.token", "traffic": "37"})

    assert refused.status_code == 403
    assert 'value="37"' in browser.get(path).text
    assert not browser.api.commands()


def test_another_site_types_nothing_into_a_form(browser):
    headers = {"sec-fetch-site": "cross-site"}
    path = f"{PAGE}/commands/ramp"

    asked = browser.http.post(path, data={"traffic": "37"}, headers=headers, follow_redirects=False)
    browser.sign_in("manages")
    browser.http.post(path, data={"traffic": "37"}, headers=headers)

    assert asked.headers["location"] == "/sign-in"
    assert 'value="37"' not in browser.get(path).text


def hidden_of(page: str) -> dict[str, str]:
    found = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', page)
    return {html.unescape(name): html.unescape(value) for name, value in found}
