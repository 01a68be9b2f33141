"""A Docker engine: the one that is reachable, or a private one that ends with the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PACKAGES = "Debian: apt-get install docker.io docker-compose"
START_S = 60.0
STOP_S = 60.0
COMMAND_S = 900.0


class EngineMissingError(Exception):
    """This machine cannot run containers; the message says what it lacks."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker engine.

    Attributes:
        environment: Variables with which `docker` and `docker-compose` reach it.
        is_private: Whether it was started for this run, so that it has no other images.
    """

    environment: Mapping[str, str]
    is_private: bool

    def run(
        self, *command: str, check: bool = True, timeout_s: float = COMMAND_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command against it, and return what it printed.

        Raises:
            AssertionError: it failed, and `check` is true; the message has its output.
        """
        done = subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if check and done.returncode:
            output = f"{done.stdout}{done.stderr}"
            message = f"{' '.join(command)} ended with {done.returncode}:\n{output[-6000:]}"
            raise AssertionError(message)
        return done

    def docker(self, *arguments: str, check: bool = True) -> str:
        """Run `docker`, and return its output without the last line break."""
        return self.run("docker", *arguments, check=check).stdout.rstrip("\n")


@contextmanager
def docker_engine(directory: Path) -> Iterator[Engine]:
    """Yield the engine that `docker` reaches, or else a private one with its data in `directory`.

    The private one has its own socket, data root and containerd, and leaves the firewall and the
    forwarding of this machine alone: its containers reach each other and what is published, and
    nothing else. It needs root.

    Raises:
        EngineMissingError: there is no client, or no engine and none can be started.
    """
    if shutil.which("docker") is None:
        raise EngineMissingError(f"no `docker`; install it ({PACKAGES})")
    reachable = Engine(dict(os.environ), is_private=False)
    if reachable.run("docker", "version", check=False).returncode == 0:
        yield reachable
        return
    if shutil.which("dockerd") is None:
        raise EngineMissingError(
            f"`docker` reaches no engine, and there is no `dockerd`; install it ({PACKAGES})"
        )
    if os.geteuid() != 0:
        raise EngineMissingError(
            "`docker` reaches no engine; start the service, or run this as root, so that it can "
            "start a private one"
        )
    with _private_engine(directory) as engine:
        yield engine


@contextmanager
def _private_engine(directory: Path) -> Iterator[Engine]:
    socket = f"unix://{directory}/docker.sock"
    log = directory / "dockerd.log"
    command = (
        "dockerd",
        f"--host={socket}",
        f"--data-root={directory}/data",
        f"--exec-root={directory}/exec",
        f"--pidfile={directory}/pid",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--bridge=none",
    )
    engine = Engine({**os.environ, "DOCKER_HOST": socket}, is_private=True)
    with log.open("wb") as output:
        # A separate session: a Ctrl-C is for the test, which then stops the engine in order.
        daemon = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + START_S
        while engine.run("docker", "version", check=False).returncode:
            if daemon.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-3000:]
                raise EngineMissingError(f"dockerd does not start:\n{tail}")
            time.sleep(0.2)
        yield engine
    finally:
        daemon.terminate()
        try:
            daemon.wait(STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        # The network namespace of the machine, which dockerd leaves mounted where it kept it.
        for mounted in (directory / "exec" / "netns").glob("*"):
            subprocess.run(("umount", "--lazy", str(mounted)), capture_output=True, check=False)
