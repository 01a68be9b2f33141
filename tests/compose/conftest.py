"""An engine, the image of the Dockerfile, and the stack of docker-compose.yml."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.base_images import provide, tags_in
from tests.compose.engine import Engine, docker_engine
from tests.compose.stack import ROOT, Stack, new_stack

BUILD_ARGUMENTS = ("PIP_INDEX_URL", "PIP_CERT")
"""Variables of this machine that a build takes over, where they are set; the image has neither."""


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("docker")
    with docker_engine(directory) as found:
        yield found
    shutil.rmtree(directory, ignore_errors=True)  # several gigabytes


@pytest.fixture(scope="session")
def base_images(engine: Engine) -> dict[str, str]:
    return provide(engine, tags_in(ROOT / "Dockerfile", ROOT / "docker-compose.yml"))


@pytest.fixture(scope="session")
def image(engine: Engine, base_images: dict[str, str]) -> Iterator[str]:
    """Tag of the image, built for this run; or that of `COMPOSE_IMAGE`, which was built before."""
    print("base images:", base_images)
    if given := os.environ.get("COMPOSE_IMAGE"):
        yield given
        return
    tag = f"experiment-streams-test:{secrets.token_hex(4)}"
    build(engine, tag)
    yield tag
    engine.docker("image", "rm", "--force", tag)


def build(engine: Engine, tag: str, context: Path = ROOT) -> str:
    """Build the Dockerfile of a folder, and return what was printed."""
    arguments = [
        part
        for name in BUILD_ARGUMENTS
        if name in os.environ
        for part in ("--build-arg", f"{name}={os.environ[name]}")
    ]
    # A private engine gives containers no way out of this machine, but its own network.
    network = ["--network=host"] if engine.is_private else []
    done = engine.run("docker", "build", *network, *arguments, "--tag", tag, str(context))
    return f"{done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def stack(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with new_stack(engine, image, Path(tmp_path_factory.mktemp("stack"))) as found:
        yield found
