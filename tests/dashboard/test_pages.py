from __future__ import annotations

import csv
import io
import re

import pytest

from tests.dashboard.samples import (
    BLUE,
    changed,
    experiment_json,
    history_json,
    listed_json,
    stats_json,
)

PAGE = "/experiments/checkout-button"
API = "/experiments/checkout-button"
HOSTILE = "<script>alert(1)</script>\"'{{7*7}}"


@pytest.fixture
def manager(browser):
    browser.sign_in("manages")
    return browser


def test_the_list_shows_what_to_do(manager):
    text = manager.get("/").text

    assert "Keep it running." in text
    assert f'href="/experiments/{experiment_json()["id"]}"' in text


def test_the_list_is_searched_and_what_was_typed_is_kept(manager):
    assert "1 experiment, what" in manager.get("/?search=CHECK&owner=ana&tag=a%26b").text
    asked = manager.api.sent[-1].url.params
    assert (asked["search"], asked["owner"], asked["tag"]) == ("CHECK", "ana", "a&b")
    assert asked["sort"] == "attention"
    manager.api.answers["GET /experiments"] = (200, {"experiments": [], "nextCursor": None})

    answer = manager.get('/?search=nothing">').text

    assert "No experiment matches" in answer
    assert 'value="nothing&#34;&gt;"' in answer
    assert "Create the first one" in manager.get("/").text


def test_a_long_list_has_pages(manager):
    page = {"experiments": [listed_json()] * 50, "nextCursor": "abc-_", "total": 1_000}
    manager.api.answers["GET /experiments"] = (200, page)

    text = manager.get("/?search=a%26b").text

    assert "50 of 1,000 experiments" in text
    assert 'href="/?search=a%26b&amp;cursor=abc-_">Next page' in text
    manager.get("/?search=a%26b&cursor=abc-_")
    assert manager.api.sent[-1].url.params["cursor"] == "abc-_"


def test_statuses_are_asked_of_the_api(manager):
    manager.get("/?status=paused&status=nonsense")

    assert manager.api.sent[-1].url.params["status"] == "paused"


def test_names_are_text_whatever_they_hold(manager):
    experiment = changed(experiment_json(), {"config.description": HOSTILE})
    stats = changed(
        stats_json(), {"name": HOSTILE, "variants.1.name": HOSTILE, "metrics.purchase.kind": "x"}
    )
    manager.api.answers[f"GET {API}"] = (200, experiment)
    manager.api.answers[f"GET {API}/stats"] = (200, stats)

    for path in (PAGE, f"{PAGE}?dimension=device&metric={HOSTILE}", f"{PAGE}/commands/ship"):
        text = manager.get(path).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text
        assert "49" not in text.split("alert(1)")[1][:40]


@pytest.mark.parametrize(
    ("action", "fields", "path", "body"),
    [
        ("pause", {}, "POST {}/pause", {}),
        ("ramp", {"traffic": "12.5 %"}, "PATCH {}", {"trafficAllocation": 0.125}),
        ("ramp", {"traffic": "12,5"}, "PATCH {}", {"trafficAllocation": 0.125}),
        (
            "ship",
            {"variant": BLUE, "controlShare": "5"},
            "POST {}/conclude",
            {"winnerVariantId": BLUE, "controlShare": 0.05},
        ),
        (
            "ship",
            {"variant": BLUE, "controlShare": ""},
            "POST {}/conclude",
            {"winnerVariantId": BLUE},
        ),
        ("conclude", {"serve": "none"}, "POST {}/conclude", {"serve": "none"}),
        ("stop-variant", {"variant": BLUE}, f"PATCH {{}}/variants/{BLUE}", {"isActive": False}),
    ],
)
def test_a_command_is_one_call_and_leads_back(manager, action, fields, path, body):
    answer = manager.submit(f"{PAGE}/commands/{action}", **fields)

    assert answer.status_code == 200
    assert answer.url.path == PAGE
    assert manager.api.commands() == [(path.format(API), body)]


def test_the_history_says_who_did_what_and_why(manager):
    for path in (PAGE, f"{PAGE}/history"):
        text = manager.get(path).text
        assert "<strong>Changed</strong> by ana: more people" in text
        assert "trafficAllocation: 1.0 → 0.5" in text
        assert "Started (refused: invalid transition)" in text
        assert "<strong>Of tomorrow</strong> by its schedule" in text


def test_the_reason_of_a_command_is_sent_and_kept(manager):
    manager.submit(f"{PAGE}/commands/pause", reason="  a bug & more ")
    [sent] = [each for each in manager.api.sent if each.method == "POST"]
    assert sent.url.params["reason"] == "a bug & more"

    answer = manager.submit(f"{PAGE}/commands/pause", reason="x" * 501)

    assert answer.status_code == 422
    assert 'value="xxx' in answer.text


def test_a_form_that_is_sent_twice_is_one_command(manager):
    manager.submit(f"{PAGE}/commands/pause", idempotencyKey="same")
    manager.submit(f"{PAGE}/commands/pause", idempotencyKey="same")

    keys = [each.headers["idempotency-key"] for each in manager.api.sent if each.method == "POST"]
    assert keys == ["same", "same"]


@pytest.mark.parametrize(
    ("action", "fields", "message", "field"),
    [
        ("ramp", {"traffic": "many"}, "Enter a number of percent.", "traffic"),
        ("ramp", {"traffic": "101"}, "Enter a number from 0 to 100.", "traffic"),
        ("ramp", {"traffic": "nan"}, "Enter a number from 0 to 100.", "traffic"),
        ("ship", {"controlShare": "5"}, "Choose a variant.", "variant"),
        ("conclude", {"serve": "all"}, "Choose what is shown from now on.", "serve"),
    ],
)
def test_what_is_wrong_is_shown_and_what_was_typed_is_kept(manager, action, fields, message, field):
    answer = manager.submit(f"{PAGE}/commands/{action}", **fields)

    assert answer.status_code == 422
    assert f'<a href="#{field}">{message}</a>' in answer.text
    assert f'id="{field}"' in answer.text
    if action == "ramp":
        assert f'value="{fields["traffic"]}"' in answer.text
    assert not manager.api.commands()


def test_a_refusal_of_the_api_is_shown_beside_its_field(manager):
    error = {"code": "OUT_OF_RANGE", "message": "must be <= 0.5", "path": "controlShare"}
    manager.api.answers[f"POST {API}/conclude"] = (422, {"error": error})

    answer = manager.submit(f"{PAGE}/commands/ship", variant=BLUE, controlShare="60")

    assert answer.status_code == 422
    assert '<a href="#controlShare">Must be &lt;= 0.5 (OUT_OF_RANGE)</a>' in answer.text
    assert 'value="60"' in answer.text
    assert f'value="{BLUE}" required checked' in answer.text


def test_a_command_without_an_answer_is_asked_again_with_the_same_key(manager):
    error = {"code": "COMMAND_TIMED_OUT", "message": "no worker has answered", "path": ""}
    manager.api.answers[f"POST {API}/pause"] = (503, {"error": error})

    answer = manager.submit(f"{PAGE}/commands/pause", idempotencyKey="first")

    assert answer.status_code == 503
    assert 'value="first"' in answer.text


def test_a_command_that_is_not_possible_any_more_leads_back(manager):
    assert manager.get(f"{PAGE}/commands/resume").url.path == PAGE
    assert manager.get(f"{PAGE}/commands/nonsense").url.path == PAGE
    assert manager.submit(f"{PAGE}/commands/nonsense", csrf=manager.token("/")).status_code == 404


def test_without_an_api_the_page_says_so(manager):
    manager.api.is_reachable = False

    answer = manager.get(PAGE)

    assert answer.status_code == 503
    assert "The engine does not answer." in answer.text


def test_an_experiment_that_does_not_exist_is_a_page(manager):
    error = {"code": "EXPERIMENT_NOT_FOUND", "message": "no experiment 'x'", "path": ""}
    manager.api.answers["GET /experiments/x"] = (404, {"error": error})

    answer = manager.get("/experiments/x")

    assert answer.status_code == 404
    assert "There is no such experiment." in answer.text


def test_a_fault_is_a_page_without_details(manager):
    manager.api.answers[f"GET {API}/stats"] = (200, {"variants": []})

    answer = manager.get(PAGE)

    assert answer.status_code >= 500
    assert "Traceback" not in answer.text


def test_a_fault_after_a_form_was_sent_does_not_say_that_nothing_was_changed(manager):
    token = manager.token("/")
    refusal = {"error": {"code": "INVALID_TRANSITION", "message": "it is paused", "path": ""}}
    manager.api.answers[f"POST {API}/pause"] = (409, refusal)
    without_control = changed(stats_json(), {"variants.0.isControl": False})
    manager.api.answers[f"GET {API}/stats"] = (200, without_control)

    shown = manager.get(PAGE)
    sent = manager.http.post(f"{PAGE}/commands/pause", data={"csrf": token})

    assert manager.api.commands() == [(f"POST {API}/pause", {})]
    assert "Nothing was changed." in shown.text
    assert sent.status_code == 500
    assert "Nothing was changed." not in sent.text


def test_the_table_is_csv_that_is_no_formula(manager):
    manager.api.answers[f"GET {API}/stats"] = (
        200,
        changed(stats_json(), {"variants.1.name": "=HYPERLINK(1)"}),
    )

    lines = manager.get(f"{PAGE}/variants.csv").text.splitlines()

    assert len(lines) == 4
    assert lines[2].startswith("'=HYPERLINK")


def test_the_units_of_the_table_are_those_that_count(manager):
    exposed = {f"variants.{index}.stats.exposures": 90 + index for index in range(3)}
    manager.api.answers[f"GET {API}/stats"] = (200, changed(stats_json(), exposed))

    rows = [*csv.DictReader(io.StringIO(manager.get(f"{PAGE}/variants.csv").text))]

    assert [row["units"] for row in rows] == ["90", "91", "92"]


def test_files_are_kept_by_browsers_until_they_change(manager):
    page = manager.get("/").text
    address = next(each for each in page.split('"') if each.startswith("/static/dashboard.css"))

    assert "immutable" in manager.get(address).headers["cache-control"]
    assert manager.get("/static/dashboard.css").headers["cache-control"] == "no-cache"
    assert manager.get("/static/../context.py").status_code == 404


def test_the_way_to_the_first_page_keeps_the_filters(manager):
    text = manager.get("/?search=button&status=paused&cursor=x").text

    assert 'href="/?search=button&amp;status=paused">First page' in text


def test_a_name_without_blanks_is_shortened_where_no_line_can_break(manager):
    stats = stats_json()
    stats["variants"][1]["name"] = name = "V" * 100
    manager.api.answers["GET /experiments/checkout-button/stats"] = (200, stats)

    text = manager.get("/experiments/checkout-button").text

    drawn = re.findall(r'<text class="name"[^>]*>([^<]*)<', text)
    assert any(each.startswith("VVV") for each in drawn)
    assert max(map(len, drawn)) < 45
    assert f"<title>{name}</title>" in text


def entry_json(version, what="update", **fields):
    return {
        **history_json()[0],
        "id": f"{version:032x}",
        "version": version,
        "kind": what,
        **fields,
    }


def test_a_command_names_the_version_that_its_page_showed(manager):
    page = manager.get(f"{PAGE}/commands/ramp").text
    [version] = re.findall(r'name="version" value="(\d+)"', page)
    assert version == str(experiment_json()["version"])

    manager.submit(f"{PAGE}/commands/ramp", traffic="20", version=version)

    [sent] = [each for each in manager.api.sent if each.method == "PATCH"]
    assert sent.url.params["expectedVersion"] == version


def test_a_conflict_shows_what_has_changed_and_keeps_what_was_typed(manager):
    error = {"code": "VERSION_CONFLICT", "message": "read it again", "path": "expectedVersion"}
    newest = experiment_json()["version"]
    manager.api.answers[f"PATCH {API}"] = (409, {"error": error})
    entries = [
        entry_json(
            newest, changes=[{"path": "config.trafficAllocation", "before": 1, "after": 0.1}]
        ),
        entry_json(newest, "recommendation", author="evaluation", reason="not a command"),
        entry_json(newest, "pause", accepted=False, code="INVALID_TRANSITION"),
        entry_json(newest - 1, author="key:seen"),
    ]
    history = (200, {"entries": entries, "nextCursor": None})
    manager.api.answers[f"GET /experiments/{experiment_json()['id']}/history"] = history

    answer = manager.submit(
        f"{PAGE}/commands/ramp", traffic="20", reason="calm", version=str(newest - 1)
    )

    assert answer.status_code == 409
    assert "the experiment has changed since this page was opened" in answer.text
    assert "trafficAllocation: 1 → 0.1" in answer.text
    assert "seen" not in answer.text.split("Changed since")[1]
    assert "not a command" not in answer.text
    assert 'value="20"' in answer.text
    assert 'value="calm"' in answer.text
    assert f'name="version" value="{newest}"' in answer.text


def test_what_had_no_answer_is_repeated_with_the_version_that_was_seen(manager):
    newest = experiment_json()["version"]
    error = {"code": "COMMAND_TIMED_OUT", "message": "no worker has answered", "path": ""}
    manager.api.answers[f"POST {API}/pause"] = (503, {"error": error})

    answer = manager.submit(
        f"{PAGE}/commands/pause", version=str(newest - 1), idempotencyKey="first"
    )

    assert f'name="version" value="{newest - 1}"' in answer.text
    assert "Changed since" not in answer.text


RIGHT_TO_LEFT = "מבחן (1) ב"


def test_a_name_from_right_to_left_is_isolated_wherever_it_stands(manager):
    experiment = changed(
        experiment_json(),
        {
            "config.name": RIGHT_TO_LEFT,
            "config.description": RIGHT_TO_LEFT,
            "variants.1.name": RIGHT_TO_LEFT,
        },
    )
    stats = changed(stats_json(), {"name": RIGHT_TO_LEFT, "variants.1.name": RIGHT_TO_LEFT})
    listed = changed(
        listed_json(),
        {
            "config.name": RIGHT_TO_LEFT,
            "config.owner": RIGHT_TO_LEFT,
            "variants.1.name": RIGHT_TO_LEFT,
        },
    )
    entry = {**history_json()[0], "author": f"key:{RIGHT_TO_LEFT}", "reason": RIGHT_TO_LEFT}
    manager.api.answers[f"GET {API}"] = (200, experiment)
    manager.api.answers[f"GET {API}/stats"] = (200, stats)
    manager.api.answers[f"GET {API}/history"] = (200, {"entries": [entry], "nextCursor": None})
    manager.api.answers["GET /experiments"] = (200, {"experiments": [listed], "nextCursor": None})

    for path, least in (("/", 2), (PAGE, 20), (f"{PAGE}/history", 2), (f"{PAGE}/commands/ship", 3)):
        text = re.sub(r'<option value="[^"]*"></option>', "", manager.get(path).text)
        text = re.sub(r'<pre id="series-data".*</pre>', "", text)
        assert text.count(f"\u2068{RIGHT_TO_LEFT}\u2069") == text.count(RIGHT_TO_LEFT) >= least
    assert "\u2068" not in manager.get(f"{PAGE}/variants.csv").text


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ("commands/ramp", {"traffic": "12.5", "reason": "calm"}),
        ("commands/pause", {"reason": "calm"}),
    ],
)
def test_what_was_sent_while_the_api_is_away_is_there_when_the_page_is_loaded_again(
    manager, place, fields
):
    page = manager.get(f"{PAGE}/{place}").text
    [key] = re.findall(r'name="idempotencyKey" value="([^"]+)"', page)
    token = manager.token()
    sent = {"csrf": token, "idempotencyKey": key, "version": "1", **fields}
    manager.api.is_reachable = False
    answer = manager.http.post(f"{PAGE}/{place}", data=sent)
    manager.api.is_reachable = True

    again = manager.get(f"{PAGE}/{place}").text

    assert answer.status_code == 503
    assert "Whether what you sent has taken effect is not known" in answer.text
    assert "it may have taken effect" in again
    for each in (key, "1", *fields.values()):
        assert f'value="{each}"' in again
    assert key not in manager.get(f"{PAGE}/{place}").text  # once
