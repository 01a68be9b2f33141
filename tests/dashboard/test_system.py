"""The system page and dead letters, over a scripted API."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import pytest

from api.http.models.operation import Doctor, Resent
from dashboard.submitted_forms import KEPT, SubmittedForms
from dashboard.views.system import report_view
from tests.dashboard.samples import PLACE, doctor_json, letter_json, letters_json

SYSTEM = "/system"
LETTERS = "/system/dead-letters"
RESEND = f"{LETTERS}/resend"
HTMX = {"hx-request": "true"}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def manager(browser):
    browser.sign_in("manages")
    return browser


@pytest.fixture
def reader(browser):
    browser.sign_in("reads")
    return browser


def error(code: str, path: str = "") -> dict[str, Any]:
    return {"error": {"code": code, "message": f"because of {code}", "path": path}}


def asked_of(browser, path: str) -> list[Any]:
    return [each.url.params for each in browser.api.sent if each.url.path == path]


@pytest.mark.parametrize(
    ("page", "part", "call"),
    [(SYSTEM, f"{SYSTEM}/report", "/doctor"), (LETTERS, LETTERS, "/dead-letters")],
)
def test_a_page_is_there_before_what_takes_seconds(reader, page, part, call):
    answer = reader.get(page)

    assert answer.status_code == 200
    assert f'hx-get="{part}" hx-trigger="load"' in answer.text
    assert not asked_of(reader, call)


@pytest.mark.parametrize("page", [SYSTEM, f"{LETTERS}?topic=a%26b"])
def test_without_scripts_a_link_leads_to_all_of_it(reader, page):
    [link] = re.findall(r'<noscript><p><a class="button" href="([^"]+)"', reader.get(page).text)

    answer = reader.get(link.replace("&amp;", "&"))

    assert 'hx-trigger="load"' not in answer.text
    assert "No worker is alive." in answer.text or "<code>INVALID_VALUE</code>" in answer.text


def test_a_report_says_what_is_wrong_and_what_to_do(reader):
    text = reader.get(f"{SYSTEM}/report", headers=HTMX).text

    assert "<html" not in text
    assert "<strong>Something loses or delays answers now.</strong> 1 error, 1 note." in text
    assert "No worker is alive." in text
    assert "Start one by <code>experiment worker</code>." in text
    assert "<dd>1,251 records</dd>" in text
    assert "<code>observations</code>: 1,250 records behind" in text
    assert "<code>impressions</code>: 1 record behind" in text
    assert "none yet" in text
    assert "1.50\xa0MiB of 256\xa0MiB (0.6\xa0%)" in text
    assert '<dd class="alarm-text">1</dd>' in text
    link = f"{LETTERS}?code=UNKNOWN_METRIC%26&amp;period=day"
    assert f'<a href="{link}"><code>UNKNOWN_METRIC&amp;</code></a> 1,200' in text
    assert asked_of(reader, "/doctor")[0]["hours"] == "24"


def test_a_healthy_system_says_so():
    view = report_view(Doctor.model_validate(doctor_json(findings=[], deadLetters={}, workers=2)))

    assert view.verdict == "All is well."
    assert view.workers == "2"
    assert view.letters == ()


def test_what_is_not_known_is_not_called_zero():
    view = report_view(Doctor.model_validate(doctor_json(workers=None, lag=[], partitions=[])))

    assert view.workers == "not known: Redis does not answer"
    assert view.lag == "not known: Kafka does not answer"


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("OPERATION_BUSY", "Kafka is being read for others."),
        ("OPERATION_TIMED_OUT", "This took too long."),
        ("KAFKA_ACCESS_DENIED", "The API may not do this in Kafka."),
        ("DEPENDENCY_UNAVAILABLE", "The engine does not answer."),
    ],
)
@pytest.mark.parametrize(
    ("place", "call"), [(f"{SYSTEM}/report", "/doctor"), (LETTERS, "/dead-letters")]
)
def test_a_failure_of_the_api_is_a_part_of_the_page(reader, place, call, code, title):
    reader.api.answers[f"GET {call}"] = (503, error(code))

    answer = reader.get(place, headers=HTMX)

    assert answer.status_code == 503
    assert "<html" not in answer.text
    assert title in answer.text
    assert 'role="alert"' in answer.text


def test_without_an_api_the_part_says_so(reader):
    reader.get(SYSTEM)
    reader.api.is_reachable = False

    answer = reader.get(f"{SYSTEM}/report", headers=HTMX)

    assert answer.status_code == 503
    assert "The engine does not answer." in answer.text


def test_who_is_signed_out_is_led_to_the_form_by_a_part_too(browser):
    answer = browser.get(f"{SYSTEM}/report", headers=HTMX)

    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/sign-in"


def test_letters_are_filtered_by_the_api(reader):
    reader.get(
        f"{LETTERS}?topic=observations&code=+INVALID_VALUE&experiment=hero&period=nonsense",
        headers=HTMX,
    )

    [asked] = asked_of(reader, "/dead-letters")
    assert dict(asked) == {
        "topic": "observations",
        "code": "INVALID_VALUE",
        "experiment": "hero",
    }


def test_a_period_is_counted_from_now(reader):
    reader.get(f"{LETTERS}?period=hour", headers=HTMX)
    reader.get(f"{LETTERS}?period=day", headers=HTMX)

    hour, day = (int(asked["since"]) for asked in asked_of(reader, "/dead-letters"))
    assert 22 * 3_600_000 < hour - day <= 23 * 3_600_000


def test_letters_have_pages_that_keep_the_filters(reader):
    reader.api.answers["GET /dead-letters"] = (200, letters_json(following="17/a:0:1:0"))

    text = reader.get(f"{LETTERS}?code=a%26b&cursor=x", headers=HTMX).text

    assert f'href="{LETTERS}?code=a%26b&amp;cursor=17%2Fa%3A0%3A1%3A0">Next page' in text
    assert f'href="{LETTERS}?code=a%26b">First page' in text
    assert asked_of(reader, "/dead-letters")[0]["cursor"] == "x"


def test_a_letter_is_read(reader):
    text = reader.get(LETTERS, headers=HTMX).text

    assert "<p><code>click</code> is declared binary, and 7 is neither 0 nor 1.</p>" in text
    assert "0 to 3, 7, and more" in text
    assert '<dt>Time of the record</dt><dd class="value">none</dd>' in text
    assert "6 events, newest first." in text


def test_a_letter_of_one_event_names_its_index(reader):
    letters = letters_json(letter_json(ranges=[], index=4, count=1))
    reader.api.answers["GET /dead-letters"] = (200, letters)

    text = reader.get(LETTERS, headers=HTMX).text

    assert '<dt>Events of the record</dt><dd class="value">4</dd>' in text
    assert "1 event, newest first." in text


def test_a_letter_has_any_time_that_a_producer_chose(reader):
    letters = letters_json(letter_json(recordAt=2**63 - 1))
    reader.api.answers["GET /dead-letters"] = (200, letters)

    text = reader.get(LETTERS, headers=HTMX).text

    assert f'<dt>Time of the record</dt><dd class="value">{2**63 - 1} ms</dd>' in text


def test_letters_are_text_whatever_they_hold(manager):
    hostile = letter_json(
        message=f"`{HOSTILE}`", code=HOSTILE, place=HOSTILE, experimentId=HOSTILE, topic=HOSTILE
    )
    manager.api.answers["GET /dead-letters"] = (
        200,
        {**letters_json(hostile), "counts": {HOSTILE: 1}},
    )

    for text in (
        manager.get(LETTERS, headers=HTMX).text,
        manager.get(RESEND, params={"place": HOSTILE}).text,
        manager.get(LETTERS, params={"topic": HOSTILE}).text,
    ):
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text


def test_no_letters_is_said_in_words(reader):
    reader.api.answers["GET /dead-letters"] = (200, {"letters": [], "nextCursor": None})

    assert "There are no dead letters." in reader.get(LETTERS, headers=HTMX).text
    assert "No dead letter matches." in reader.get(f"{LETTERS}?code=x", headers=HTMX).text
    assert "There are no more" in reader.get(f"{LETTERS}?cursor=x", headers=HTMX).text


def test_sending_again_is_offered_by_scope(reader):
    assert "Send the chosen" not in reader.get(LETTERS, headers=HTMX).text
    assert "lacks the scope" in reader.get(f"{RESEND}?place={PLACE}").text

    answer = reader.submit(RESEND, csrf=reader.token("/"), **{"place.0": PLACE})

    assert answer.status_code == 403
    assert "does not have the scope manage" in answer.text


def test_sending_again_states_its_effect_and_is_one_call(manager):
    page = manager.get(f"{RESEND}?place={PLACE}&place=b:0:1:0&place={PLACE}").text
    assert "Send 2 records again" in page
    assert "one without counts each time" in page
    assert not manager.api.commands()
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)"', page))

    answer = manager.http.post(RESEND, data=fields)

    assert answer.status_code == 200
    assert "1 record sent again, 0 refused." in answer.text
    assert manager.api.commands() == [("POST /dead-letters/resend", {"places": [PLACE, "b:0:1:0"]})]


def test_a_form_that_is_sent_twice_sends_once(manager):
    page = manager.get(f"{RESEND}?place={PLACE}").text
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)"', page))

    answers = [manager.http.post(RESEND, data=fields) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(manager.api.commands()) == 1


def test_what_cannot_be_sent_is_named_with_its_code(manager):
    refusal = {"code": "ORIGINAL_GONE", "message": "its record is deleted", "path": PLACE}
    manager.api.answers["POST /dead-letters/resend"] = (200, {"sent": [], "refused": [refusal]})

    answer = manager.submit(RESEND, csrf=manager.token("/"), **{"place.0": PLACE})

    assert "0 records sent again, 1 refused." in answer.text
    assert "Its record is deleted. <code>ORIGINAL_GONE</code>" in answer.text


@pytest.mark.parametrize(
    ("status", "code", "is_uncertain"),
    [
        (404, "DEAD_LETTER_NOT_FOUND", False),
        (503, "OPERATION_BUSY", False),
        (503, "OPERATION_TIMED_OUT", True),
        (503, "KAFKA_ACCESS_DENIED", True),
    ],
)
def test_a_failed_sending_says_whether_something_was_sent(manager, status, code, is_uncertain):
    manager.api.answers["POST /dead-letters/resend"] = (status, error(code))
    fields = {"csrf": manager.token("/"), "idempotencyKey": "first", "place.0": PLACE}

    answer = manager.http.post(RESEND, data=fields)

    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert ("may have been sent" in answer.text) is is_uncertain
    assert f'value="{PLACE}"' in answer.text
    assert 'value="first"' not in answer.text


@pytest.mark.parametrize(
    ("failure", "is_uncertain"), [(httpx.ConnectError, False), (httpx.ReadTimeout, True)]
)
def test_without_an_answer_it_matters_whether_there_was_a_connection(
    manager, failure, is_uncertain
):
    token = manager.token("/")
    manager.api.is_reachable, manager.api.failure = False, failure

    answer = manager.http.post(RESEND, data={"csrf": token, "place.0": PLACE})

    assert answer.status_code == 503
    assert ("may have been sent" in answer.text) is is_uncertain


def test_who_has_chosen_nothing_is_asked_to_choose(manager):
    text = manager.get(RESEND).text

    assert "No dead letter is chosen." in text
    assert "<button" not in text.partition("<main")[2]
    assert manager.submit(RESEND, csrf=manager.token("/")).url.path == LETTERS


def test_more_than_the_api_takes_is_not_offered(manager):
    places = "&".join(f"place=observations:0:{offset}:0" for offset in range(101))

    text = manager.get(f"{RESEND}?{places}").text

    assert "At most 100" in text
    assert '<button class="main">' not in text


def test_a_form_of_another_site_sends_nothing(manager):
    answer = manager.http.post(RESEND, data={"csrf": "0.0", "place.0": PLACE})

    assert answer.status_code == 403
    assert not manager.api.commands()


class TestResending:
    async def test_forms_at_the_same_time_are_one_call(self):
        resending, calls, open_ = SubmittedForms(), [], asyncio.Event()

        async def send() -> Resent:
            calls.append(1)
            await open_.wait()
            return Resent(sent=(), refused=())

        first, second = (
            asyncio.create_task(resending.once("session", "key", send)) for _ in range(2)
        )
        other = asyncio.create_task(resending.once("another session", "key", send))
        await asyncio.sleep(0)
        first.cancel()
        open_.set()

        assert await second is not await other
        assert len(calls) == 2

    async def test_answers_are_kept_for_a_while(self):
        resending, calls = SubmittedForms(), []

        async def send() -> Resent:
            calls.append(1)
            return Resent(sent=(), refused=())

        for number in range(KEPT + 1):
            await resending.once("session", str(number), send)
        await resending.once("session", str(KEPT), send)
        await resending.once("session", "0", send)

        assert len(calls) == KEPT + 2
