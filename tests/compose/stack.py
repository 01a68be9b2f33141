"""A project of docker-compose.yml, on free ports and with its own secrets."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.api_keys import Scope, add_key
from streams.cli.keys import cluster_id
from tests.brokers.kafka import free_ports
from tests.compose.engine import PACKAGES, Engine, EngineMissingError
from tests.patience import until

ROOT = Path(__file__).parents[2]
HEALTHY_S = 400.0
POLL_S = 0.5

LONG_RUNNING = ("kafka", "redis", "worker", "api", "webhooks", "dashboard")
"""Services without a profile that run until they are stopped."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A project of docker-compose.yml.

    Attributes:
        project: Its name.
        file: The environment file with its secrets and ports.
        api_key: A key with every scope.
        api_port, prometheus_port, dashboard_port: Where it is published.
    """

    engine: Engine
    project: str
    file: Path
    image: str
    api_key: str
    api_port: int
    prometheus_port: int
    dashboard_port: int

    @property
    def api_url(self) -> str:
        """Address of the API."""
        return f"http://127.0.0.1:{self.api_port}"

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run docker-compose on the project, and return what it printed."""
        options = ("--env-file", str(self.file), "--project-name", self.project)
        return self.engine.run(
            *compose_command(self.engine),
            "--file",
            str(ROOT / "docker-compose.yml"),
            *options,
            *arguments,
            check=check,
        ).stdout

    def containers(self, service: str = "") -> list[str]:
        """Return the ids of the containers that exist, of one service or of all."""
        filters = [f"label=com.docker.compose.project={self.project}"]
        if service:
            filters.append(f"label=com.docker.compose.service={service}")
        options = [part for each in filters for part in ("--filter", each)]
        return self.engine.docker("ps", "--all", "--quiet", "--no-trunc", *options).split()

    def inspect(self, container: str) -> dict[str, Any]:
        """Return what the engine knows of a container."""
        [found] = json.loads(self.engine.docker("inspect", container))
        assert isinstance(found, dict)
        return found

    def up(self, *options: str) -> float:
        """Start what is not running, wait until everything is healthy, and return the seconds."""
        began = time.monotonic()
        self.compose("up", "--detach", "--no-build", *options)
        self.wait_until_healthy()
        return time.monotonic() - began

    def wait_until_healthy(self) -> None:
        """Return once every container is healthy, or has ended with 0 if it is a task.

        Raises:
            AssertionError: that takes longer than `HEALTHY_S`; the message has the last logs.
        """
        deadline = time.monotonic() + HEALTHY_S
        while unready := [each for each in self.containers() if not self._is_ready(each)]:
            if time.monotonic() > deadline:
                logs = [self.logs(container)[-3000:] for container in unready]
                raise AssertionError("not healthy:\n" + "\n".join(logs))
            time.sleep(POLL_S)

    def logs(self, container: str) -> str:
        """Return what a container has written."""
        done = self.engine.run("docker", "logs", "--tail", "60", container, check=False)
        return f"{container[:12]}: {done.stdout}{done.stderr}"

    @contextmanager
    def beside(self, name: str, program: str) -> Iterator[str]:
        """Run a program of Python in the network of the project, under a host name.

        Yields:
            Its container, which is gone afterwards.
        """
        container = self.engine.docker(
            "run", "--detach", f"--network={self.project}_default", f"--network-alias={name}",
            "--read-only", "--cap-drop=ALL", "--entrypoint=python", self.image, "-c", program,
        )  # fmt: skip
        try:
            yield container
        finally:
            self.engine.docker("rm", "--force", container)

    def kill(self, container: str) -> None:
        """End the main process of a container without warning; its restart policy starts it again.

        `docker kill` would count as a stop that was asked for, after which nothing is started.
        """
        before = self.inspect(container)
        pid = int(before["State"]["Pid"])
        if self.engine.is_private or _is_of(pid, container):
            os.kill(pid, signal.SIGKILL)
            until(lambda: self.inspect(container)["RestartCount"] > before["RestartCount"])
        else:  # an engine in a virtual machine
            self.engine.docker("kill", container)
            self.engine.docker("start", container)

    def _is_ready(self, container: str) -> bool:
        state = self.inspect(container)["State"]
        if "Health" in state:
            return bool(state["Health"]["Status"] == "healthy")
        return bool(state["Status"] == "exited" and state["ExitCode"] == 0)


@contextmanager
def new_stack(engine: Engine, image: str, directory: Path) -> Iterator[Stack]:
    """Yield a project with fresh secrets, and remove it with its volumes."""
    api_port, kafka_port, prometheus_port, grafana_port, dashboard_port = free_ports(5)
    keys = directory / "api-keys.json"
    api_key = add_key(keys, "test", list(Scope))
    file = directory / "env"
    settings = {
        "EXPERIMENT_IMAGE": image,
        "EXPERIMENT_RECEIPT_KEYS": f"1:{secrets.token_hex(32)}",
        "EXPERIMENT_WEBHOOK_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "EXPERIMENT_WEBHOOK_ALLOWED_NETWORKS": "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
        "EXPERIMENT_WEBHOOK_ALLOW_HTTP": "true",
        "REDIS_PASSWORD": secrets.token_hex(24),
        "KAFKA_CLUSTER_ID": cluster_id(),
        "GRAFANA_PASSWORD": secrets.token_hex(24),
        "API_KEYS_FILE": str(keys),
        "API_PORT": str(api_port),
        "KAFKA_PORT": str(kafka_port),
        "PROMETHEUS_PORT": str(prometheus_port),
        "GRAFANA_PORT": str(grafana_port),
        "DASHBOARD_PORT": str(dashboard_port),
    }
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    project = f"experiment-test-{secrets.token_hex(4)}"
    stack = Stack(engine, project, file, image, api_key, api_port, prometheus_port, dashboard_port)
    try:
        yield stack
    finally:
        stack.compose("--profile", "monitoring", "--profile", "archive", "down", "--volumes")


def compose_command(engine: Engine) -> Sequence[str]:
    """Return the command of Compose 2, or else of 1.

    Raises:
        EngineMissingError: there is neither.
    """
    if engine.run("docker", "compose", "version", check=False).returncode == 0:
        return ("docker", "compose")
    if shutil.which("docker-compose") is None:
        raise EngineMissingError(
            f"neither `docker compose` nor `docker-compose`; install it ({PACKAGES})"
        )
    return ("docker-compose",)


def _is_of(pid: int, container: str) -> bool:
    try:
        return container in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
