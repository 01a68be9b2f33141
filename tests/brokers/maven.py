"""Programs of Java by Maven: what a project needs, fetched once into the cache of the user."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from platformdirs import user_cache_path

COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
RESOLVE_TIMEOUT_S = 600


class ProgramMissingError(Exception):
    """This machine cannot run a program of Java; the message says what it lacks."""


def fetched(
    program: str,
    name: str,
    poms: Sequence[Path],
    complete: Callable[[Path], None] | None = None,
) -> Path:
    """Return the folder with all that the dependencies of a project are, fetched the first time.

    Args:
        program: What is fetched, for messages.
        name: First part of the folder's name.
        poms: The project, and the ones before it that it inherits from.
        complete: Changes what was fetched, before it is used.

    Raises:
        ProgramMissingError: Java or Maven is not installed, or Maven cannot resolve them.
    """
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing:
        raise ProgramMissingError(
            f"{program} needs {' and '.join(missing)}: install Java 17 or later and Maven "
            "(Debian: openjdk-17-jre-headless, maven)"
        )
    digest = hashlib.sha256(b"".join(each.read_bytes() for each in poms)).hexdigest()[:16]
    folder = user_cache_path("experiment-streams") / f"{name}-{digest}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    command = (
        "mvn",
        "-B",
        "-q",
        "-f",
        str(poms[-1]),
        COPY_DEPENDENCIES,
        f"-DoutputDirectory={partial}",
    )
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=RESOLVE_TIMEOUT_S
    )
    try:
        if run.returncode:
            raise ProgramMissingError(f"Maven cannot resolve {program}: {run.stdout}{run.stderr}")
        if complete is not None:
            complete(partial)
        with contextlib.suppress(OSError):  # another run was faster
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
