"""Check that the cluster answers, with one code for each cause of failure, within two seconds.

librdkafka retries forever and reports a wrong password as "Broker transport failure" at the time
limit of its caller. Its error callback reports the cause; where that reports none, a handshake with
the listener finds it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from streams.kafka.listeners import asks_for_sasl, speaks_tls
from streams.kafka.settings import ENVIRONMENT_PREFIX, KafkaSettings
from streams.model.errors import ConfigurationError, DependencyError, EngineError

SLICE_S = 0.4
"""Time limit of one request, after which the reported causes are read."""

RESOLVE_PATIENCE_S = 2.0
"""Time for which a name may fail to resolve, as that of a container that is about to start does."""

_DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}


class ClusterError(ConfigurationError):
    """The cluster does not let this process in, or not do what it must.

    `KAFKA_TLS_FAILED`, `KAFKA_AUTHENTICATION_FAILED`, `KAFKA_PROTOCOL_MISMATCH`,
    `KAFKA_ACCESS_DENIED`: with these settings no retry helps.
    """

    dependency = "kafka"

    def __init__(self, code: str, message: str, path: str = "") -> None:
        super().__init__(message, f"{ENVIRONMENT_PREFIX}{path}" if path else "")
        self.code = code


def is_denied(error: KafkaError) -> bool:
    """Return whether Kafka says that a right is missing."""
    return error.code() in _DENIED


def denied(settings: KafkaSettings, missing: str) -> ClusterError:
    """Return the error of missing rights, written as `READ on topic observations`."""
    return ClusterError(
        "KAFKA_ACCESS_DENIED",
        f"{_user(settings)} lacks {missing}; see the table of rights in docs/reference/security.md",
    )


def admin_client(settings: KafkaSettings) -> AdminClient:
    """Return a client of a cluster that answers.

    Raises:
        ClusterError: it does not let this process in; the code says why.
        DependencyError: it does not answer (`DEPENDENCY_UNAVAILABLE`), or there is no such host
            (`KAFKA_UNKNOWN_HOST`).
    """
    causes: list[KafkaError] = []
    # The exceptions say what failed, once; librdkafka would say it many times a second.
    config: dict[str, Any] = {"log_level": 0, "error_cb": causes.append}
    with _refused_settings():
        client = AdminClient(settings.confluent_config() | config)
    started = time.monotonic()
    while True:
        try:
            client.list_topics("", timeout=SLICE_S)
        except KafkaException as error:
            client.poll(0)  # has the callback called
            waited_s = time.monotonic() - started
            found = _cause(settings, causes, waited_s)
            if found is not None:
                raise found from error
            if waited_s > settings.kafka_timeout_s:
                raise _unreachable(settings, causes, error) from error
            time.sleep(SLICE_S / 8)  # an address that refuses at once must not be asked at once
        else:
            return client


def explained(settings: KafkaSettings, error: KafkaError, what: str) -> EngineError:
    """Return the error of something that Kafka did not do.

    Args:
        settings: Where it was asked, and as whom.
        error: What it said.
        what: What was asked for, with the name of the topic or group: "reading observations".
    """
    if is_denied(error):
        return denied(settings, f"a right for {what} ({error.str()})")
    return DependencyError("kafka", f"Kafka at {settings.kafka_url}, {what}: {error.str()}")


def _cause(
    settings: KafkaSettings, causes: list[KafkaError], waited_s: float
) -> EngineError | None:
    """Return why the cluster does not let this process in; None while that is not known."""
    by_code = {error.code(): error for error in causes}
    # First, since a listener that asks for no SASL is reported as one that refuses the password.
    mismatch = _protocol_mismatch(settings)
    if mismatch is not None:
        return mismatch
    if KafkaError._AUTHENTICATION in by_code:  # noqa: SLF001 - its public name
        return ClusterError(
            "KAFKA_AUTHENTICATION_FAILED",
            f"Kafka at {settings.kafka_url} does not accept user "
            f"{settings.sasl_username!r} with this password by {settings.sasl_mechanism}",
            "SASL_PASSWORD",
        )
    if KafkaError._SSL in by_code:  # noqa: SLF001
        return ClusterError(
            "KAFKA_TLS_FAILED",
            f"Kafka at {settings.kafka_url} cannot be verified: "
            f"{_tail(by_code[KafkaError._SSL])}; set the authority that signs the brokers' "  # noqa: SLF001
            "certificates",
            "SSL_CAFILE",
        )
    for error in causes:
        if "alert" in error.str() and "SSL" in error.str():
            return ClusterError(
                "KAFKA_TLS_FAILED",
                f"Kafka at {settings.kafka_url} asks for a certificate that it knows: "
                f"{_tail(error)}",
                "SSL_CERTFILE",
            )
    if KafkaError._RESOLVE in by_code and waited_s > RESOLVE_PATIENCE_S:  # noqa: SLF001
        return DependencyError(
            "kafka",
            f"{settings.kafka_url}: {_tail(by_code[KafkaError._RESOLVE])}",  # noqa: SLF001
            code="KAFKA_UNKNOWN_HOST",
        )
    return None


def _protocol_mismatch(settings: KafkaSettings) -> ClusterError | None:
    """Return the error of a listener that speaks another protocol; None if that is not seen."""
    wants_tls = settings.security_protocol.endswith("SSL")
    wants_sasl = settings.security_protocol.startswith("SASL")
    for address in settings.kafka_url.split(","):
        speaks = speaks_tls(address)
        if speaks is None:
            continue
        if speaks != wants_tls:
            has, needs = ("does not speak", "without") if wants_tls else ("speaks", "with")
            return _mismatch(
                settings, f"{address} {has} TLS, so it must be asked {needs} it; the protocol is"
            )
        asks = asks_for_sasl(address, by_tls=wants_tls)
        if asks is not None and asks != wants_sasl:
            says = "asks its clients for SASL" if asks else "does not ask for SASL"
            return _mismatch(settings, f"{address} {says}; the protocol is")
    return None


def _mismatch(settings: KafkaSettings, what: str) -> ClusterError:
    return ClusterError(
        "KAFKA_PROTOCOL_MISMATCH", f"{what} {settings.security_protocol}", "SECURITY_PROTOCOL"
    )


def _unreachable(
    settings: KafkaSettings, causes: list[KafkaError], error: KafkaException
) -> EngineError:
    reasons = [each for each in causes if each.code() != KafkaError._ALL_BROKERS_DOWN]  # noqa: SLF001
    if not reasons and any(map(speaks_something, settings.kafka_url.split(","))):
        return ClusterError(
            "KAFKA_PROTOCOL_MISMATCH",
            f"Kafka at {settings.kafka_url} closes the connections of a client with "
            f"{settings.security_protocol}; see whether it asks for SASL",
            "SECURITY_PROTOCOL",
        )
    reason = _tail(reasons[-1]) if reasons else error.args[0].str()
    return DependencyError("kafka", f"Kafka at {settings.kafka_url}: {reason}")


def speaks_something(address: str) -> bool:
    """Return whether a server listens at an address."""
    return speaks_tls(address) is not None


@contextmanager
def _refused_settings() -> Iterator[None]:
    """Turn what librdkafka says of its settings into an error of those."""
    try:
        yield
    except KafkaException as error:
        reason = error.args[0].str()
        path = next((name for name in _FILES if f"{_FILES[name]} " in reason), "")
        code = "KAFKA_TLS_FAILED" if path else "CONFIGURATION"
        raise ClusterError(code, f"Kafka's client refuses the settings: {reason}", path) from error


_FILES = {
    "SSL_CAFILE": "ssl.ca.location",
    "SSL_CERTFILE": "ssl.certificate.location",
    "SSL_KEYFILE": "ssl.key.location",
}


def _user(settings: KafkaSettings) -> str:
    if settings.security_protocol.startswith("SASL"):
        return f"Kafka user {settings.sasl_username!r}"
    return "the Kafka user of this process"


def _tail(error: KafkaError) -> str:
    """Return what an error says, without the address that begins it and the state that ends it."""
    text = error.str()
    with contextlib.suppress(ValueError):
        text = text[text.index(": ") + 2 :] if "://" in text or "/bootstrap" in text else text
    return text.partition(" (after ")[0]
