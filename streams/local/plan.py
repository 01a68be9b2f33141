"""Plan of `experiment up`: addresses, directories, and the environment of its children."""

from __future__ import annotations

import base64
import errno
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.model.errors import ConfigurationError
from streams.process.durable_files import write_durably
from streams.settings import ENVIRONMENT_PREFIX

RECEIPT_KEY_BYTES = 32
WEBHOOK_KEY_BYTES = 32
EMBEDDED_PARTITIONS = 2
"""Partitions of a new log of the embedded broker, unless it has more workers. Every partition costs
API, broker and worker a separate batch, whose price hardly depends on its records."""

REMEMBERED_EVENTS = 4_000_000
"""Events of an experiment that all partitions of the embedded broker remember together, if they are
spread evenly; one partition remembers at least a quarter of them."""

EMBEDDED_SESSION_TIMEOUT_S = 6


@dataclass(frozen=True, slots=True)
class StackPlan:
    """A stack that does not run yet.

    Attributes:
        host: Address the API will listen on.
        port: Port the API will listen on; not 0.
        workers: Number of worker processes, at least 1.
        directory: Logs, spool and receipt key of this stack; no other stack may use it.
        kafka_url: An external Kafka; None starts the embedded broker.
        redis_url: An external Redis; None starts the embedded one.
        api_processes: Number of API processes, at least 1; several share the port.
        is_ephemeral: Whether the log of the embedded broker ends with it, and is not kept.
        dashboard_port: Port of the dashboard, on the host of the API; not 0. None without one.
    """

    host: str
    port: int
    workers: int
    directory: Path
    kafka_url: str | None = None
    redis_url: str | None = None
    api_processes: int = 1
    is_ephemeral: bool = False
    dashboard_port: int | None = None

    @property
    def persists(self) -> bool:
        """Whether the log is to be kept on disk here: an external Kafka keeps its own."""
        return self.kafka_url is None and not self.is_ephemeral

    @property
    def url(self) -> str:
        """URL of the API."""
        return f"http://{_bracketed(self.host)}:{self.port}"

    @property
    def dashboard_url(self) -> str:
        """URL of the dashboard, as reached from this machine; empty without one."""
        port = self.dashboard_port
        return "" if port is None else f"{self.local_url.rpartition(':')[0]}:{port}"

    @property
    def local_url(self) -> str:
        """URL of the API, as reached from this machine when it listens on every address."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://{_bracketed(host)}:{self.port}"

    def check_port(self) -> None:
        """Check that the API can listen at its address.

        Raises:
            ConfigurationError: another process listens there, or the address is not this machine's.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except (OSError, UnicodeError) as error:  # UnicodeError: of a label that is too long
                is_used = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
                reason = (
                    "is already in use; is another stack running?"
                    if is_used
                    else f"cannot be used: {getattr(error, 'strerror', None) or error}"
                )
                raise ConfigurationError(f"port {self.port} of {self.host} {reason}") from error

    @contextmanager
    def owned_directory(self) -> Iterator[None]:
        """Hold the directory for this process alone, so that no two stacks share a spool.

        Raises:
            ConfigurationError: another stack holds it, or it cannot be made.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self.directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"{self.directory} cannot be used: {error.strerror or error}"
            ) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigurationError(f"{self.directory} is used by another stack") from error
            if not self.persists and journal_of(self.directory).exists():
                raise ConfigurationError(
                    f"{self.directory} holds the log of a stack that persists; an ephemeral one, "
                    "and one with another Kafka, need a separate directory",
                    "--data-dir",
                )
            yield
        finally:
            os.close(lock)

    def overrides(
        self,
        kafka_url: str,
        redis_url: str,
        environment: Mapping[str, str],
        partitions: int | None = None,
    ) -> dict[str, str]:
        """Return the settings of this stack, without the prefix, that its children must share.

        Args:
            kafka_url: Broker addresses, now known.
            redis_url: Redis, now known.
            environment: That of this process; its partitions, remembered events and keys take
                precedence.
            partitions: Partitions of the log that is kept here; None without one.
        """
        names = {
            "KAFKA_URL": kafka_url,
            "REDIS_URL": redis_url,
            "API_HOST": self.host,
            "API_PORT": str(self.port),
            "DASHBOARD_HOST": self.host,
            "DASHBOARD_PORT": str(self.dashboard_port or 0),
            "DASHBOARD_API_URL": self.local_url,
            "DATA_DIR": str(self.directory),
            "SPOOL_DIR": str(self.directory / "spool"),
        }
        if self.kafka_url is None:  # one broker, on loopback, whatever the environment is for
            partitions = partitions or max(EMBEDDED_PARTITIONS, self.workers)
            own = {
                "PARTITIONS": partitions,
                "DEDUPLICATION_MAX_ENTRIES": REMEMBERED_EVENTS // min(partitions, 4),
            }
            for name, value in own.items():
                names[name] = environment.get(f"{ENVIRONMENT_PREFIX}{name}", str(value))
            names |= {
                "SESSION_TIMEOUT_S": str(EMBEDDED_SESSION_TIMEOUT_S),
                "SECURITY_PROTOCOL": "PLAINTEXT",
                "REPLICATION_FACTOR": "1",
                "MIN_INSYNC_REPLICAS": "1",
            }
        variable = f"{ENVIRONMENT_PREFIX}RECEIPT_KEYS"
        if variable not in environment and f"{variable}_FILE" not in environment:
            names["RECEIPT_KEYS_FILE"] = str(generated_receipt_keys(self.directory))
        variable = f"{ENVIRONMENT_PREFIX}WEBHOOK_KEYS"
        if variable not in environment and f"{variable}_FILE" not in environment:
            names["WEBHOOK_KEYS_FILE"] = str(generated_webhook_keys(self.directory))
        return names

    def worker_environments(self, environment: Mapping[str, str]) -> list[dict[str, str]]:
        """Return one environment a worker; their metrics pages, if any, take successive ports."""
        name = f"{ENVIRONMENT_PREFIX}WORKER_METRICS_PORT"
        first = int(environment.get(name, 0))
        return [
            {**environment, name: str(first + index if first else 0)}
            for index in range(self.workers)
        ]


def journal_of(directory: Path) -> Path:
    """Return the path of the journal of a stack, given its data directory."""
    return directory / "journal.sqlite3"


def generated_receipt_keys(directory: Path) -> Path:
    """Return the file of receipt keys of `directory`, made with one key and mode 0600 if absent."""
    return _generated(directory / "receipt-keys", f"1:{secrets.token_hex(RECEIPT_KEY_BYTES)}")


def generated_webhook_keys(directory: Path) -> Path:
    """Return the file of webhook keys of `directory`, made with one key and mode 0600 if absent."""
    key = base64.urlsafe_b64encode(secrets.token_bytes(WEBHOOK_KEY_BYTES)).decode()
    return _generated(directory / "webhook-keys", key)


def _generated(path: Path, content: str) -> Path:
    """Return a file of a secret, made with these contents and mode 0600 if it is absent.

    The caller holds the directory for itself.
    """
    if not path.exists():
        write_durably(path, f"{content}\n".encode(), 0o600)
    return path


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
