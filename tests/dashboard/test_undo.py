"""Ways back in the history, and restoring values, over a scripted API."""

from __future__ import annotations

import re

import pytest

from api.http.models.dry_run import DryRunEffect
from dashboard.views.undo import effects_on_users, undo_view
from experiment_streams_client import HistoryItem
from tests.dashboard.samples import BLUE, dry_run_json, facts, history_json, undone_by

PAGE = "/experiments/checkout-button"
ENTRY = "ab" * 16
RESTORE = f"{PAGE}/restore/{ENTRY}"
SIZE = undone_by("PATCH", PAGE, {"minSampleSize": 100})


@pytest.fixture
def manager(browser):
    browser.sign_in("manages")
    return browser


def answer_history(browser, *entries) -> None:
    browser.api.answers[f"GET {PAGE}/history"] = (200, {"entries": [*entries], "nextCursor": None})


@pytest.mark.parametrize(
    ("method", "path", "body", "label", "place"),
    [
        ("POST", f"{PAGE}/pause", {}, "Undo: pause", "commands/pause"),
        ("POST", f"{PAGE}/resume", {}, "Undo: resume", "commands/resume"),
        ("POST", f"{PAGE}/rollback", {}, "Undo: roll back", "commands/rollback"),
        ("POST", f"{PAGE}/archive", {}, "Undo: archive", "commands/archive"),
        (
            "PATCH",
            PAGE,
            {"trafficAllocation": 0.125},
            "Undo: traffic of 12.5\xa0%",
            "commands/ramp?traffic=12.5",
        ),
        (
            "PATCH",
            f"{PAGE}/variants/{BLUE}",
            {"isActive": True},
            "Undo: reactivate the variant",
            f"commands/reactivate-variant?variant={BLUE}",
        ),
        (
            "PATCH",
            f"{PAGE}/variants/{BLUE}",
            {"isActive": False},
            "Undo: stop the variant",
            f"commands/stop-variant?variant={BLUE}",
        ),
        (
            "PATCH",
            f"{PAGE}/variants/{BLUE}",
            {"isActive": False, "name": "Azure"},
            "Undo: restore",
            f"restore/{ENTRY}",
        ),
        (
            "PATCH",
            PAGE,
            {"trafficAllocation": 0.5, "minSampleSize": 100},
            "Undo: restore",
            f"restore/{ENTRY}",
        ),
    ],
)
def test_an_undo_leads_to_the_page_that_does_it(method, path, body, label, place):
    found = undo_view(HistoryItem.model_validate(undone_by(method, path, body)))

    assert found is not None
    assert (found.label, found.place) == (label, place)


@pytest.mark.parametrize(("method", "path"), [("", ""), ("POST", f"{PAGE}/of-tomorrow")])
def test_without_a_known_request_there_is_no_undo(method, path):
    assert undo_view(HistoryItem.model_validate(undone_by(method, path, {}))) is None


def test_the_history_offers_ways_back_by_scope(browser):
    browser.sign_in("reads")
    assert "Undo" not in browser.get(PAGE).text
    browser.sign_in("manages")

    for place in (PAGE, f"{PAGE}/history"):
        text = browser.get(place).text
        links = re.findall(r'href="([^"]+)">(Undo: [^<]+)<', text)
        assert [label for _, label in links] == ["Undo: traffic of 100\xa0%"]
        assert links[0][0].endswith("/commands/ramp?traffic=100")


def test_the_page_of_a_command_has_what_undoes(manager):
    assert 'value="12.5"' in manager.get(f"{PAGE}/commands/ramp?traffic=12.5").text

    stop = manager.get(f"{PAGE}/commands/stop-variant?variant={BLUE}").text

    assert f'value="{BLUE}" required checked' in stop
    assert not manager.api.commands()


def test_restoring_states_its_effect_by_a_dry_run(manager):
    answer_history(manager, SIZE)
    manager.api.answers[f"PATCH {PAGE}"] = (200, dry_run_json())

    text = manager.get(RESTORE).text

    assert "Undoes: Changed by ana" in text
    assert "minSampleSize: 500 → 100" in text
    assert "None: no user sees a change." in text
    [sent] = [each for each in manager.api.sent if each.method == "PATCH"]
    assert sent.url.params["dryRun"] == "true"


def test_restoring_is_one_call_and_leads_back(manager):
    answer_history(manager, SIZE)
    token = manager.token("/")
    fields = {"csrf": token, "idempotencyKey": "k", "reason": " too many "}

    answer = manager.http.post(RESTORE, data=fields)

    assert answer.url.path == PAGE
    [sent] = [each for each in manager.api.sent if each.method == "PATCH"]
    assert dict(sent.url.params) == {"reason": "too many"}
    assert sent.headers["idempotency-key"] == "k"
    assert manager.api.commands() == [(f"PATCH {PAGE}", {"minSampleSize": 100})]


def test_what_was_changed_since_leads_back(manager):
    answer_history(manager, *history_json())

    assert manager.get(RESTORE).url.path == PAGE
    assert manager.submit(RESTORE, csrf=manager.token("/")).url.path == PAGE
    assert not manager.api.commands()


def test_a_refused_dry_run_says_why(manager):
    answer_history(manager, SIZE)
    error = {"code": "INVALID_TRANSITION", "message": "it is concluded", "path": ""}
    manager.api.answers[f"PATCH {PAGE}"] = (409, {"error": error})

    answer = manager.get(RESTORE)

    assert answer.status_code == 409
    assert "It is concluded (INVALID_TRANSITION)" in answer.text
    assert '<button class="main">Restore' not in answer.text


def test_a_long_reason_is_refused_and_kept(manager):
    answer_history(manager, SIZE)
    manager.api.answers[f"PATCH {PAGE}"] = (200, dry_run_json())

    answer = manager.submit(RESTORE, csrf=manager.token("/"), reason="x" * 501)

    assert answer.status_code == 422
    assert "Enter at most 500 characters." in answer.text
    assert "xxx" in answer.text


def test_who_may_read_restores_nothing(browser):
    browser.sign_in("reads")
    answer_history(browser, SIZE)

    assert "lacks the scope" in browser.get(RESTORE).text
    assert not browser.api.commands()


@pytest.mark.parametrize(
    ("effect", "text"),
    [
        (
            {"code": "TRAFFIC_RAISED", "units": 3_000, "before": 0.1, "after": 0.5},
            "50\xa0% of the users take part instead of 10\xa0%; those who take part stay in.",
        ),
        (
            {"code": "VARIANT_STOPPED", "variant_id": BLUE, "units": 1_200},
            "1,200 users who had Blue see another variant.",
        ),
        ({"code": "VARIANT_REACTIVATED", "variant_id": BLUE}, "New users get Blue again."),
        (
            {"code": "CONTENT_CHANGED", "variant_id": BLUE, "units": 1},
            "Blue has its former configuration again, for 1 user so far.",
        ),
        ({"code": "DEFINITION_CHANGED"}, "None: it is a draft."),
        ({"code": "OF_TOMORROW"}, "Of tomorrow."),
    ],
)
def test_effects_are_sentences(effect, text):
    assert effects_on_users(facts(), [DryRunEffect(**effect)]) == text
