"""The two distributions, built and installed into empty environments."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.documents import executed
from tests.integration.up_process import up
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements-dev.lock"
CLIENT_DEPENDENCIES = {"annotated-types", "httpx", "pydantic", "pydantic-core", "stamina"}

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("packaging")]


def pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def environment(folder: Path) -> Path:
    """Make an empty environment that pip of this one can install into, and return its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


def install(python: Path, *requirements: str) -> None:
    """Install with the versions of the lock, as a user without it would get newer ones."""
    constraints = python.parents[1] / "constraints.txt"
    pins = re.findall(r"^([\w.-]+==\S+)", LOCK.read_text(), re.MULTILINE)
    constraints.write_text("\n".join(pins))
    pip(
        Path(sys.executable),
        *("--python", str(python), "install", "--quiet", "--constraint", str(constraints)),
        *requirements,
    )


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Folder with the wheels, each built from its source distribution, and those."""
    folder = tmp_path_factory.mktemp("archives")
    sources = tmp_path_factory.mktemp("sources")  # a build writes beside the sources
    for name in ("streams", "schemas", "api", "dashboard", "client"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, sources)
    build = """
import os, sys
from pathlib import Path
sys.path[:0] = [entry for entry in sys.argv[3:]]
os.chdir(sys.argv[1])
import importlib
backend = importlib.import_module("backend" if sys.argv[3:] else "setuptools.build_meta")
print(backend.build_sdist(sys.argv[2]))
"""
    for project, path in (("client", [str(sources / "client")]), (".", [])):
        command = [sys.executable, "-c", build, str(sources / project), str(folder), *path]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
    for archive in sorted(folder.glob("*.tar.gz")):
        pip(
            Path(sys.executable),
            *("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)),
            str(archive),
        )
    return folder


@pytest.fixture(scope="module")
def client_python(archives, tmp_path_factory):
    python = environment(tmp_path_factory.mktemp("client"))
    install(python, str(next(archives.glob("experiment_streams_client-*.whl"))))
    return python


def code(python: Path, script: str, *arguments: str) -> str:
    """Run a script far from the repository, and return its output."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), "-c", script, *arguments]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=python.parent, env=clean
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_client_installs_one_import_name(archives):
    [wheel] = archives.glob("experiment_streams_client-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "experiment_streams_client"
    }
    assert "experiment_streams_client/py.typed" in names
    required = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.MULTILINE)
    assert set(required) == CLIENT_DEPENDENCIES


def test_the_server_does_not_install_the_client(archives):
    [wheel] = archives.glob("experiment_streams-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    folders = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert folders == {"api", "dashboard", "schemas", "streams"}
    assert "dashboard/templates/base.html" in names
    assert "dashboard/static/vendor/htmx.js" in names


def test_the_client_imports_no_module_of_the_engine_by_its_own_name(client_python):
    shadow = client_python.parent / "api"  # as an ad server has its own
    shadow.mkdir(exist_ok=True)
    (shadow / "__init__.py").write_text("raise ImportError('shadowed')")
    script = """
import sys, experiment_streams_client
print(*{name.partition(".")[0] for name in sys.modules})
"""
    loaded = code(client_python, script)
    assert {"api", "streams", "schemas", "numpy", "scipy", "faust", "fastapi"}.isdisjoint(
        loaded.split()
    )


def test_the_publishers_are_an_extra(client_python):
    script = """
try:
    import experiment_streams_client.publisher
except ModuleNotFoundError as error:
    print(error.name)
"""
    assert code(client_python, script).strip() == "confluent_kafka"


def test_every_module_of_the_client_imports_with_the_extras(archives, tmp_path):
    python = environment(tmp_path / "kafka")
    [wheel] = archives.glob("experiment_streams_client-*.whl")
    install(python, f"{wheel}[kafka,local]")
    script = """
import importlib, pkgutil, experiment_streams_client as root
for module in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
    importlib.import_module(module.name)
"""
    code(python, script)


def test_the_example_of_the_readme_runs_with_the_client_alone(client_python, tmp_path):
    [example] = executed("README.md", "python")
    script = f"""{example.text}
import asyncio, sys
from types import SimpleNamespace

def by_quality(eligible):
    return "fallback"

async def main(url):
    async with AsyncExperimentClient(url) as client:
        created = await client.create_experiment(
            {{"name": "ads", "type": "bayesian_ab", "primaryMetric": "click"}},
            [
                {{"name": "a", "isControl": True, "config": {{"creativeId": "one"}}}},
                {{"name": "b", "config": {{"creativeId": "two"}}}},
            ],
        )
        context = SimpleNamespace(experiment_id=created.id, user_id="user_1", device="mobile")
        eligible = {{"a": "ad one", "b": "ad two"}}
        print(*await select_ad(client, context, eligible))  # a draft: the fallback
        await client.start_experiment(created.id)
        ad, assignment_id = await select_ad(client, context, eligible)
        print(ad)
        print(*(await select_ad(client, context, {{"b": "ad two"}}))[:1])
        accepted = await client.record_observation(assignment_id, "click", 1, event_id="click-1")
        print(accepted.accepted)

asyncio.run(main(sys.argv[1]))
"""
    with up(tmp_path) as stack:
        fallback, ad, only, accepted = code(client_python, script, stack.url).splitlines()
    assert fallback == "fallback None"
    assert only == "ad two"
    assert ad in {"ad one", "ad two"}
    assert accepted == "1"


def test_the_server_runs_from_its_wheel(archives, tmp_path):
    python = environment(tmp_path / "server")
    wheels = [
        str(next(archives.glob(f"{name}-*.whl")))
        for name in ("experiment_streams_client", "experiment_streams")
    ]
    install(python, *wheels)
    experiment = [str(python.parent / "experiment")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def result(*arguments: str) -> tuple[int, str]:
        run = subprocess.run(
            [*experiment, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=clean,
            timeout=PATIENCE_S,
        )
        return run.returncode, run.stdout + run.stderr

    assert result("--help")[0] == 0
    status, output = result("list", "--api", "http://127.0.0.1:9")
    assert status == 69, output
    assert len(output.strip().splitlines()) == 1
    status, output = result("up", "--port", "0", "--data-dir", str(tmp_path / "data"))
    assert status == 2, output
    assert "experiment-streams[local]" in output
