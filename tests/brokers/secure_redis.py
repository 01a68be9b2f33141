"""Redis behind TLS, with a user for each kind of caller and nothing on a plain port."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from streams.local.children import Child, free_port
from tests.patience import PATIENCE_S

HOST = "127.0.0.1"
ENGINE, ADMIN = "engine", "admin"
PASSWORD = "correct-horse-battery"


class RedisMissingError(Exception):
    """This machine has no Redis that speaks TLS; the message says what to install."""


@dataclass(frozen=True, slots=True)
class SecureRedis:
    """A running Redis.

    Attributes:
        ca: Certificate that signs the server's.
    """

    port: int
    ca: Path

    def url(self, user: str = ENGINE, password: str = PASSWORD, ca: Path | None = None) -> str:
        """Return its address for a user, who trusts this authority."""
        return f"rediss://{user}:{password}@{HOST}:{self.port}/0?ssl_ca_certs={ca or self.ca}"

    def denied(self) -> list[str]:
        """Return what users have tried without the right to it."""
        with redis.Redis.from_url(self.url(ADMIN), decode_responses=True) as client:
            return [f"{each['username']}: {each['object']}" for each in client.acl_log()]


@asynccontextmanager
async def secure_redis(directory: Path, rules: str) -> AsyncIterator[SecureRedis]:
    """Run a Redis whose user `engine` has these rules of ACL.

    Raises:
        RedisMissingError: there is no `redis-server`, or no `openssl`.
    """
    for name, package in (("redis-server", "redis-server"), ("openssl", "openssl")):
        if shutil.which(name) is None:
            raise RedisMissingError(f"no {name}; install Debian's package {package}")
    ca = authority(directory / "pki")
    acl = directory / "users.acl"
    acl.write_text(
        "user default off\n"
        f"user {ADMIN} on >{PASSWORD} ~* &* +@all\n"
        f"user {ENGINE} on >{PASSWORD} {rules}\n"
    )
    port = free_port()
    (directory / "data").mkdir()
    options = {
        "port": "0",
        "tls-port": str(port),
        "bind": HOST,
        "tls-cert-file": str(ca.with_name("server.crt")),
        "tls-key-file": str(ca.with_name("server.key")),
        "tls-ca-cert-file": str(ca),
        "tls-auth-clients": "no",
        "aclfile": str(acl),
        "dir": str(directory / "data"),
        "save": "",
    }
    command = ["redis-server", *(part for name in options for part in (f"--{name}", options[name]))]
    server = Child("redis", command, {}, directory)
    found = SecureRedis(port, ca)
    await server.start()

    async def answers() -> bool:
        with contextlib.suppress(redis.RedisError, OSError):
            return await asyncio.to_thread(_ping, found.url(ADMIN))
        return False

    try:
        await server.ready(answers, PATIENCE_S)
        yield found
    finally:
        await server.stop()


def authority(directory: Path) -> Path:
    """Make a certificate authority and a server's certificate; return the former's."""
    directory.mkdir()
    (directory / "names").write_text(f"subjectAltName=IP:{HOST},DNS:localhost")
    for arguments in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt",
        "req -newkey rsa:2048 -nodes -subj /CN=redis -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -extfile names -out server.crt",
    ):
        done = subprocess.run(
            ("openssl", *arguments.split()),
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return directory / "ca.crt"


def _ping(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return bool(client.ping())
