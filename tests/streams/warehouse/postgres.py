"""A PostgreSQL of a test's own: its data in a directory, its port free, its user not root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from streams.local.children import free_port
from tests.patience import until

USER = "warehouse"
_NAMES = ("postgres", "nobody")  # initdb refuses root


def _programs() -> Path:
    """Return the directory of `initdb` and `postgres`: Debian has them in one for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        _missing("install Debian's package postgresql")
    return Path(on_path).parent


def _missing(reason: str) -> NoReturn:
    reason = f"exports are tested on a real PostgreSQL; {reason}"
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def _user() -> str | None:
    """Return whom the server runs as; None for the user of this process."""
    if os.geteuid() != 0:
        return None
    known = {each.pw_name for each in pwd.getpwall()}
    for name in _NAMES:
        if name in known:
            return name
    _missing("it does not run as root")


class Server:
    """A PostgreSQL in a directory, which may be killed and started again.

    Attributes:
        address: Its address.
    """

    def __init__(self, directory: Path, user: str | None) -> None:
        self._directory = directory
        self._user = user
        self._programs = _programs()
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"postgresql://{USER}@127.0.0.1:{self._port}/postgres"
        data = directory / "data"
        subprocess.run(
            [self._programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "-N"],
            user=user,
            cwd=directory,
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._directory / "log").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(self._programs / "postgres", "-D", self._directory / "data"),
                    *("-p", str(self._port)),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
                    *("-c", "fsync=off"),  # the machine itself does not fail
                ],
                user=self._user,
                cwd=self._directory,
                stdout=output,
                stderr=output,
            )
        until(lambda: _answers(self.address))

    def end(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it: by SIGINT in order, by SIGQUIT as if its machine had failed."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    @contextmanager
    def stopped(self, session: int) -> Iterator[None]:
        """Stop it and one of its sessions while the block runs: neither answers nor ends."""
        assert self._process is not None
        processes = self._process.pid, session
        for each in processes:
            os.kill(each, signal.SIGSTOP)
        try:
            yield
        finally:
            for each in processes:
                os.kill(each, signal.SIGCONT)


@contextmanager
def started_server() -> Iterator[Server]:
    """Yield a server that runs, unless the block ends it."""
    user = _user()
    # Not below a directory of pytest's, which only its own user may enter.
    directory = Path(tempfile.mkdtemp(prefix="warehouse-"))
    if user is not None:
        shutil.chown(directory, user)
    try:
        server = Server(directory, user)
        try:
            server.start()
            yield server
        finally:
            server.end()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the address of a server that runs while the block does."""
    with started_server() as server:
        yield server.address


def _answers(address: str) -> bool:
    try:
        psycopg.connect(address, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def schema_of(address: str, name: str) -> str:
    """Return the address of an empty schema of that name."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
        connection.execute(f'CREATE SCHEMA "{name}"')
    return f"{address}?options=-csearch_path%3D{name}"
