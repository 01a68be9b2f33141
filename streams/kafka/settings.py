"""Settings of the connection to Kafka and of its topics: the first part of `Settings`."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.catalogue import UNPACKED_BYTES, Topic, app_id, of_generation
from streams.model.errors import ConfigurationError

ENVIRONMENT_PREFIX = "EXPERIMENT_"


MAX_PORT = 65_535


def _addresses(text: str) -> str:
    """Return a list of `host:port`, of `kafka://host:port` as people write it.

    Raises:
        ValueError: an address is empty, or has a space or a port that does not exist.
    """
    found = [part.strip().removeprefix("kafka://") for part in text.split(",")]
    for each in found:
        port = each.rpartition(":")[2]
        if not each or not each.isprintable() or " " in each:
            raise ValueError("must be addresses like host:port, separated by commas")
        if port.isdecimal() and int(port[:6]) > MAX_PORT:
            raise ValueError(f"a port must be at most {MAX_PORT}")
    return ",".join(found)


def url_of(*schemes: str) -> AfterValidator:
    """Return the check of a URL with one of some schemes; one that is not given is valid."""

    def check(url: str | None) -> str | None:
        if not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in schemes or not url.isprintable():
            begin = " or ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"must be a URL that begins with {begin}")
        _ = parts.port  # refuses one that does not exist
        return url

    return AfterValidator(check)


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """Credentials for a client other than librdkafka; see `KafkaSettings.kafka_security`.

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


class KafkaSettings(BaseSettings):
    """Kafka's part of the settings, and the configuration of each kind of client from it."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    kafka_url: Annotated[str, AfterValidator(_addresses)] = Field(
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
        description="How long a starting worker waits for Kafka, and a worker or an API for the "
        "schema registry, before it exits, seconds. A cluster that starts at the same time needs "
        "most of a minute.",
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
        description="How often a worker commits its offsets, seconds. It resumes from its own "
        "progress record. Lag monitors, `experiment doctor`, schedules with `holdOn`, and "
        "`replay rebuild` read the offsets.",
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
        "change once topics exist. The embedded stack begins a log with 2, or "
        "with one for each worker if those are more, and keeps that number.",
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
    generation: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="Which generation of tables, tallies and snapshots a worker derives from the "
        "log. Another one than is active is built beside it by `experiment replay rebuild`.",
    )
    schema_registry_url: Annotated[str | None, url_of("http", "https")] = Field(
        None,
        max_length=2_048,
        pattern=r"^(https?://[^\s/]+(/\S*)?)?$",
        repr=False,
        description="Confluent-compatible schema registry, as "
        "`https://user:password@registry.example`. When set, records are written in its wire "
        "format; when not, Avro's single-object encoding needs no registry.",
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
        """Consumer group of the generation's workers, and first part of their changelogs' names."""
        return f"{self.topic_prefix}{app_id(self.generation)}"

    @property
    def heartbeat_s(self) -> float:
        """Time between two heartbeats of a member of a consumer group, in seconds."""
        return min(2.0, self.session_timeout_s / 5)

    def topic_name(self, topic: Topic) -> str:
        """Return the full name of a topic of the catalogue, or of what stands for it here."""
        return of_generation(topic, self.generation).full_name(self.topic_prefix)

    @property
    def faust_brokers(self) -> list[str]:
        """Broker addresses as Faust wants them: one `kafka://` URL each."""
        return [f"kafka://{address}" for address in self.kafka_url.split(",")]

    def confluent_config(self) -> dict[str, str | int | float | bool]:
        """Return what every librdkafka client of this installation has in common."""
        config: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.kafka_url,
            "security.protocol": self.security_protocol,
            # A topic that a broker creates has its defaults, not what exact counts need.
            "allow.auto.create.topics": False,
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

    def reading_config(self) -> dict[str, str | int | float | bool]:
        """Return what every librdkafka consumer of records has in common."""
        # librdkafka applies it to unpacked batches of zstd, and by default refuses ordinary ones.
        return self.confluent_config() | {"message.max.bytes": UNPACKED_BYTES}

    def group_config(self, group: str) -> dict[str, str | int | float | bool]:
        """Return the configuration of a consumer in `group` that commits its offsets itself.

        It is taken for dead as soon as a worker is. With librdkafka's own 45 s, the embedded broker
        takes 23 s to form a group of one.
        """
        return self.reading_config() | {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": int(1000 * self.session_timeout_s),
            "heartbeat.interval.ms": int(1000 * self.heartbeat_s),
        }

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
