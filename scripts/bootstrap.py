"""Make a virtual environment and install exactly what a lock file pins; standard library only.

A fresh Debian has Python but neither pip nor ensurepip. There the environment is made without pip,
and pip itself runs straight from a wheel: the pinned one of the index that pip's own configuration
names, or else the one in Debian's signed package `python3-pip-whl`, unpacked but not installed.

Usage: python3 scripts/bootstrap.py [--venv .venv] [--lock requirements-dev.lock] \
    [--copy] [--only lock|packages]
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
import venv
from pathlib import Path

PIP_WHEEL = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
OLDEST_PYTHON = (3, 11)
DOWNLOAD_TIMEOUT_S = 60


def main() -> None:
    """Create or complete the environment; exit 2 with one line that says what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=Path(".venv"))
    parser.add_argument("--lock", type=Path, default=Path("requirements-dev.lock"))
    parser.add_argument(
        "--copy",
        action="store_true",
        help="install copies of the packages, not links to this folder",
    )
    parser.add_argument(
        "--only",
        choices=("lock", "packages"),
        help="what the lock file pins, or the packages of this folder; both by default",
    )
    arguments = parser.parse_args()
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(f"bootstrap: Python == {sys.version.split()[0]}, must be >= 3.11")
    pip = [*prepare_environment(arguments.venv), "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-input"]
    if arguments.only != "packages":
        # Wheels only: a fresh machine has no Python headers, and a source package runs code to
        # build.
        run([*install, "--require-hashes", "--only-binary=:all:", "-r", str(arguments.lock)])
    if arguments.only == "lock":
        return
    own = [*install, "--no-deps", "--no-build-isolation"]
    if arguments.copy:
        run([*own, "./client", "."])
        return
    # Python then finds the packages in this folder; setuptools warns of just that.
    os.environ["PYTHONWARNINGS"] = "ignore"
    run([*own, "--editable", "./client", "--editable", "."])


def prepare_environment(directory: Path) -> list[str]:
    """Make the environment unless it is there, and return the command that runs pip inside it."""
    python = directory / "bin" / "python"
    ensurepip = importlib.util.find_spec("ensurepip")
    has_ensurepip = ensurepip is not None and ensurepip.origin is not None  # not a leftover folder
    if not answers([str(python), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]):
        venv.create(directory, clear=True, symlinks=True, with_pip=has_ensurepip)
    if answers([str(python), "-m", "pip", "--version"]):
        return [str(python), "-m", "pip"]
    downloads = directory / "bootstrap"
    downloads.mkdir(exist_ok=True)
    wheel = wheel_of_index(downloads) or wheel_of_debian(downloads)
    if wheel is None:
        sys.exit(
            "bootstrap: this Python has no pip. Install Debian's python3-venv, "
            "or set PIP_INDEX_URL to a package index, and try again."
        )
    return [str(python), str(wheel / "pip")]


def wheel_of_index(downloads: Path) -> Path | None:
    """Return the pinned pip wheel of the configured index; None if no index is configured."""
    index = configured_index()
    if index is None:
        return None
    page_url = f"{index.rstrip('/')}/pip/"
    page = download(page_url).decode()
    for link in re.findall(r'href="([^"]+)"', page):
        url = urllib.parse.urljoin(page_url, link)
        if Path(urllib.parse.urlsplit(url).path).name == PIP_WHEEL:
            content = download(url)
            if hashlib.sha256(content).hexdigest() != PIP_SHA256:
                sys.exit(f"bootstrap: {PIP_WHEEL} of {page_url} is not the pinned file")
            wheel = downloads / PIP_WHEEL
            wheel.write_bytes(content)
            return wheel
    return None


def configured_index() -> str | None:
    """Return the index that pip's environment variable or its configuration files name."""
    home = Path.home()
    parser = configparser.RawConfigParser()
    parser.read(
        [
            "/etc/pip.conf",
            home / ".pip" / "pip.conf",
            home / ".config" / "pip" / "pip.conf",
            os.environ.get("PIP_CONFIG_FILE", os.devnull),
        ]
    )
    return os.environ.get("PIP_INDEX_URL") or parser.get("global", "index-url", fallback=None)


def download(url: str) -> bytes:
    """Return what is at `url`, which the configured index or its page named."""
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        sys.exit(f"bootstrap: index URL == {url!r}, must be http or https")
    with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as response:  # noqa: S310 - scheme checked
        return bytes(response.read())


def wheel_of_debian(downloads: Path) -> Path | None:
    """Return the pip wheel of Debian's package, fetched and checked by apt; None without apt."""
    fetch = ["apt-get", "download", "-qq", "python3-pip-whl"]
    if not answers(fetch, cwd=downloads):
        # A container image comes without package lists; only root can fetch them.
        if os.geteuid() != 0 or not answers(["apt-get", "update", "-qq"]):
            return None
        if not answers(fetch, cwd=downloads):
            return None
    for package in downloads.glob("*.deb"):
        run(["dpkg-deb", "--extract", str(package), str(downloads)])
    return next(downloads.glob("usr/share/python-wheels/pip-*.whl"), None)


def answers(command: list[str], cwd: Path | None = None) -> bool:
    """Return whether `command` exists and succeeds; its output is shown only by `run`."""
    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run(command: list[str]) -> None:
    """Run `command`; leave with its exit code if it fails, since it has said why itself."""
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
