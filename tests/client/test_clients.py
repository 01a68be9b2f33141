"""Request shapes, results and errors of both clients, at the HTTP edge."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import stamina

from api.services.isolated_process import TIMEOUT_S
from experiment_streams_client import (
    ApiError,
    ApiUnreachableError,
    AssignmentContext,
    AsyncExperimentClient,
    ExperimentClient,
    ObservationRequest,
)
from experiment_streams_client.calls.base import OPERATION_S
from streams.model.errors import InputError

EXPERIMENT_ID = "exp_0000000000000"
CLICK = ObservationRequest(assignment_id="AQ", metric="click", value=1)
VARIANTS: list[dict[str, Any]] = [{"name": "A", "isControl": True}, {"name": "B"}]
CONFIG = {"name": "Hero", "type": "thompson_sampling", "primaryMetric": "click"}
EXPERIMENT = {
    "id": EXPERIMENT_ID,
    "status": "draft",
    "version": 1,
    "config": CONFIG,
    "variants": [
        {"id": f"{EXPERIMENT_ID}_v0", "name": "A", "isControl": True, "config": {}},
        {"id": f"{EXPERIMENT_ID}_v1", "name": "B", "isControl": False, "config": {"adId": "x"}},
    ],
    "createdAt": 1,
    "startedAt": None,
    "aFieldOfTomorrow": 7,
}
ASSIGNMENT = {
    "id": "AQ",
    "experimentId": EXPERIMENT_ID,
    "variantId": f"{EXPERIMENT_ID}_v1",
    "variantName": "B",
    "config": {"adId": "x"},
    "enrolled": True,
    "reason": "ALLOCATION",
    "propensity": 0.5,
}
ACCEPTED = {"accepted": 1}

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def _without_pauses():
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


class Server:
    """Answers by a script, the last line forever, and keeps what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def body(self) -> Any:
        return json.loads(self.requests[-1].content)


def client_of(server: Server, **options: Any) -> ExperimentClient:
    return ExperimentClient("http://api", transport=httpx.MockTransport(server), **options)


def ok(payload: Any) -> httpx.Response:
    return httpx.Response(200, json=payload)


def error(status: int, code: str, path: str = "", **headers: str) -> httpx.Response:
    body = {"error": {"code": code, "message": "because", "path": path}}
    return httpx.Response(status, json=body, headers=headers)


def test_create_sends_config_and_variants_and_returns_the_experiment() -> None:
    server = Server(httpx.Response(201, json=EXPERIMENT))

    experiment = client_of(server).create_experiment(CONFIG, VARIANTS, idempotency_key="k1")

    assert (server.requests[0].method, server.requests[0].url.path) == ("POST", "/experiments")
    assert server.body == {"config": CONFIG, "variants": VARIANTS}
    assert server.requests[0].headers["Idempotency-Key"] == "k1"
    assert (experiment.name, experiment.variants[1].config) == ("Hero", {"adId": "x"})


@pytest.mark.parametrize(
    ("call", "method", "path", "body"),
    [
        (lambda c: c.start_experiment(EXPERIMENT_ID), "POST", "/start", {}),
        (lambda c: c.pause_experiment(EXPERIMENT_ID), "POST", "/pause", {}),
        (lambda c: c.resume_experiment(EXPERIMENT_ID), "POST", "/resume", {}),
        (lambda c: c.archive_experiment(EXPERIMENT_ID), "POST", "/archive", {}),
        (lambda c: c.rollback_experiment(EXPERIMENT_ID), "POST", "/rollback", {}),
        (lambda c: c.conclude_experiment(EXPERIMENT_ID), "POST", "/conclude", {}),
        (
            lambda c: c.conclude_experiment(EXPERIMENT_ID, f"{EXPERIMENT_ID}_v1"),
            "POST",
            "/conclude",
            {"winnerVariantId": f"{EXPERIMENT_ID}_v1"},
        ),
        (
            lambda c: c.update_experiment(EXPERIMENT_ID, {"trafficAllocation": 0.5}),
            "PATCH",
            "",
            {"trafficAllocation": 0.5},
        ),
    ],
)
def test_commands_name_the_experiment_and_carry_a_key(call, method, path, body) -> None:
    server = Server(ok(EXPERIMENT))

    call(client_of(server))

    request = server.requests[0]
    assert (request.method, request.url.path) == (method, f"/experiments/{EXPERIMENT_ID}{path}")
    assert server.body == body
    assert len(request.headers["Idempotency-Key"]) == 32


def test_every_command_draws_its_own_key_and_its_retries_keep_it() -> None:
    server = Server(error(503, "COMMAND_TIMED_OUT"), ok(EXPERIMENT))
    client = client_of(server)

    client.start_experiment(EXPERIMENT_ID)
    client.pause_experiment(EXPERIMENT_ID)

    first, repeated, second = (request.headers["Idempotency-Key"] for request in server.requests)
    assert first == repeated != second


def test_assign_sends_the_context_and_returns_the_variant() -> None:
    server = Server(ok(ASSIGNMENT))
    context = AssignmentContext(
        user_id="user_123",
        fallback_unit_id="anonymous_4",
        timestamp=5,
        device="mobile",
        features={"age": 35},
    )

    assignment = client_of(server).assign_variant(EXPERIMENT_ID, context)

    assert server.requests[0].url.path == f"/experiments/{EXPERIMENT_ID}/assign"
    assert server.body == {
        "userId": "user_123",
        "fallbackUnitId": "anonymous_4",
        "timestamp": 5,
        "device": "mobile",
        "features": {"age": 35},
    }
    assert (assignment.id, assignment.config["adId"], assignment.propensity) == ("AQ", "x", 0.5)


def test_an_experiment_id_cannot_leave_its_place_in_the_path() -> None:
    server = Server(error(404, "EXPERIMENT_NOT_FOUND"))

    with pytest.raises(ApiError):
        client_of(server).get_experiment("../health?x=1")

    assert server.requests[0].url.raw_path == b"/experiments/..%2Fhealth%3Fx%3D1"


def test_observations_carry_their_event_id_and_time() -> None:
    server = Server(httpx.Response(202, json=ACCEPTED))
    client = client_of(server)

    client.record_observation("AQ", "revenue", 49.99, event_id="order_1", timestamp=9)
    assert server.body == {
        "assignmentId": "AQ",
        "metric": "revenue",
        "value": 49.99,
        "eventId": "order_1",
        "timestamp": 9,
    }

    client.record_observations([CLICK])
    assert server.body == [{"assignmentId": "AQ", "metric": "click", "value": 1}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2e9])
def test_a_value_without_meaning_is_refused_before_it_is_sent(value: float) -> None:
    server = Server(ok(ACCEPTED))

    with pytest.raises(InputError) as caught:
        client_of(server).record_observation("AQ", "click", value)
    assert caught.value.code in {"NOT_FINITE", "OUT_OF_RANGE"}
    assert caught.value.path == "value"

    assert server.requests == []


def test_an_api_key_is_sent_as_a_bearer_token() -> None:
    server = Server(ok({"status": "ok"}))

    client_of(server, api_key="secret").health()
    client_of(server).health()

    keyed, open_ = server.requests
    assert keyed.headers["Authorization"] == "Bearer secret"
    assert "Authorization" not in open_.headers


@pytest.mark.parametrize("client", [ExperimentClient, AsyncExperimentClient])
@pytest.mark.parametrize("key", ["s3cr\u00e9t", "secret\n", "a\r\nX-Other: b", "\udcff"])
def test_an_api_key_that_no_header_carries_is_refused(client: Any, key: str) -> None:
    with pytest.raises(ApiError) as caught:
        client("http://api", api_key=key)

    assert (caught.value.code, caught.value.status) == ("UNAUTHENTICATED", 401)
    assert key not in str(caught.value)


def test_a_refusal_carries_code_path_and_status() -> None:
    server = Server(error(422, "OUT_OF_RANGE", "config.trafficAllocation"))

    with pytest.raises(ApiError) as caught:
        client_of(server).create_experiment(CONFIG, VARIANTS)

    refused = caught.value
    assert (refused.code, refused.path, refused.status, refused.retry_after_s) == (
        "OUT_OF_RANGE",
        "config.trafficAllocation",
        422,
        None,
    )
    assert len(server.requests) == 1


def test_an_answer_from_something_in_between_is_an_error_with_its_status() -> None:
    server = Server(httpx.Response(502, text="<html>Bad Gateway</html>"))

    with pytest.raises(ApiError) as caught:
        client_of(server).get_experiment(EXPERIMENT_ID)

    assert (caught.value.code, caught.value.status) == ("HTTP_502", 502)


def test_an_address_of_another_server_is_named_with_what_it_answers() -> None:
    page = "<html>\n  <head><title>Sign in</title>\x1b[2J" + "x" * 10_000
    headers = {"location": "/sign-in?next=/experiments"}
    server = Server(httpx.Response(303, html=page, headers=headers))

    with pytest.raises(ApiError) as caught:
        client_of(server).list_experiments()

    message = str(caught.value)
    assert caught.value.code == "HTTP_303"
    assert "/experiments?limit=200 answered 303 with 'text/html; charset=utf-8'" in message
    assert "redirects to '/sign-in?next=/experiments'" in message
    assert "see that the address is the API's: '<html> <head><title>Sign in" in message
    assert message.isprintable()
    assert len(message) < 500


def test_a_success_that_is_not_an_answer_is_an_error() -> None:
    with pytest.raises(ApiError) as caught:
        client_of(Server(httpx.Response(200, text="<html>Welcome</html>"))).list_experiments()

    assert caught.value.code == "UNEXPECTED_ANSWER"
    assert "not as this API does; see that the address is the API's" in str(caught.value)


def test_what_cannot_be_served_now_is_asked_again_and_then_given_up() -> None:
    server = Server(error(503, "SPOOL_FULL", **{"Retry-After": "2"}))

    with pytest.raises(ApiError) as caught:
        client_of(server).assign_variant(EXPERIMENT_ID)

    assert (len(server.requests), caught.value.retry_after_s) == (3, 2.0)


@pytest.mark.parametrize(
    ("failure", "call", "times"),
    [
        # Never sent: any call is safe to repeat.
        (httpx.ConnectError("refused"), lambda c: c.assign_variant(EXPERIMENT_ID), 3),
        # Perhaps received: only what does no more the second time is repeated.
        (httpx.ReadTimeout("slow"), lambda c: c.assign_variant(EXPERIMENT_ID), 1),
        (httpx.ReadTimeout("slow"), lambda c: c.record_observation("AQ", "click", 1), 1),
        (httpx.ReadTimeout("slow"), lambda c: c.record_observation("AQ", "click", 1, "e"), 3),
        (httpx.ReadTimeout("slow"), lambda c: c.record_exposure("AQ"), 3),
        (httpx.ReadError("reset"), lambda c: c.get_experiment(EXPERIMENT_ID), 3),
        (httpx.ReadError("reset"), lambda c: c.start_experiment(EXPERIMENT_ID), 3),
    ],
)
def test_a_broken_connection_is_tried_again_where_that_does_no_harm(failure, call, times) -> None:
    server = Server(failure)

    with pytest.raises(ApiUnreachableError) as caught:
        call(client_of(server))

    assert len(server.requests) == times
    assert (caught.value.code, caught.value.status) == ("API_UNREACHABLE", 0)


DOCTOR = {
    "at": 1,
    "findings": [],
    "workers": 1,
    "lag": [],
    "partitions": [],
    "spool": {"bytes": 0, "maxBytes": 1, "fileBytes": 0, "damagedFiles": 0},
    "deadLetters": {},
}


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda c: c.get_doctor(), DOCTOR),
        (lambda c: c.list_dead_letters(), {"letters": []}),
        (lambda c: c.resend_dead_letters(["observations:0:0:0"]), {"sent": [], "refused": []}),
    ],
)
def test_what_the_api_computes_for_a_minute_is_waited_for(call, answer) -> None:
    server = Server(ok(answer), ok(EXPERIMENT))
    client = client_of(server, timeout_s=3.0)

    call(client)
    client.start_experiment(EXPERIMENT_ID)

    computed, usual = (each.extensions["timeout"] for each in server.requests)
    assert computed == {"connect": 3.0, "read": OPERATION_S, "write": 3.0, "pool": 3.0}
    assert OPERATION_S > TIMEOUT_S
    assert usual["read"] == 3.0


def test_ready_is_an_answer_even_when_it_says_no() -> None:
    server = Server(httpx.Response(503, json={"ready": False, "missing": ["kafka"]}))

    readiness = client_of(server).ready()

    assert (readiness.ready, readiness.missing, len(server.requests)) == (False, ("kafka",), 1)


async def test_the_asynchronous_client_sends_the_same_requests() -> None:
    blocking, awaiting = Server(ok(ASSIGNMENT)), Server(ok(ASSIGNMENT))

    expected = client_of(blocking).assign_variant(EXPERIMENT_ID, {"userId": "u"})
    async with AsyncExperimentClient(
        "http://api", transport=httpx.MockTransport(awaiting)
    ) as client:
        assignment = await client.assign_variant(EXPERIMENT_ID, {"userId": "u"})

    assert assignment == expected
    assert awaiting.requests[0].content == blocking.requests[0].content
    assert awaiting.requests[0].url == blocking.requests[0].url


async def test_the_asynchronous_client_retries_and_refuses_alike() -> None:
    server = Server(httpx.ConnectError("refused"), error(409, "EXPERIMENT_NOT_RUNNING"))

    async with AsyncExperimentClient("http://api", transport=httpx.MockTransport(server)) as client:
        with pytest.raises(ApiError) as caught:
            await client.assign_variant(EXPERIMENT_ID)

    assert (len(server.requests), caught.value.code) == (2, "EXPERIMENT_NOT_RUNNING")


def test_a_list_is_read_page_by_page() -> None:
    second = {**EXPERIMENT, "id": "exp_0000000000002"}
    server = Server(
        ok({"experiments": [EXPERIMENT], "nextCursor": "c1"}),
        ok({"experiments": [second], "nextCursor": None}),
    )

    found = client_of(server).list_experiments("running", "paused")

    assert [each.id for each in found] == [EXPERIMENT_ID, "exp_0000000000002"]
    queries = [dict(request.url.params) for request in server.requests]
    assert queries == [
        {"limit": "200", "status": "running,paused"},
        {"limit": "200", "status": "running,paused", "cursor": "c1"},
    ]


async def test_a_list_is_read_page_by_page_asynchronously_too() -> None:
    server = Server(
        ok({"experiments": [EXPERIMENT], "nextCursor": "c1"}),
        ok({"experiments": [EXPERIMENT]}),  # of an engine that knows no pages
    )
    transport = httpx.MockTransport(server)

    async with AsyncExperimentClient("http://api", transport=transport) as client:
        assert len(await client.list_experiments()) == 2


def test_refused_observations_of_a_list_are_named() -> None:
    rejected = {"index": 1, "code": "FORGED_RECEIPT", "path": "[1].assignmentId", "message": "no"}
    server = Server(
        httpx.Response(202, json={"accepted": 1, "rejected": [rejected], "rejectedCount": 1})
    )

    taken = client_of(server).record_observations([CLICK] * 2)

    assert (taken.accepted, taken.rejected_count) == (1, 1)
    assert (taken.rejected[0].index, taken.rejected[0].code) == (1, "FORGED_RECEIPT")
