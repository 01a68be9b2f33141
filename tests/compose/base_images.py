"""Images that docker-compose.yml and the Dockerfile name, or stand-ins of them made of packages.

Where no registry answers, each is a bootstrap of Debian with the program at the paths, and of the
user, that the official image has. They stand in for the official ones in tests, and nowhere else.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_cache_path

from tests.brokers.kafka import jars_of
from tests.compose.engine import Engine, EngineMissingError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PULL_S = 600.0
BOOTSTRAP_S = 1800.0


@dataclass(frozen=True, slots=True)
class StandIn:
    """Recipe for the stand-in of an image.

    Attributes:
        suite, packages: Of the bootstrap of Debian.
        complete: Adds to the root file system what the official image has besides.
        files: What it adds of this folder, as a pattern.
        changes: Its configuration, as instructions of a Dockerfile.
    """

    suite: str
    packages: str
    complete: Callable[[Path], None]
    files: str = ""
    changes: Sequence[str] = field(default_factory=tuple)


def provide(engine: Engine, tags: Sequence[str]) -> dict[str, str]:
    """Have every image in the engine, and return where each came from.

    Raises:
        EngineMissingError: an image cannot be pulled, and no stand-in of it can be made here.
    """
    return {tag: _provide(engine, tag) for tag in tags}


def tags_in(*files: Path) -> list[str]:
    """Return the images that Dockerfiles and compose files name, each once, without our own."""
    found = (
        tag
        for file in files
        for tag in re.findall(r"^\s*(?:FROM|image:)\s+([\w./:@-]+)", file.read_text(), re.MULTILINE)
    )
    return list(dict.fromkeys(found))


def _provide(engine: Engine, tag: str) -> str:
    if engine.docker("image", "inspect", "--format", "{{.Id}}", tag, check=False):
        return "was here"
    pulled = engine.run("docker", "pull", "--quiet", tag, check=False, timeout_s=PULL_S)
    if pulled.returncode == 0:
        return "registry"
    if tag.partition(":")[0] not in STAND_INS:
        return "missing"
    if not engine.is_private:
        raise EngineMissingError(
            f"{tag} cannot be pulled, and a stand-in is made for a private engine alone, so that "
            f"it does not take the name of the real one in yours: {pulled.stderr.strip()}"
        )
    stand_in = STAND_INS[tag.partition(":")[0]]
    archive = _archive(tag, stand_in)
    changes = [part for change in stand_in.changes for part in ("--change", change)]
    engine.docker("import", *changes, str(archive), tag)
    return "stand-in"


def _archive(tag: str, stand_in: StandIn) -> Path:
    """Return the root file system as a tar archive, made the first time."""
    recipe = (stand_in.suite, stand_in.packages, inspect.getsource(stand_in.complete))
    digest = hashlib.sha256("\n".join(recipe).encode())
    for file in (*sorted(HERE.glob(stand_in.files or "-")), CERTIFICATES):
        digest.update(file.read_bytes() if file.exists() else b"")
    name = re.sub(r"\W+", "-", tag)
    archive = user_cache_path("experiment-streams") / f"image-{name}-{digest.hexdigest()[:16]}.tar"
    if archive.exists():
        return archive
    missing = [name for name in ("debootstrap", "tar") if shutil.which(name) is None]
    if missing:
        raise EngineMissingError(
            f"{tag} cannot be pulled, and its stand-in needs {' and '.join(missing)} "
            "(Debian: apt-get install debootstrap)"
        )
    root = archive.with_name(f"{archive.name}.{os.getpid()}")
    root.mkdir(parents=True)
    try:
        options = ("--variant=minbase", f"--include={stand_in.packages}")
        _run("debootstrap", *options, stand_in.suite, str(root), MIRROR)
        stand_in.complete(root)
        for kept in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / kept)
            (root / kept / "partial").mkdir(parents=True)
        partial = root.with_name(f"{root.name}.partial")
        _run("tar", "--create", "--numeric-owner", f"--file={partial}", f"--directory={root}", ".")
        partial.rename(archive)
    finally:
        _remove(root)
    return archive


def _remove(root: Path) -> None:
    """Remove a root file system, in which an interrupted bootstrap leaves `/proc` mounted."""
    places = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed(places):
        if place.is_relative_to(root):
            subprocess.run(("umount", str(place)), check=True)
    shutil.rmtree(root, ignore_errors=True)


def _run(*command: str) -> None:
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=BOOTSTRAP_S)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # a shell script leaves what it has started
        process.wait()
        raise
    if process.returncode:
        raise EngineMissingError(f"{' '.join(command)}: {output[-4000:]}")


def _python(root: Path) -> None:
    (root / "usr/bin/python").symlink_to("python3")
    # A build then trusts whom this machine trusts, as the owner of a package proxy.
    if CERTIFICATES.exists():
        shutil.copy(CERTIFICATES, root / "etc/ssl/certs/ca-certificates.crt")


def _kafka(root: Path) -> None:
    kafka, docker = root / "opt/kafka", root / "etc/kafka/docker"
    shutil.copytree(jars_of(HERE / "kafka-image" / "pom.xml"), kafka / "libs")
    for name in ("bin", "config"):
        (kafka / name).mkdir()
    for script in (HERE / "kafka-image").glob("*.sh"):
        shutil.copy(script, kafka / "bin")
    docker.mkdir(parents=True)
    for name in ("run", "server.properties"):
        shutil.copy(HERE / "kafka-image" / name, docker)
    for name in ("log4j2.properties", "log4j2.yaml", "tools-log4j2.yaml"):
        shutil.copy(ROOT / "tests/brokers/log4j2.properties", docker / name)
    for path in (
        "etc/kafka/secrets",
        "var/lib/kafka/data",
        "mnt/shared/config",
        "opt/kafka/config",
    ):
        (root / path).mkdir(parents=True, exist_ok=True)
        os.chown(root / path, 1000, 0)
    for folder in (docker, kafka / "bin", kafka / "libs"):
        folder.chmod(0o755)


def _redis(root: Path) -> None:
    # The ids of the official image: volumes hold numbers.
    for name in ("passwd", "group"):
        file = root / "etc" / name
        ids = "redis:x:999:1000:" if name == "passwd" else "redis:x:1000:"
        file.write_text(re.sub(r"(?m)^redis:x:\d+(:\d+)?:", ids, file.read_text()))
    sh = root / "usr/bin/sh"
    sh.unlink()
    sh.symlink_to("busybox")
    (root / "data").mkdir()
    os.chown(root / "data", 999, 1000)
    shutil.copy(HERE / "redis-entrypoint", root / "usr/local/bin/docker-entrypoint.sh")


def _prometheus(root: Path) -> None:
    (root / "usr/bin/wget").symlink_to("busybox")
    (root / "prometheus").mkdir()
    os.chown(root / "prometheus", 65534, 65534)


_PROMETHEUS_COMMAND = (
    '["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]'
)

STAND_INS = {
    "python": StandIn("bookworm", "ca-certificates,python3,python3-venv,python3-pip", _python),
    "apache/kafka": StandIn(
        "bookworm",
        "openjdk-17-jre-headless",
        _kafka,
        "kafka-image/*",
        (
            "USER 1000",
            "VOLUME /etc/kafka/secrets /var/lib/kafka/data /mnt/shared/config",
            'CMD ["/etc/kafka/docker/run"]',
        ),
    ),
    "redis": StandIn(
        "trixie",
        "redis-server,busybox",
        _redis,
        "redis-entrypoint",
        (
            "VOLUME /data",
            "WORKDIR /data",
            'ENTRYPOINT ["docker-entrypoint.sh"]',
            'CMD ["redis-server"]',
        ),
    ),
    "prom/prometheus": StandIn(
        "bookworm",
        "prometheus,busybox",
        _prometheus,
        "",
        (
            "USER 65534",
            "VOLUME /prometheus",
            'ENTRYPOINT ["/bin/prometheus"]',
            f"CMD {_PROMETHEUS_COMMAND}",
        ),
    ),
}
"""Stand-ins, by the name of the image without its tag; Grafana is in no distribution of Debian."""
