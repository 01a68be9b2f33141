"""What may differ from one installation to another, read once from the environment.

Every process reads one `Settings` in its composition root and passes it down as arguments; nothing
below a root reads the environment. `docs/reference/settings.md` is rendered from the descriptions.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

from platformdirs import user_data_path
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.catalogue import APP
from streams.domain.errors import ConfigurationError

ENVIRONMENT_PREFIX = "EXPERIMENT_"

MIB = 2**20
GIB = 2**30


def _without_scheme(addresses: str) -> str:
    """Accept `kafka://host:port` as people write it; clients want the bare address list."""
    return ",".join(part.strip().removeprefix("kafka://") for part in addresses.split(","))


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How a client that is not librdkafka proves who it is; see `Settings.kafka_security`.

    Attributes:
        protocol: One of Kafka's four security protocols.
        mechanism: SASL mechanism; meaningful only with a SASL protocol.
        username: SASL user; None without SASL.
        password: SASL password; None without SASL.
        ssl_context: Ready TLS context; None without TLS.
    """

    protocol: str
    mechanism: str
    username: str | None
    password: str | None = field(repr=False)
    ssl_context: ssl.SSLContext | None


class Settings(BaseSettings):
    """Everything an installation may choose; frozen. Each field is `EXPERIMENT_<NAME>`.

    Raises:
        ValidationError: a value outside its domain; `load_settings` turns it into a
            ConfigurationError that names the variable.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    # Kafka.
    kafka_url: Annotated[str, AfterValidator(_without_scheme)] = Field(
        "localhost:9092",
        min_length=1,
        description="Kafka brokers to ask first, host:port, separated by commas.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        description="How to talk to Kafka. Plain by default because the embedded broker listens "
        "on loopback only; use SASL_SSL across a network.",
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512",
        description="How to prove the user to Kafka, when the protocol is a SASL one.",
    )
    sasl_username: str | None = Field(
        None, description="Kafka user; required by the SASL protocols."
    )
    sasl_password: SecretStr | None = Field(
        None, description="Kafka password; required by the SASL protocols."
    )
    ssl_cafile: Path | None = Field(
        None, description="Certificates that sign the brokers'; the system's when not set."
    )
    ssl_certfile: Path | None = Field(
        None, description="Own certificate, for brokers that ask clients for one."
    )
    ssl_keyfile: Path | None = Field(None, description="Private key of `ssl_certfile`.")
    kafka_timeout_s: float = Field(
        10.0,
        gt=0,
        le=300,
        description="Longest wait for one answer of Kafka, seconds. Ten outlive a leader election.",
    )
    kafka_startup_timeout_s: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="How long a starting worker waits for Kafka and Redis before it exits, "
        "seconds. A cluster that starts at the same time needs most of a minute.",
    )
    session_timeout_s: float = Field(
        10.0,
        ge=6,
        le=300,
        description="Silence after which a worker is taken for dead and its partitions move, "
        "seconds. Short is fast failover, long is patience with pauses; Kafka's floor is 6. "
        "The embedded stack uses 6, because its broker takes half of it to form a group.",
    )
    commit_interval_s: float = Field(
        1.0,
        gt=0,
        le=60,
        description="How often a worker commits its offsets, seconds. Only lag monitors read them: "
        "a worker resumes from its own progress record.",
    )

    # Topics.
    topic_prefix: str = Field(
        "",
        max_length=64,
        pattern=r"^[a-zA-Z0-9._-]*$",
        description="Stands before every topic and consumer group, so that several "
        "installations can share a cluster.",
    )
    partitions: int = Field(
        8,
        ge=1,
        le=1024,
        description="Partitions of every topic: the most workers that can share the load. Cannot "
        "change once topics exist. The embedded stack uses 4.",
    )
    replication_factor: int = Field(
        1,
        ge=1,
        le=9,
        description="Copies of every partition. One fits a single broker; use 3 in production.",
    )
    min_insync_replicas: int = Field(
        1,
        ge=1,
        le=9,
        description="Copies that must have a record before it counts as written. Use 2 with 3 "
        "copies: one broker may then be away.",
    )
    schema_registry_url: str | None = Field(
        None,
        description="Confluent-compatible schema registry. When set, records are written in its "
        "wire format; when not, Avro's single-object encoding needs no registry.",
    )

    # Redis.
    redis_url: str = Field(
        "redis://localhost:6379/0",
        min_length=1,
        repr=False,  # may hold a password
        description="Redis or Valkey. `rediss://` is TLS, user and password stand before the @, "
        "`?ssl_ca_certs=FILE` names its certificates.",
    )
    namespace: str = Field(
        "experiments",
        min_length=1,
        max_length=64,
        pattern=r"^[a-zA-Z0-9._-]+$",
        description="Stands before every Redis key and channel. Change it to project a replay "
        "beside the live state.",
    )
    sticky_ttl_s: int = Field(
        2_592_000,
        ge=60,
        le=31_536_000,
        description="How long Redis remembers the variant of a user or session under an adaptive "
        "policy, seconds. 30 days, the retention of the impressions.",
    )

    # Receipts.
    receipt_keys: SecretStr | None = Field(
        None,
        description="Keys that sign assignment ids: `id:hex` separated by commas, id 0 to 255, "
        "16 to 64 bytes. The first signs, all verify, so a new key goes first and the old one is "
        "kept until its receipts have expired. Required by api and worker; `experiment up` makes "
        "one.",
    )

    # API.
    api_host: str = Field(
        "127.0.0.1",
        description="Address the API listens on. Any other than loopback needs `api_keys_file`.",
    )
    api_port: int = Field(8080, ge=0, le=65535, description="Port of the API; 0 takes a free one.")
    api_keys_file: Path | None = Field(
        None,
        description="File of hashed API keys with their scopes. Without it the API is open, and "
        "starts on loopback only.",
    )
    max_body_bytes: int = Field(
        MIB,
        ge=1024,
        le=64 * MIB,
        description="Largest request body, bytes. One MiB is several thousand observations.",
    )
    command_timeout_s: float = Field(
        5.0,
        gt=0,
        le=60,
        description="How long the API waits for a worker's answer to a command, seconds, before "
        "it answers 503.",
    )
    snapshot_sweep_s: float = Field(
        5.0,
        gt=0,
        le=300,
        description="How often the API reads all snapshots again, seconds: the longest staleness "
        "after a lost announcement.",
    )
    data_dir: Path = Field(
        default_factory=lambda: user_data_path(APP),
        description="Where spool, logs and the generated receipt key of this machine are kept.",
        json_schema_extra={"default_text": "the user's data folder"},
    )
    spool_dir: Path = Field(
        default_factory=lambda data: data["data_dir"] / "spool",
        description="Where the API keeps what Kafka has not acknowledged. Two API processes must "
        "not share it.",
        json_schema_extra={"default_text": "`data_dir`/spool"},
    )
    spool_max_bytes: int = Field(
        GIB,
        ge=MIB,
        description="Most the spool may hold, bytes; then the API answers 503 and drops nothing.",
    )

    # Worker.
    tally_emit_interval_ms: int = Field(
        100,
        ge=1,
        le=60_000,
        description="Shortest time between two emissions of one tally cell, milliseconds. Most of "
        "the freshness of an allocation; shorter means more records in `tallies`.",
    )
    deduplication_max_entries: int = Field(
        1_000_000,
        ge=1_000,
        le=100_000_000,
        description="Events remembered per experiment and partition, to count each once. When "
        "full the oldest bucket goes first, and what would need it is refused, not guessed.",
    )
    worker_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of a worker's Prometheus page on loopback; 0 is none."
    )

    # Every process.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe message that is logged."
    )

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_username and self.sasl_password
        ):
            message = "sasl_username and sasl_password must be set with a SASL protocol"
            raise ValueError(message)
        if self.min_insync_replicas > self.replication_factor:
            message = (
                f"min_insync_replicas == {self.min_insync_replicas}, "
                f"must be <= replication_factor == {self.replication_factor}"
            )
            raise ValueError(message)
        return self

    @property
    def faust_app_id(self) -> str:
        """Consumer group of the workers, and first part of every changelog topic's name."""
        return f"{self.topic_prefix}{APP}"

    @property
    def faust_brokers(self) -> list[str]:
        """Broker addresses as Faust wants them: one `kafka://` URL each."""
        return [f"kafka://{address}" for address in self.kafka_url.split(",")]

    @property
    def signing_keys(self) -> str:
        """Receipt keys in clear, as `id:hex,id:hex`.

        Raises:
            ConfigurationError: none are set.
        """
        if self.receipt_keys is None or not self.receipt_keys.get_secret_value():
            raise ConfigurationError(
                f"{ENVIRONMENT_PREFIX}RECEIPT_KEYS is not set; it signs assignment ids",
                f"{ENVIRONMENT_PREFIX}RECEIPT_KEYS",
            )
        return self.receipt_keys.get_secret_value()

    def confluent_config(self) -> dict[str, str | int | float | bool]:
        """Return what every librdkafka client of this installation has in common."""
        config: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.kafka_url,
            "security.protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            assert self.sasl_password is not None  # noqa: S101 - _check_combinations saw to it
            config["sasl.mechanism"] = self.sasl_mechanism
            config["sasl.username"] = self.sasl_username or ""
            config["sasl.password"] = self.sasl_password.get_secret_value()
        if self.security_protocol.endswith("SSL"):
            for name, path in (
                ("ssl.ca.location", self.ssl_cafile),
                ("ssl.certificate.location", self.ssl_certfile),
                ("ssl.key.location", self.ssl_keyfile),
            ):
                if path is not None:
                    config[name] = str(path)
        return config

    def kafka_security(self) -> KafkaSecurity:
        """Return the same for clients that take an SSL context, as Faust and aiokafka do.

        Raises:
            ConfigurationError: a certificate or key cannot be read.
        """
        context = None
        if self.security_protocol.endswith("SSL"):
            try:
                context = ssl.create_default_context(cafile=self.ssl_cafile)
                if self.ssl_certfile is not None:
                    context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
            except (OSError, ssl.SSLError) as error:
                raise ConfigurationError(
                    f"a Kafka certificate cannot be read: {error}", f"{ENVIRONMENT_PREFIX}SSL_*"
                ) from error
        password = self.sasl_password.get_secret_value() if self.sasl_password else None
        return KafkaSecurity(
            self.security_protocol, self.sasl_mechanism, self.sasl_username, password, context
        )


def load_settings() -> Settings:
    """Return the settings of this process's environment.

    Raises:
        ConfigurationError: a variable has a value outside its domain; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        faults = [
            (f"{ENVIRONMENT_PREFIX}{'_'.join(map(str, fault['loc'])).upper()}", fault["msg"])
            for fault in error.errors(include_input=False, include_url=False)
            if fault["type"] != "default_factory_not_called"  # only follows from another fault
        ]
        text = "; ".join(
            f"{name}: {message}" if name != ENVIRONMENT_PREFIX else message
            for name, message in faults
        )
        raise ConfigurationError(text, faults[0][0]) from error
