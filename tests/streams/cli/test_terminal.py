from __future__ import annotations

from pathlib import Path

import pytest

from streams.cli.terminal import connected, settings_of
from streams.local.children import free_port
from streams.local.plan import StackPlan
from streams.local.stack_files import registered
from streams.model.errors import ConfigurationError, DependencyError


@pytest.fixture(autouse=True)
def state_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_port_of_an_embedded_stack_is_enough_to_find_its_kafka_and_key(tmp_path, host):
    plan = StackPlan("127.0.0.1", free_port(), 1, tmp_path)
    overrides = plan.overrides("127.0.0.1:1234", "redis://127.0.0.1:5678/0", {})

    with registered(plan, overrides):
        settings = settings_of(f"http://{host}:{plan.port}")

    assert settings.kafka_url == "127.0.0.1:1234"
    assert settings.signing_keys == Path(overrides["RECEIPT_KEYS_FILE"]).read_text()


@pytest.mark.parametrize("api", ["http://127.0.0.1:1", "https://experiments.example"])
def test_another_api_has_the_settings_of_the_environment(api, monkeypatch):
    monkeypatch.setenv("EXPERIMENT_KAFKA_URL", "kafka.example:9092")

    assert settings_of(api).kafka_url == "kafka.example:9092"


@pytest.mark.parametrize("api", ["127.0.0.1:8080", "ftp://host", "http://", "http://host:port", ""])
def test_what_is_not_an_address_is_said_to_be_none(api):
    with pytest.raises(ConfigurationError) as caught:
        settings_of(api)

    assert caught.value.path == "--api"


def test_an_api_that_is_not_there_is_worth_another_try():
    api = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(DependencyError) as caught, connected(api, None) as client:
        client.health()

    assert (caught.value.code, caught.value.dependency) == ("API_UNREACHABLE", "api")
