"""Settings of an installation, read once from the environment.

Every process reads one `Settings` in its composition root and passes it down as arguments; nothing
below a root reads the environment. `docs/reference/settings.md` is rendered from the descriptions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError

from schemas.catalogue import APP
from streams.kafka.settings import ENVIRONMENT_PREFIX, KafkaSettings, url_of
from streams.model.errors import ConfigurationError
from streams.process.whole_files import read_whole

__all__ = ["ENVIRONMENT_PREFIX", "Settings", "load_settings", "variables"]

MIB = 2**20
GIB = 2**30


class Settings(KafkaSettings):
    """Everything an installation may choose; frozen. Each field is `EXPERIMENT_<NAME>`.

    Raises:
        ValidationError: a value outside its domain; `load_settings` turns it into a
            ConfigurationError that names the variable.
    """

    # Redis.
    redis_url: Annotated[str, url_of("redis", "rediss", "unix")] = Field(
        "redis://localhost:6379/0",
        min_length=1,
        repr=False,  # may hold a password
        description="URL of Redis or Valkey: `rediss://` for TLS, user and password before the @, "
        "`?ssl_ca_certs=FILE` for its certificates.",
    )
    namespace: str = Field(
        "experiments",
        min_length=1,
        max_length=64,
        pattern=r"^[a-zA-Z0-9._-]+$",
        description="Prefix of every Redis key and channel. Change it to project a replay beside "
        "the live state.",
    )
    sticky_ttl_s: int = Field(
        34_560_000,
        ge=60,
        le=315_360_000,
        description="Time for which Redis keeps unused first receipts, seconds; each use starts it "
        "again. Receipts live as long as their experiment; this removes those that no worker has "
        "removed after an archive. 400 days.",
    )

    # Receipts.
    receipt_keys: SecretStr | None = Field(
        None,
        description="Keys that sign assignment ids: `id:hex` separated by commas, id 0 to 255, "
        "16 to 64 bytes. The first signs, all verify; `id:hex:homepage+checkout` is limited to "
        "these experiments. docs/how-to/run-in-production.md says how to replace one. Required "
        "by api and worker, here or in `receipt_keys_file`; `experiment up` "
        "makes one.",
    )
    receipt_keys_file: Path | None = Field(
        None,
        description="File of the same keys, separated by commas or line breaks, read again at "
        "SIGHUP.",
    )

    # API.
    api_host: str = Field(
        "127.0.0.1",
        description="Address the API listens on. Any other than loopback needs `api_keys_file`.",
    )
    api_port: int = Field(8080, ge=0, le=65535, description="Port of the API; 0 takes a free one.")
    api_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes of the API that `experiment api` and `experiment up` start unless "
        "specified otherwise; they share the port, and restart when one ends.",
    )
    api_process: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_-]{0,32}$",
        description="Name of this process among several that share the port of the API "
        "(SO_REUSEPORT, of one user); the label `process` of its metrics. `experiment api "
        "--processes` sets it; set it where another process manager starts them. If empty, no "
        "other process can listen there.",
    )
    api_metrics_host: str = Field(
        "127.0.0.1",
        description="Address of the API's separate metrics port. It shows counts and ids of "
        "experiments without a key: expose it only inside a trusted network.",
    )
    api_metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Metrics port without a key; 0 for none. `GET /metrics` on the port of the API "
        "needs the scope `metrics` or `read` if there are keys.",
    )
    api_keys_file: Path | None = Field(
        None,
        description="File of hashed API keys with their scopes. Without it the API is open, and "
        "starts on loopback only.",
    )
    max_experiments: int = Field(
        1_000,
        ge=1,
        le=100_000,
        description="Largest number of experiments that are not archived; beyond it, `create` is "
        "refused. API processes count the experiments they know, so simultaneous calls can exceed "
        "it by a few.",
    )
    max_body_bytes: int = Field(
        MIB,
        ge=1024,
        le=64 * MIB,
        description="Largest request body, bytes, as sent and as unpacked. One MiB is "
        "several thousand observations.",
    )
    api_max_connections: int = Field(
        4_096,
        ge=1,
        le=65_536,
        description="Largest number of open connections of one API process, or of the dashboard, "
        "for which the following limits hold, too. A further one replaces a waiting one: the "
        "oldest that never sent a whole request, else the one that is idle for the longest time; "
        "if all are being answered, it gets 503. A few KiB each; the process "
        "raises its limit of open files to it if the system permits.",
    )
    api_head_timeout_s: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Time limit for request line and headers, seconds; then 408. A connection that "
        "sends nothing is closed after this time.",
    )
    api_body_timeout_s: float = Field(
        30.0,
        gt=0,
        le=3_600,
        description="Time limit for the body of a request, seconds; then 408.",
    )
    api_answer_timeout_s: float = Field(
        60.0,
        gt=0,
        le=3_600,
        description="Time for which a client may leave an answer unread, seconds; then its "
        "connection is closed.",
    )
    api_keep_alive_s: float = Field(
        75.0,
        gt=0,
        le=3_600,
        description="Time for which a connection may be idle between two requests, seconds. Set it "
        "longer than that of the load balancer, which otherwise uses closed connections.",
    )
    api_max_head_bytes: int = Field(
        64 * 1024,
        ge=1024,
        le=MIB,
        description="Largest request line with headers, bytes; beyond it 431. At most 100 headers.",
    )
    api_max_url_bytes: int = Field(
        8 * 1024,
        ge=256,
        le=64 * 1024,
        description="Longest request target, bytes; beyond it 414.",
    )
    cors_origins: str = Field(
        "",
        max_length=4_096,
        description="Origins of web pages that may call the API from a browser, separated by "
        "commas, as `https://shop.example`; `*` for all. If empty, an API without keys refuses "
        "pages of other origins, and browsers hide the answers of one with keys from them.",
    )
    public_url: str = Field(
        "",
        max_length=1_024,
        pattern=r"^(https?://[^/?#\s]+(/[^?#\s]*)?)?$",
        description="Address of the API as its clients reach it, as `https://api.example`, where a "
        "proxy is in front of it: event streams of feature flags are announced under it. If empty, "
        "`http://` and the host of the request.",
    )
    command_timeout_s: float = Field(
        5.0,
        gt=0,
        le=60,
        description="Time for which the API waits for a worker's answer to a command, seconds; "
        "then 503.",
    )
    snapshot_sweep_s: float = Field(
        5.0,
        gt=0,
        le=300,
        description="Interval at which the API reads all snapshots again, seconds: the longest "
        "staleness after a lost announcement.",
    )
    data_dir: Path = Field(
        default_factory=lambda: user_data_path(APP),
        description="Directory of the spool, the logs and the generated receipt key of this "
        "machine.",
        json_schema_extra={"default_text": "the user's data folder"},
    )
    spool_dir: Path = Field(
        default_factory=lambda data: data["data_dir"] / "spool",
        description="Directory of the records that Kafka has not acknowledged. Two API processes "
        "must not share it.",
        json_schema_extra={"default_text": "`data_dir`/spool"},
    )
    spool_max_bytes: int = Field(
        GIB,
        ge=MIB,
        description="Largest size of the spool, bytes; then the API answers 503 and drops nothing.",
    )

    api_loop_stall_s: float = Field(
        20.0,
        ge=2,
        le=3_600,
        description="Longest time for which the event loop of the API may be blocked, seconds; "
        "then the process logs the place and exits with code 70. Requests take milliseconds.",
    )

    # Dashboard.
    dashboard_host: str = Field(
        "127.0.0.1",
        description="Address the dashboard listens on. On any other than loopback people sign in "
        "with an API key.",
    )
    dashboard_port: int = Field(
        8090, ge=0, le=65535, description="Port of the dashboard; 0 takes a free one."
    )
    dashboard_api_url: str = Field(
        "",
        max_length=1_024,
        pattern=r"^(https?://[^/?#\s]+(/[^?#\s]*)?)?$",
        description="Address at which the dashboard reaches the API. If empty, `api_host` and "
        "`api_port` of this machine.",
    )
    dashboard_public_url: str = Field(
        "",
        max_length=1_024,
        pattern=r"^(https?://[^/?#\s]+)?/?$",
        description="Address of the dashboard as browsers reach it, as `https://exp.example`, "
        "where a proxy is in front of it. With `https:` its cookies are sent over TLS alone. If "
        "empty, that of the request.",
    )
    dashboard_session_s: int = Field(
        43_200,
        ge=60,
        le=31_622_400,
        description="Time after its last request for which a person stays signed in to the "
        "dashboard, seconds. Sessions are kept in memory, and end with the process.",
    )
    dashboard_metrics_host: str = Field(
        "127.0.0.1",
        description="Address of the dashboard's Prometheus page, without a key.",
    )
    dashboard_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of that page; 0 for none."
    )

    # Worker.
    worker_loop_stall_s: float = Field(
        120.0,
        ge=2,
        le=3_600,
        description="The same for a worker. Its longest uninterrupted work is the recovery of a "
        "partition, 1 to 2 s per million remembered events; 120 s suffice for as many as 8 GB "
        "hold. Raise it with `deduplication_max_entries`.",
    )
    tally_emit_interval_ms: int = Field(
        100,
        ge=1,
        le=3_600_000,
        description="Shortest time between two emissions of one tally cell, milliseconds. A cell "
        "that was not emitted for that long is emitted as soon as it changes, so only experiments "
        "under load wait for it; a shorter time means more records in `tallies`. A cell whose "
        "experiment the same worker has is evaluated there at once, and emitted at most every 500 "
        "ms.",
    )
    deduplication_max_entries: int = Field(
        1_000_000,
        ge=1_000,
        le=100_000_000,
        description="Events remembered per experiment and partition, so that each counts once. "
        "When it is full, the oldest bucket is dropped, and events that would need it are refused. "
        "The embedded stack takes 2,000,000 for two partitions, and 4,000,000 for one.",
    )
    recovery_stall_s: float = Field(
        300.0,
        ge=1,
        le=86_400,
        description="Time for which a worker that recovers its tables may read nothing, seconds; "
        "then it exits with code 70. A recovery that makes progress is not limited.",
    )
    archived_keep_s: int = Field(
        2_592_000,
        ge=0,
        le=366 * 86_400,
        description="Time for which an archived experiment is kept after its attribution window, "
        "seconds. Then it ends: late events are refused (`EXPERIMENT_ARCHIVED`), and it uses no "
        "memory and no space in Redis. Without a window, events count for this time.",
    )
    worker_metrics_host: str = Field(
        "127.0.0.1",
        description="Address of a worker's Prometheus page. It shows counts and no events, without "
        "a key: expose it only inside a trusted network.",
    )
    worker_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of a worker's Prometheus page; 0 for none."
    )

    # Webhooks.
    webhook_keys: SecretStr | None = Field(
        None,
        description="Keys that seal addresses and secrets of webhooks in the log: Fernet keys (32 "
        "bytes in URL-safe base64), separated by commas. The first seals, all open. The same for "
        "api and webhooks; without them there are no webhooks. `experiment up` makes one, "
        "`experiment keys env` prints one.",
    )
    webhook_keys_file: Path | None = Field(
        None, description="File of the same keys, separated by commas or line breaks."
    )
    webhook_allowed_networks: str = Field(
        "",
        max_length=2_000,
        description="Networks that webhooks may be sent to although they are not of the public "
        "Internet, as `10.1.0.0/16,fd00::/8`. Every process of webhooks can then be made to "
        "request what listens there.",
    )
    webhook_allow_http: bool = Field(
        False,
        description="Whether addresses of webhooks may be `http://`: bodies can then be read on "
        "the way.",
    )
    webhook_timeout_s: float = Field(
        15.0,
        gt=0,
        le=60,
        description="Longest time for one delivery of a webhook, from the look-up of the name to "
        "the end of the answer, seconds.",
    )
    webhook_retries_s: str = Field(
        "5,300,1800,7200,18000,36000,50400,72000,86400",
        max_length=500,
        pattern=r"^[1-9][0-9]{0,6}(,[1-9][0-9]{0,6}){0,19}$",
        description="Pauses after failed deliveries of an event, seconds; after the last one it "
        "is given up. The default is that of Standard Webhooks, some three days.",
    )
    webhooks_metrics_host: str = Field(
        "127.0.0.1",
        description="Address of the Prometheus page of the process of webhooks, without a key.",
    )
    webhooks_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of that page; 0 for none."
    )

    # Every process.
    write_schemas: str = Field(
        "",
        max_length=2_000,
        description="Highest schema versions to write, as `snapshot:1,tally_cell:1`. Not needed "
        "for an upgrade: the log holds what every process reads (`experiment schemas`). With a "
        "version that this release does not have, the process does not start.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe message that is logged."
    )

    @property
    def redis_address(self) -> str:
        """Address of Redis, without user and password."""
        parts = urlsplit(self.redis_url)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def signing_keys(self) -> str:
        """Receipt keys in clear, as `id:hex,id:hex` or in lines.

        Raises:
            ConfigurationError: none are set, or their file cannot be read.
        """
        text = _secret("RECEIPT_KEYS", self.receipt_keys, self.receipt_keys_file)
        if text is None:
            variable = f"{ENVIRONMENT_PREFIX}RECEIPT_KEYS"
            raise ConfigurationError(f"{variable} is not set; it signs assignment ids", variable)
        return text

    @property
    def sealing_keys(self) -> str | None:
        """Keys of webhooks in clear, separated by commas or in lines; None without one.

        Raises:
            ConfigurationError: their file cannot be read, or they are given twice.
        """
        return _secret("WEBHOOK_KEYS", self.webhook_keys, self.webhook_keys_file)


def _secret(name: str, value: SecretStr | None, file: Path | None) -> str | None:
    """Return a secret that a variable or a file has; None if neither is given."""
    variable = f"{ENVIRONMENT_PREFIX}{name}"
    given = "" if value is None else value.get_secret_value()
    if file is None:
        return given or None
    if given:
        raise ConfigurationError(f"{variable} and {variable}_FILE are set, must be one", variable)
    try:
        return read_whole(file).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}", f"{variable}_FILE") from error


def variables(settings: Settings) -> dict[str, str]:
    """Return the variables that give a child process these settings, secrets among them."""
    return {
        f"{ENVIRONMENT_PREFIX}{name.upper()}": str(
            value.get_secret_value() if isinstance(value, SecretStr) else value
        )
        for name, value in settings
        if value is not None
    }


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
