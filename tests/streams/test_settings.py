"""Settings: read from the environment alone, refused by name, and documented as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from scripts.render_settings import PAGE, render
from streams.model.errors import ConfigurationError
from streams.receipt_keys import ReceiptKeys, keyring_of
from streams.settings import Settings, load_settings


def test_the_reference_page_is_what_the_fields_say():
    assert PAGE.read_text() == render(), "run python -m scripts.render_settings"


def test_every_field_states_its_meaning():
    undescribed = [name for name, field in Settings.model_fields.items() if not field.description]

    assert undescribed == []


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("EXPERIMENT_KAFKA_URL", "kafka://one:9092, two:9092")
    monkeypatch.setenv("EXPERIMENT_PARTITIONS", "12")

    settings = load_settings()

    assert settings.kafka_url == "one:9092,two:9092"
    assert settings.faust_brokers == ["kafka://one:9092", "kafka://two:9092"]
    assert settings.partitions == 12


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        Settings().partitions = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EXPERIMENT_PARTITIONS", "0"),
        ("EXPERIMENT_SESSION_TIMEOUT_S", "5"),
        ("EXPERIMENT_LOG_LEVEL", "chatty"),
        ("EXPERIMENT_TOPIC_PREFIX", "a/b"),
        ("EXPERIMENT_KAFKA_TIMEOUT_S", "nan"),
        ("EXPERIMENT_SCHEMA_REGISTRY_URL", "registry:8081"),
        ("EXPERIMENT_SCHEMA_REGISTRY_URL", "http://["),
        ("EXPERIMENT_SCHEMA_REGISTRY_URL", "http://registry:99999"),
        ("EXPERIMENT_KAFKA_URL", " "),
        ("EXPERIMENT_KAFKA_URL", "a:9092,,b:9092"),
        ("EXPERIMENT_KAFKA_URL", "a b"),
        ("EXPERIMENT_KAFKA_URL", "a\nb"),
        ("EXPERIMENT_KAFKA_URL", "kafka:99999"),
        ("EXPERIMENT_KAFKA_URL", "kafka:99999999999999999999"),
        ("EXPERIMENT_REDIS_URL", "localhost:6379"),
        ("EXPERIMENT_REDIS_URL", "http://localhost"),
        ("EXPERIMENT_REDIS_URL", "redis://["),
        ("EXPERIMENT_REDIS_URL", "redis://localhost:99999/0"),
        ("EXPERIMENT_REDIS_URL", "redis://localhost:port/0"),
        ("EXPERIMENT_REDIS_URL", "redis://a\x1b[2J/0"),
    ],
)
def test_a_value_outside_its_domain_is_refused_by_name(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError) as refusal:
        load_settings()

    assert refusal.value.path == variable
    assert variable in refusal.value.message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EXPERIMENT_KAFKA_URL", "kafka://a:9092, [::1]:9092,b"),
        ("EXPERIMENT_REDIS_URL", "rediss://user:p%40ss@[::1]:6380/3?ssl_ca_certs=/ca.pem"),
        ("EXPERIMENT_REDIS_URL", "unix:///run/redis.sock?db=1"),
        ("EXPERIMENT_SCHEMA_REGISTRY_URL", "https://user:password@registry.example/path"),
        ("EXPERIMENT_SCHEMA_REGISTRY_URL", ""),
    ],
)
def test_an_address_of_any_form_is_taken(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)

    load_settings()


def test_a_refusal_does_not_show_the_secret(monkeypatch):
    monkeypatch.setenv("EXPERIMENT_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("EXPERIMENT_SASL_PASSWORD", "hunter2")

    with pytest.raises(ConfigurationError) as refusal:
        load_settings()

    assert "sasl_username" in refusal.value.message
    assert "hunter2" not in str(refusal.value)


def test_secrets_stay_out_of_the_representation():
    settings = Settings(
        security_protocol="SASL_SSL",
        sasl_username="engine",
        sasl_password="hunter2",  # type: ignore[arg-type]
        redis_url="redis://:hunter2@localhost",
        schema_registry_url="https://engine:hunter2@registry",
        receipt_keys="1:68756e74657232",  # type: ignore[arg-type]
    )

    assert "hunter2" not in repr(settings)
    assert "68756e74657232" not in repr(settings)
    assert "hunter2" not in repr(settings.kafka_security())


def test_a_sasl_cluster_has_the_same_settings_in_both_kinds_of_client():
    settings = Settings(
        kafka_url="broker:9093",
        security_protocol="SASL_SSL",
        sasl_username="engine",
        sasl_password="hunter2",  # type: ignore[arg-type]
    )

    config = settings.confluent_config()
    security = settings.kafka_security()

    assert config["sasl.username"] == security.username == "engine"
    assert config["sasl.password"] == security.password == "hunter2"
    assert config["sasl.mechanism"] == security.mechanism == "SCRAM-SHA-512"
    assert security.ssl_context is not None


def test_an_unreadable_certificate_is_a_configuration_error(tmp_path):
    settings = Settings(security_protocol="SSL", ssl_cafile=tmp_path / "missing.pem")

    with pytest.raises(ConfigurationError, match="certificate"):
        settings.kafka_security()


def test_more_replicas_in_sync_than_there_are_is_refused():
    with pytest.raises(ValidationError, match="replication_factor"):
        Settings(min_insync_replicas=2, replication_factor=1)


def test_the_spool_lies_in_the_data_directory_unless_configured(tmp_path):
    assert Settings(data_dir=tmp_path).spool_dir == tmp_path / "spool"


def test_receipt_keys_that_are_missing_are_named():
    with pytest.raises(ConfigurationError, match="EXPERIMENT_RECEIPT_KEYS"):
        _ = Settings().signing_keys


@pytest.mark.parametrize("read", ["receipt_keys", "webhook_keys"])
def test_a_file_of_secrets_without_an_end_is_refused(read):
    settings = Settings.model_validate({f"{read}_file": Path("/dev/zero")})
    with pytest.raises(ConfigurationError, match="it has more than 1,048,576 bytes") as caught:
        _ = settings.signing_keys if read == "receipt_keys" else settings.sealing_keys
    assert caught.value.path == f"EXPERIMENT_{read.upper()}_FILE"


def test_receipt_keys_come_from_a_file_and_not_from_two_places(tmp_path, monkeypatch):
    file = tmp_path / "keys"
    file.write_text("1:" + "ab" * 16 + "\n")
    settings = Settings(receipt_keys_file=file)
    assert settings.signing_keys == file.read_text()

    keys = ReceiptKeys(settings)
    file.write_text("2:" + "cd" * 16 + "\n1:" + "ab" * 16)
    assert keys.reload() == "key 2 signs, 1 besides verifies"
    for broken in ("", "2:zz", "2:00"):
        file.write_text(broken)
        with pytest.raises(ConfigurationError):
            keys.reload()
    assert keys.keyring.ids == (2, 1)
    assert keyring_of(keys.as_settings()).ids == (2, 1)  # and not what the file holds

    file.unlink()
    with pytest.raises(ConfigurationError) as caught:
        keys.reload()
    assert caught.value.path == "EXPERIMENT_RECEIPT_KEYS_FILE"
    with pytest.raises(ConfigurationError, match="must be one"):
        _ = settings.model_copy(update={"receipt_keys": SecretStr("1:ab")}).signing_keys


def test_the_address_of_redis_has_no_password():
    settings = Settings(redis_url="rediss://user:secret@cache:6379/0?password=secret")

    assert settings.redis_address == "cache:6379/0"
