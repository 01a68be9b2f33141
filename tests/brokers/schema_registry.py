"""Apicurio Registry by Java and Maven: a schema registry that speaks Confluent's API."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from streams.local.children import free_port
from tests.brokers.maven import fetched
from tests.patience import PATIENCE_S, until

HOST = "127.0.0.1"
START_S = 300.0
"""Longest start; it takes some 15 s of a processor."""

_POM = Path(__file__).parent / "registry-pom.xml"


def resolve_registry() -> Path:
    """Return the folder with the registry's jars, fetched the first time.

    Raises:
        ProgramMissingError: Java or Maven is not installed, or Maven cannot resolve the registry.
    """
    return fetched("Apicurio Registry", "schema-registry", [_POM], _unpack)


class SchemaRegistryServer:
    """A registry that keeps its schemas in a file, and so over a kill.

    Args:
        directory: Receives its log and its file.

    Attributes:
        url: Address of Confluent's API, for the engine.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = directory / "registry.log"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://{HOST}:{self._port}/apis/ccompat/v7"

    def start(self) -> None:
        """Start it with the schemas it has, and return when it answers.

        Raises:
            ProgramMissingError: this machine cannot run it.
            AssertionError: it ended or stayed silent; the message holds the tail of its log.
        """
        [jar] = resolve_registry().glob("*-runner.jar")
        command = (
            "java",
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",  # half the start, and tests are short
            "-jar",
            str(jar),
        )
        variables = {
            "QUARKUS_HTTP_HOST": HOST,
            "QUARKUS_HTTP_PORT": str(self._port),
            # Its storage in memory is H2 as well; without a delay a kill loses nothing.
            "QUARKUS_DATASOURCE_JDBC_URL": f"jdbc:h2:file:{self._directory}/schemas;WRITE_DELAY=0",
            # On a busy machine it would give up its own start after 5 s.
            "QUARKUS_DATASOURCE_JDBC_ACQUISITION_TIMEOUT": f"{START_S:.0f}S",
        }
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command, env=os.environ | variables, stdout=log, stderr=log, cwd=self._directory
            )
        self._process = process
        until(lambda: self._answers() or process.poll() is not None, START_S)
        assert process.poll() is None, self._log.read_text()[-4_000:]

    def run(self) -> None:
        """Have it run, whatever was done to it."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        self.thaw()

    def kill(self) -> None:
        """End it without warning."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it, if it runs."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Have it stop answering, connections and all, until it is thawed."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it continue."""
        self._running().send_signal(signal.SIGCONT)

    def register(self, subject: str, schema: str) -> int:
        """Register a schema as any other program would, and return its id."""
        body = {"schemaType": "AVRO", "schema": schema}
        return int(self._ask("POST", f"/subjects/{subject}/versions", body)["id"])

    def subjects(self) -> list[str]:
        """Return the names under which it has schemas."""
        return [str(each) for each in self._ask("GET", "/subjects")]

    def versions(self, subject: str) -> list[int]:
        """Return the versions of a subject."""
        return [int(each) for each in self._ask("GET", f"/subjects/{subject}/versions")]

    def schema(self, schema_id: int) -> str:
        """Return the text of a schema."""
        return str(self._ask("GET", f"/schemas/ids/{schema_id}")["schema"])

    def forget(self) -> None:
        """Delete every subject."""
        for subject in self.subjects():
            self._ask("DELETE", f"/subjects/{subject}")

    def require_compatibility(self, level: str) -> None:
        """Have it refuse schemas that are not compatible with those before."""
        self._ask("PUT", "/config", {"compatibility": level})

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
            answer = client.request(method, self.url + path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError), httpx.Client(trust_env=False) as client:
            return client.get(f"{self.url}/subjects").is_success
        return False

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the registry does not run"
        return self._process

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)  # or it could not take the other one
        process.send_signal(number)
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()


@contextmanager
def schema_registry(directory: Path) -> Iterator[SchemaRegistryServer]:
    """Yield a running registry without schemas that is gone afterwards.

    Raises:
        ProgramMissingError: this machine cannot run it.
    """
    server = SchemaRegistryServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _unpack(folder: Path) -> None:
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    archive.unlink()
