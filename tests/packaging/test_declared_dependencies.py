"""Every package that product code imports is declared by the distribution that ships the code."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.documents import ROOT

OWN = {"streams", "schemas", "api", "dashboard", "experiment_streams_client"}
BACKEND = runpy.run_path(str(ROOT / "client" / "backend.py"))


def undeclared(project: str, modules: Iterable[Path]) -> dict[str, str]:
    """Return the packages that modules import and their project lacks, each with such a module."""
    declared = requirements(project)
    distributions = packages_distributions()
    return {
        package: str(module.relative_to(ROOT))
        for module in sorted(modules)
        for package in {name.partition(".")[0] for name in BACKEND["imported"](module)}
        if package not in OWN | sys.stdlib_module_names
        and declared.isdisjoint(map(normalized, distributions.get(package, [package])))
    }


def requirements(project: str) -> set[str]:
    """Return the names of the distributions that a project declares, also in extras."""
    table = tomllib.loads((ROOT / project / "pyproject.toml").read_text())["project"]
    extras = table["optional-dependencies"].values()
    declared = [*table["dependencies"], *(each for extra in extras for each in extra)]
    return {normalized(re.split(r"[^\w.-]", each, maxsplit=1)[0]) for each in declared}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_engine_declares_what_it_imports() -> None:
    folders = ("streams", "schemas", "api", "dashboard")
    modules = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]

    assert undeclared(".", modules) == {}


def test_the_client_declares_what_it_and_its_copy_of_the_engine_import() -> None:
    package = ROOT / "client" / "experiment_streams_client"
    modules = {*package.rglob("*.py"), *BACKEND["reached"](package)}

    assert ROOT / "streams" / "model" / "validation.py" in modules
    assert undeclared("client", modules) == {}
