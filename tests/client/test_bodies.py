"""Bodies that JSON cannot hold are refused before they are sent, by the codes of the API."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from experiment_streams_client import ExperimentClient
from experiment_streams_client.calls.bodies import json_body
from streams.model.errors import InputError

CYCLE: list[Any] = []
CYCLE.append(CYCLE)
NESTED: list[Any] = []
for _ in range(100_000):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (float("nan"), "NOT_FINITE"),
        (float("-inf"), "NOT_FINITE"),
        (datetime(2026, 1, 1, tzinfo=UTC), "WRONG_TYPE"),
        ({1, 2}, "WRONG_TYPE"),
        (b"bytes", "WRONG_TYPE"),
        ({(1, 2): 3}, "WRONG_TYPE"),
        ("\ud800", "INVALID_JSON"),
        (CYCLE, "TOO_DEEP"),
        (NESTED, "TOO_DEEP"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else "",
)
def test_what_json_cannot_hold_is_refused(value: Any, code: str):
    with pytest.raises(InputError) as caught:
        json_body({"config": value})

    assert caught.value.code == code


@pytest.fixture
def sent() -> list[httpx.Request]:
    return []


@pytest.fixture
def client(sent: list[httpx.Request]) -> Iterator[ExperimentClient]:
    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(500)

    with ExperimentClient("http://api", transport=httpx.MockTransport(answer)) as client:
        yield client


def test_a_client_sends_nothing_of_it(client: ExperimentClient, sent: list[httpx.Request]):
    with pytest.raises(InputError, match="NOT_FINITE"):
        client.add_variant("exp_0000000000000", "C", weight=float("inf"))

    assert sent == []


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("", "OUT_OF_RANGE"),
        ("k" * 257, "OUT_OF_RANGE"),
        ("é", "INVALID_NAME"),
        ("a\nb", "INVALID_NAME"),
    ],
)
def test_an_idempotency_key_that_the_api_refuses_is_not_replaced_by_another(
    client: ExperimentClient, sent: list[httpx.Request], key: str, code: str
):
    with pytest.raises(InputError) as caught:
        client.start_experiment("exp_0000000000000", key)

    assert (caught.value.code, caught.value.path, sent) == (code, "Idempotency-Key", [])
