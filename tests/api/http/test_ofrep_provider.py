"""Feature flags through OpenFeature's own client for Python and its OFREP provider, unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from openfeature import api as openfeature
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.provider import ProviderStatus

from api.auth import ApiKeyAuth
from streams.api_keys import new_key
from tests.api.http_server import Served, served
from tests.openfeature.flags import USER, with_flags

UNIT = EvaluationContext(USER, {"country": "DE"})


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as running:
        await with_flags(running.api)
        yield running


def client_of(url: str, **options: Any) -> OpenFeatureClient:
    openfeature.set_provider_and_wait(OFREPProvider(url, **options), url)
    client = openfeature.get_client(url)
    assert client.get_provider_status() is ProviderStatus.READY
    return client


async def asked(server: Served, call: Callable[[OpenFeatureClient], Any], **options: Any) -> Any:
    """Return the result of a client with blocking calls, run in a separate thread."""
    url = f"http://127.0.0.1:{server.port}"
    return await asyncio.to_thread(lambda: call(client_of(url, **options)))


async def test_values_of_every_type(server: Served) -> None:
    def ask(client: OpenFeatureClient) -> tuple[object, ...]:
        return (
            client.get_boolean_value("is-new", False, UNIT),
            client.get_string_value("title", "", UNIT),
            client.get_integer_value("slots", 0, UNIT),
            client.get_float_value("price", 0.0, UNIT),
            client.get_object_value("layout", {}, UNIT),
            client.get_object_value("order", [], UNIT),
        )

    assert await asked(server, ask) == (True, "Hello", 3, 2.0, {"columns": 2}, ["a", "b"])


async def test_details_have_variant_reason_and_receipt(server: Served) -> None:
    found = await asked(server, lambda client: client.get_string_details("title", "", UNIT))

    assert (found.value, found.reason, found.error_code) == ("Hello", "SPLIT", None)
    assert found.variant in {"A", "B"}
    assert found.flag_metadata["enrolled"] is True
    assert found.flag_metadata["propensity"] == 0.5
    receipt = found.flag_metadata["assignmentId"]
    body = {"assignmentId": receipt, "metric": "click", "value": 1}
    assert (await server.api.http.post("/observations", json=body)).status_code == 202


@pytest.mark.parametrize(
    ("key", "context", "reason", "code"),
    [
        ("draft", UNIT, "DISABLED", None),
        ("nobody", UNIT, "ERROR", "FLAG_NOT_FOUND"),
        ("title", EvaluationContext(), "ERROR", "TARGETING_KEY_MISSING"),
        ("is-new", UNIT, "ERROR", "TYPE_MISMATCH"),
        ("closed", UNIT, "STATIC", None),
    ],
)
async def test_defaults_and_errors(
    server: Served, key: str, context: EvaluationContext, reason: str, code: str | None
) -> None:
    found = await asked(server, lambda client: client.get_string_details(key, "mine", context))

    assert (found.reason, found.error_code) == (reason, code)
    assert found.value == ("control" if key == "closed" else "mine")


async def test_an_api_key_is_sent_in_a_header(tmp_path: Path) -> None:
    key, entry = new_key("ads", ["assign", "manage"])
    async with served(tmp_path, auth=ApiKeyAuth([entry])) as server:
        server.api.http.headers["X-API-Key"] = key
        await with_flags(server.api)

        def ask(client: OpenFeatureClient) -> Any:
            return client.get_string_details("title", "mine", UNIT)

        good = await asked(server, ask, headers_factory=lambda: {"X-API-Key": key})
        bad = await asked(server, ask)

    assert good.value == "Hello"
    assert (bad.value, bad.error_code) == ("mine", "GENERAL")
