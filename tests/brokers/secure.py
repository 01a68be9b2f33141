"""Apache Kafka behind TLS, with SCRAM and PLAIN users, client certificates and ACLs."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from streams.local.tansu import answers_kafka
from tests.brokers.kafka import HOST, START_TIMEOUT_S, KafkaCluster, free_ports
from tests.brokers.rights import Right, rights_table
from tests.patience import PATIENCE_S

ADMIN = "admin"
PASSWORD = "correct-horse-battery"
USERS = (ADMIN, *rights_table())
MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_MODULE = "org.apache.kafka.common.security"


class SecureCluster(KafkaCluster):
    """One broker whose clients come by SASL over TLS, or with a certificate of the same authority.

    Attributes:
        ca: Certificate that signs the broker's.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._client, self._mutual, self._internal = free_ports(3)
        self._pki = directory / "pki"
        self.ca = self._pki / "ca.crt"

    @property
    def url(self) -> str:
        """Listener at which clients authenticate by SASL."""
        return f"{HOST}:{self._client}"

    @property
    def mutual_url(self) -> str:
        """Listener at which clients authenticate by their certificate."""
        return f"{HOST}:{self._mutual}"

    @property
    def internal_url(self) -> str:
        """Listener without authentication or authorization."""
        return f"{HOST}:{self._internal}"

    def certificate(self, name: str) -> tuple[Path, Path]:
        """Return the certificate and the key of a client that was made by `start`."""
        return self._pki / f"{name}.crt", self._pki / f"{name}.key"

    async def start(self) -> None:
        """Make the certificates, and start the broker."""
        await asyncio.to_thread(self._make_certificates)
        await super().start()

    def admin(self) -> AdminClient:
        """Return a client that may do everything."""
        return AdminClient({"bootstrap.servers": f"{HOST}:{self._internal}", "log_level": 0})

    def grant(self, user: str, rights: Iterable[Right]) -> None:
        """Allow a user what the rights say."""
        bindings = [each for right in rights for each in _bindings(user, right)]
        admin = self.admin()  # held until it has answered
        for done in admin.create_acls(bindings).values():
            done.result(PATIENCE_S)

    def revoke(self, user: str, right: Right) -> None:
        """Take rights back that were granted in the same words."""
        filters = [
            AclBindingFilter(
                each.restype,
                each.name,
                each.resource_pattern_type,
                each.principal,
                each.host,
                each.operation,
                each.permission_type,
            )
            for each in _bindings(user, right)
        ]
        admin = self.admin()
        for done in admin.delete_acls(filters).values():
            assert done.result(PATIENCE_S), f"{user} did not have {right}"

    def _make_certificates(self) -> None:
        self._pki.mkdir(parents=True)
        subject = "/CN=Test authority"
        _openssl(
            self._pki, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
            subject, "-keyout", "ca.key", "-out", "ca.crt",
        )  # fmt: skip
        for name in ("broker", "worker"):
            _openssl(
                self._pki, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.csr",
            )  # fmt: skip
            (self._pki / "names").write_text(f"subjectAltName=IP:{HOST},DNS:localhost")
            _openssl(
                self._pki, "x509", "-req", "-days", "2", "-in", f"{name}.csr", "-CA", "ca.crt",
                "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-out", f"{name}.crt",
            )  # fmt: skip
        key, certificate = (self._pki / "broker.key").read_text(), self._pki / "broker.crt"
        (self._pki / "broker.pem").write_text(key + certificate.read_text())

    def _format_options(self) -> tuple[str, ...]:
        return tuple(
            option
            for user in USERS
            for mechanism in MECHANISMS
            for option in ("--add-scram", f"{mechanism}=[name={user},password={PASSWORD}]")
        )

    def _configure(self, index: int) -> Path:
        configuration = super()._configure(index)
        _, controller = self._ports[index]
        plain = " ".join(f'user_{user}="{PASSWORD}"' for user in USERS)
        changed = {
            "listeners": f"CLIENT://{HOST}:{self._client},MUTUAL://{HOST}:{self._mutual},"
            f"INTERNAL://{HOST}:{self._internal},CONTROLLER://{HOST}:{controller}",
            "listener.security.protocol.map": "CLIENT:SASL_SSL,MUTUAL:SSL,INTERNAL:PLAINTEXT,"
            "CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "INTERNAL",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{ADMIN};User:ANONYMOUS",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._pki / "broker.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^CN=(.*?)$/$1/",
            "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
            **{
                f"listener.name.client.{mechanism.lower()}.sasl.jaas.config": (
                    f"{_MODULE}.scram.ScramLoginModule required;"
                )
                for mechanism in MECHANISMS
            },
            "listener.name.client.plain.sasl.jaas.config": (
                f"{_MODULE}.plain.PlainLoginModule required {plain};"
            ),
        }
        kept = [
            line
            for line in configuration.read_text().splitlines()
            if line.partition("=")[0] not in changed
        ]
        lines = [*kept, *(f"{name}={value}" for name, value in changed.items())]
        configuration.write_text("\n".join(lines) + "\n")
        return configuration

    async def _ready(self, index: int) -> None:
        address = f"{HOST}:{self._internal}"
        await self._brokers[index].ready(lambda: answers_kafka(address), START_TIMEOUT_S)


@asynccontextmanager
async def secure_cluster(directory: Path) -> AsyncIterator[SecureCluster]:
    """Yield a running cluster that is gone afterwards."""
    cluster = SecureCluster(directory)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()


def _bindings(user: str, right: Right) -> list[AclBinding]:
    kind = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}[right.kind]
    pattern = ResourcePatternType.PREFIXED if right.is_prefix else ResourcePatternType.LITERAL
    return [
        AclBinding(
            kind,
            right.name,
            pattern,
            f"User:{user}",
            "*",
            AclOperation[operation],
            AclPermissionType.ALLOW,
        )
        for operation in right.operations
    ]


def _openssl(directory: Path, *arguments: str) -> None:
    done = subprocess.run(
        ("openssl", *arguments), cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
