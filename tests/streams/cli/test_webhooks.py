"""`experiment webhooks`: what is sent, and what is said of the answer."""

from __future__ import annotations

import json

from streams.webhooks.signing import new_secret, secret_bytes

WEBHOOK = {
    "id": "wh_aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "url": "https://receiver.example/x",
    "format": "standard",
    "events": ["*"],
    "experiments": [],
    "tags": [],
    "description": "",
    "isEnabled": True,
    "status": "active",
    "createdAt": 1_700_000_000_000,
    "changedAt": 1_700_000_000_000,
}
PLACE = f"/webhooks/{WEBHOOK['id']}"


def test_create_draws_a_secret_and_shows_it_once(api):
    api.answers["POST /webhooks"] = (201, WEBHOOK)

    made = api.run("webhooks", "create", WEBHOOK["url"], "--json")

    [(_, body)] = api.requests
    assert secret_bytes(body["secret"])
    assert json.loads(made.stdout)["secret"] == body["secret"]
    assert body["events"] == ["*"]


def test_create_takes_a_secret_from_standard_input_and_does_not_show_it(api):
    api.answers["POST /webhooks"] = (201, WEBHOOK)
    secret = new_secret()
    options = (
        "--secret-file - --event experiment.* --event command.refused --experiment hero "
        "--tag checkout --tag eu"
    )

    made = api.run("webhooks", "create", WEBHOOK["url"], *options.split(), stdin=f"{secret}\n")

    [(_, body)] = api.requests
    assert (body["secret"], body["experiments"]) == (secret, ["hero"])
    assert body["tags"] == ["checkout", "eu"]
    assert body["events"] == ["experiment.*", "command.refused"]
    assert made.stdout == f"webhook {WEBHOOK['id']} is active\n"


def test_a_test_shows_how_the_receiver_answers(api):
    api.answers[f"POST {PLACE}/test"] = (202, {"id": "t"})
    attempt = {"id": "t", "at": 1, "status": 500, "error": "SERVER_ERROR"}
    api.answers[f"GET {PLACE}"] = (200, WEBHOOK | {"lastTest": attempt})

    failed = api.run("webhooks", "test", str(WEBHOOK["id"]))
    taken = {"id": "t", "at": 1, "status": 204, "error": None}
    api.answers[f"GET {PLACE}"] = (200, WEBHOOK | {"lastTest": taken})
    passed = api.run("webhooks", "test", str(WEBHOOK["id"]))

    assert failed.exit_code == 1
    assert failed.stdout == "the receiver did not take the test: SERVER_ERROR (HTTP 500)\n"
    assert (passed.exit_code, passed.stdout) == (0, "the receiver took the test (HTTP 204)\n")


def test_update_and_delete_send_what_is_given(api):
    api.answers[f"PATCH {PLACE}"] = (200, WEBHOOK)
    api.answers[f"DELETE {PLACE}"] = (200, WEBHOOK)
    identity = str(WEBHOOK["id"])

    nothing = api.run("webhooks", "update", identity)
    api.run("webhooks", "update", identity, "--send", "on", "--since", "5", "--event", "*")
    deleted = api.run("webhooks", "delete", identity)

    assert "MISSING_FIELD" in nothing.stderr
    assert api.requests[0][1] == {"isEnabled": True, "since": 5, "events": ["*"]}
    assert deleted.stdout == f"webhook {identity} is deleted\n"


def test_an_empty_name_takes_a_filter_away(api):
    api.answers[f"PATCH {PLACE}"] = (200, WEBHOOK)

    api.run("webhooks", "update", str(WEBHOOK["id"]), "--tag", "", "--experiment", "")

    assert api.requests[0][1] == {"experiments": [], "tags": []}


def test_list_shows_the_state(api):
    disabled = WEBHOOK | {"status": "disabled", "disabledBecause": "GONE", "waiting": 3}
    api.answers["GET /webhooks"] = (200, {"webhooks": [disabled]})

    shown = api.run("webhooks", "list").stdout

    assert str(WEBHOOK["id"]) in shown
    assert "disabled" in shown
