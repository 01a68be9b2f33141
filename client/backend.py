"""Build backend of the client distribution: setuptools on a self-contained copy of the package.

The modules of the client import pure modules of the engine (`streams.model.errors`). The copy holds
those that it reaches under `experiment_streams_client._engine`, with their imports rewritten, so an
installed client brings one import name and cannot be shadowed by, or shadow, a package called `api`
or `streams`. A source distribution is such a copy, too, and builds with setuptools alone. An
editable installation is the source itself.
"""

from __future__ import annotations

import ast
import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

CLIENT = Path(__file__).resolve().parent
REPOSITORY = CLIENT.parent
PACKAGE = "experiment_streams_client"
ENGINE = "_engine"
ROOTS = ("streams", "schemas", "api")

_IMPORT = re.compile(rf"^(\s*)(from|import) ({'|'.join(ROOTS)})(?=[. ])", re.MULTILINE)


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Build a wheel of a self-contained copy; PEP 517."""
    with self_contained():
        return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: dict[str, Any] | None = None) -> str:
    """Build a source distribution of a self-contained copy; PEP 517."""
    with self_contained():
        return build_meta.build_sdist(sdist_directory, config_settings)


@contextlib.contextmanager
def self_contained() -> Iterator[None]:
    """Work in a temporary folder that holds the package with every module that it imports."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        copy(Path(folder))
        yield


def copy(folder: Path) -> None:
    """Write the client and the engine's modules that it reaches into `folder`."""
    client = CLIENT / PACKAGE
    modules = reached(client)
    packages = {module.parent for module in modules if module.name != "__init__.py"}
    data = {path for package in packages for path in package.rglob("*.avsc")}
    for path in [*client.rglob("*.py"), client / "py.typed"]:
        write(path, folder / path.relative_to(CLIENT))
    for path in [*modules, *data]:
        write(path, folder / PACKAGE / ENGINE / path.relative_to(REPOSITORY))
    write_text(folder / PACKAGE / ENGINE / "__init__.py", '"""Modules shared with the engine."""\n')
    project = (CLIENT / "pyproject.toml").read_text()
    project = project.replace('"backend"', '"setuptools.build_meta"')
    write_text(folder / "pyproject.toml", project.replace('backend-path = ["."]\n', ""))
    shutil.copy(CLIENT / "README.md", folder)


def reached(package: Path) -> set[Path]:
    """Return the engine's modules that the package imports, directly or not, and their packages."""
    found: set[Path] = set()
    waiting = list(package.rglob("*.py"))
    while waiting:
        for name in imported(waiting.pop()):
            for path in locations(name):
                if path not in found:
                    found.add(path)
                    waiting.append(path)
    return found


def imported(module: Path) -> Iterator[str]:
    """Yield the absolute dotted names that a module imports; an attribute may be among them."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def locations(name: str) -> Iterator[Path]:
    """Yield the files of a dotted name of the engine: its packages, and its module."""
    parts = name.split(".")
    if parts[0] not in ROOTS:
        return
    for size in range(1, len(parts) + 1):
        place = REPOSITORY.joinpath(*parts[:size])
        for path in (place / "__init__.py", place.with_suffix(".py")):
            if path.exists():
                yield path


def write(source: Path, target: Path) -> None:
    """Copy a file; imports of the engine in it lead into the package."""
    text = source.read_text()
    if source.suffix == ".py":
        text = _IMPORT.sub(rf"\1\2 {PACKAGE}.{ENGINE}.\3", text)
    write_text(target, text)


def write_text(target: Path, text: str) -> None:
    """Write a file, and the folders above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
