"""Webhooks over HTTP: what is said of them, and what is never said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.auth import ApiKeyAuth
from streams.api_keys import Scope, new_key
from streams.model.errors import DependencyError
from streams.webhooks.definition import MAX_WEBHOOKS
from streams.webhooks.log import PARTITION
from streams.webhooks.progress import DispatchProgress, TestResult
from streams.webhooks.signing import new_secret
from streams.webhooks.table import encoded_progress
from tests.api.memory import Api, memory_api
from tests.twins.webhooks import SEALS

SECRET = new_secret()
URL = "https://receiver.example/T0/token"
BODY = {"url": URL, "secret": SECRET, "events": ["experiment.*"], "description": "to the wall"}


async def created(api: Api, **changes: Any) -> Any:
    answer = await api.http.post("/webhooks", json=BODY | changes)
    assert answer.status_code == 201, answer.text
    return answer.json()


def log_of(api: Api) -> bytes:
    records = api.webhooks.log.topics["webhooks", PARTITION]
    return b"".join((each.key or b"") + (each.value or b"") for each in records)


async def test_a_webhook_is_made_listed_changed_and_deleted(api):
    made = await created(api)
    place = f"/webhooks/{made['id']}"

    assert (made["url"], made["events"], made["status"]) == (URL, ["experiment.*"], "active")
    assert (await api.http.get(place)).json() == made
    assert (await api.http.get("/webhooks")).json() == {"webhooks": [made]}
    changed = await api.http.patch(place, json={"events": ["*"], "isEnabled": False})
    assert (changed.json()["events"], changed.json()["status"]) == (["*"], "off")
    assert changed.json()["url"] == URL
    assert (await api.http.delete(place)).status_code == 200
    for call in (api.http.get(place), api.http.delete(place), api.http.post(f"{place}/test")):
        missing = await call
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "WEBHOOK_NOT_FOUND")


async def test_tags_are_kept_changed_and_taken_away(api):
    made = await created(api, tags=[" checkout ", "eu"])
    place = f"/webhooks/{made['id']}"

    def kept() -> tuple[str, ...]:
        return tuple(api.webhooks.reader().read().webhooks[made["id"]].definition.tags)

    assert made["tags"] == ["checkout", "eu"]
    other = await api.http.patch(place, json={"description": "elsewhere"})
    assert (other.json()["tags"], kept()) == (["checkout", "eu"], ("checkout", "eu"))
    assert (await api.http.patch(place, json={"tags": ["us"]})).json()["tags"] == ["us"]
    bad = await api.http.patch(place, json={"tags": ["us", ""]})
    assert (bad.status_code, bad.json()["error"]["path"], kept()) == (422, "tags[1]", ("us",))
    assert (await api.http.patch(place, json={"tags": []})).json()["tags"] == []
    assert kept() == ()


async def test_what_a_webhook_has_not_is_no_parameter_of_its_creation(api):
    for parameter in ({"dryRun": "true"}, {"reason": "for the wall"}):
        refused = await api.http.post("/webhooks", json=BODY, params=parameter)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "UNKNOWN_PARAMETER")
    assert (await api.http.get("/webhooks")).json() == {"webhooks": []}

    made = await api.http.post("/webhooks", json=BODY, params={"author": "ana"})
    assert (made.status_code, made.json()["createdBy"]) == (201, "open/ana")


async def test_a_secret_is_in_no_answer_and_not_in_the_log(api, caplog):
    caplog.set_level("DEBUG")
    other = new_secret()
    made = await created(api)
    rotated = await api.http.patch(f"/webhooks/{made['id']}", json={"secret": other})
    wrong = await api.http.patch(f"/webhooks/{made['id']}", json={"secret": other + "!"})

    listed = await api.http.get("/webhooks")
    said = str(made) + rotated.text + wrong.text + listed.text + caplog.text
    for secret in (SECRET, other):
        assert secret not in said
        assert secret.encode() not in log_of(api)
    assert b"token" not in log_of(api)
    found = SEALS.open(api.webhooks.reader().read().webhooks[made["id"]].sealed)
    assert found.secrets == (other, SECRET)
    assert rotated.json()["oldSecretUntil"] == api.clock.now_ms + 86_400_000
    assert found.signing_secrets(api.clock.now_ms) == (other, SECRET)
    assert found.signing_secrets(api.clock.now_ms + 86_400_000) == (other,)


BAD: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"url": "http://receiver.example/"}, "HTTPS_REQUIRED", "url"),
    ({"url": "https://10.0.0.1/"}, "ADDRESS_NOT_ALLOWED", "url"),
    ({"url": "https://[::ffff:169.254.169.254]/"}, "ADDRESS_NOT_ALLOWED", "url"),
    ({"url": "nowhere"}, "INVALID_URL", "url"),
    ({"url": ""}, "OUT_OF_RANGE", "url"),
    ({"url": None}, "WRONG_TYPE", "url"),
    ({"secret": None}, "MISSING_FIELD", "secret"),
    ({"secret": "whsec_short"}, "INVALID_SECRET", "secret"),
    ({"secret": "whsec_" + "A" * 200}, "OUT_OF_RANGE", "secret"),
    ({"events": []}, "OUT_OF_RANGE", "events"),
    ({"events": ["experiment.begun"]}, "UNKNOWN_EVENT", "events[0]"),
    ({"events": ["webhook.test"]}, "UNKNOWN_EVENT", "events[0]"),
    ({"experiments": ["a b"]}, "INVALID_EXPERIMENT_ID", "experiments[0]"),
    ({"experiments": ["a"] * 101}, "OUT_OF_RANGE", "experiments"),
    ({"tags": "checkout"}, "WRONG_TYPE", "tags"),
    ({"tags": None}, "WRONG_TYPE", "tags"),
    ({"tags": ["checkout", 7]}, "WRONG_TYPE", "tags[1]"),
    ({"tags": [" "]}, "OUT_OF_RANGE", "tags[0]"),
    ({"tags": ["a", "b" * 51]}, "OUT_OF_RANGE", "tags[1]"),
    ({"tags": [f"t{n}" for n in range(21)]}, "OUT_OF_RANGE", "tags"),
    ({"tags": ["checkout,eu"]}, "INVALID_NAME", "tags[0]"),
    ({"tags": ["a\u202eb"]}, "INVALID_NAME", "tags[0]"),
    ({"tags": ["eu", " eu "]}, "DUPLICATE_VALUE", "tags[1]"),
    ({"format": "teams"}, "UNKNOWN_VALUE", "format"),
    ({"description": "a\u202eb"}, "INVALID_NAME", "description"),
    ({"description": "a" * 201}, "OUT_OF_RANGE", "description"),
    ({"since": -1}, "OUT_OF_RANGE", "since"),
    ({"since": 2**48}, "OUT_OF_RANGE", "since"),
    ({"headers": {}}, "UNKNOWN_FIELD", "headers"),
)
"""Changes of a good body, and code and path of the refusal."""


async def test_bad_input_is_422_with_a_code_and_a_path(api):
    for changes, code, path in BAD:
        answer = await api.http.post("/webhooks", json=BODY | changes)

        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["path"]) == (422, code, path)
    assert not log_of(api)


async def test_a_slack_webhook_needs_no_secret_until_its_format_changes(api):
    made = await created(api, secret=None, format="slack", events=["*"])

    refused = await api.http.patch(f"/webhooks/{made['id']}", json={"format": "standard"})

    assert refused.json()["error"]["code"] == "MISSING_FIELD"
    both = {"format": "standard", "secret": SECRET}
    assert (await api.http.patch(f"/webhooks/{made['id']}", json=both)).status_code == 200


async def test_an_idempotency_key_makes_one_webhook(api):
    headers = {"Idempotency-Key": "k"}
    answers = [await api.http.post("/webhooks", json=BODY, headers=headers) for _ in range(2)]
    other = await api.http.post("/webhooks", json=BODY | {"events": ["*"]}, headers=headers)

    assert answers[0].json() == answers[1].json()
    assert len((await api.http.get("/webhooks")).json()["webhooks"]) == 1
    assert other.json()["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"


async def test_there_are_not_more_than_fit(api):
    made = [await created(api) for _ in range(MAX_WEBHOOKS)]
    refused = await api.http.post("/webhooks", json=BODY)

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "TOO_MANY_WEBHOOKS")
    await api.http.delete(f"/webhooks/{made[0]['id']}")
    await created(api)


async def test_a_webhook_that_was_disabled_says_why_and_is_enabled_again(api):
    made = await created(api)
    progress = DispatchProgress()
    progress.activate(1, {0: 3})
    progress.enqueue((0, 2), 5)
    event = progress.begin((0, 2), 5)
    progress.fail((0, 2), event, 9, 410, "GONE", None)
    progress.note_test(TestResult(id="t", at_ms=8, status=410, error="GONE"))
    api.webhooks.write(encoded_progress(made["id"], progress))

    found = (await api.http.get(f"/webhooks/{made['id']}")).json()
    assert (found["status"], found["disabledBecause"], found["disabledAt"]) == (
        "disabled", "GONE", 9,
    )  # fmt: skip
    assert found["lastAttempt"] == {"at": 9, "status": 410, "error": "GONE"}
    assert found["lastTest"]["id"] == "t"
    assert found["waiting"] == 1
    again = await api.http.patch(f"/webhooks/{made['id']}", json={"isEnabled": True})
    assert again.json()["status"] in {"active", "failing"}
    definition = api.webhooks.reader().read().webhooks[made["id"]].definition
    assert (definition.activation, definition.is_from_since) == (2, False)
    since = await api.http.patch(f"/webhooks/{made['id']}", json={"since": 1_764_000_000_000})
    assert since.status_code == 200
    definition = api.webhooks.reader().read().webhooks[made["id"]].definition
    assert (definition.activation, definition.is_from_since, definition.since_ms) == (
        3,
        True,
        1_764_000_000_000,
    )


async def test_a_test_is_asked_for_in_the_log(api):
    made = await created(api)

    asked = await api.http.post(f"/webhooks/{made['id']}/test")

    definition = api.webhooks.reader().read().webhooks[made["id"]].definition
    assert asked.status_code == 202
    assert (definition.test_id, definition.test_at_ms) == (asked.json()["id"], api.clock.now_ms)


async def test_without_kafka_it_is_503(api):
    api.webhooks.failures.append(DependencyError("kafka", "away"))

    answer = await api.http.post("/webhooks", json=BODY)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "DEPENDENCY_UNAVAILABLE")


async def test_only_those_who_manage_see_and_make_webhooks(tmp_path: Path):
    keys = {scope: new_key(scope, [scope]) for scope in Scope}
    auth = ApiKeyAuth([entry for _, entry in keys.values()])
    async with memory_api(tmp_path, auth=auth) as api:
        for scope, (key, _) in keys.items():
            headers = {"Authorization": f"Bearer {key}"}
            expected = 200 if scope is Scope.MANAGE else 403
            assert (await api.http.get("/webhooks", headers=headers)).status_code == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = ["url", "secret", "events", "experiments", "tags", "format", "description", "since",
          "isEnabled", "secretOverlap", "other"]  # fmt: skip


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=60,
)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
async def test_any_body_is_taken_or_refused_with_a_code(api, changes):
    for method, path in (("POST", "/webhooks"), ("PATCH", "/webhooks/wh_none")):
        body = BODY | changes if method == "POST" else changes
        answer = await api.http.request(
            method, path, content=json.dumps(body), headers={"content-type": "application/json"}
        )
        assert answer.status_code in {201, 400, 404, 409, 422}, answer.text
