"""Copy the dashboard's scripts and styles out of their npm packages, with version, license, hash.

`python -m scripts.vendor_assets` needs npm, and is run after a change of a version below.
`tests/dashboard/test_assets.py` compares the files with what is recorded here, without npm.

Scripts of one file are concatenated: as two deferred files, an extension of htmx may come after
htmx has started (bigskysoftware/htmx#3693).
"""

from __future__ import annotations

import json
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECORD = "assets.json"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file made of files of one npm package.

    Attributes:
        file: Its path below the root of this repository.
        package, version: The npm package.
        license: SPDX identifier.
        parts: Paths below the package, in order.
        license_file: Path of the license below the package.
    """

    file: str
    package: str
    version: str
    license: str
    parts: tuple[str, ...]
    license_file: str = "LICENSE"


ASSETS = (
    Asset(
        file="dashboard/static/vendor/htmx.js",
        package="htmx.org",
        version="4.0.1",
        license="0BSD",
        parts=("dist/htmx.min.js", "dist/ext/hx-sse.min.js"),
    ),
    Asset(
        file="dashboard/static/vendor/uplot.js",
        package="uplot",
        version="1.6.32",
        license="MIT",
        parts=("dist/uPlot.iife.min.js",),
    ),
    Asset(
        file="dashboard/static/vendor/uplot.css",
        package="uplot",
        version="1.6.32",
        license="MIT",
        parts=("dist/uPlot.min.css",),
    ),
    Asset(
        file="tests/dashboard/vendor/axe.js",
        package="axe-core",
        version="4.14.1",
        license="MPL-2.0",
        parts=("axe.min.js",),
    ),
)


def main() -> None:
    """Write all assets, their licenses, and beside them what they are."""
    records: dict[Path, list[dict[str, str]]] = {}
    for asset in ASSETS:
        archive, found = _package(asset)
        target = ROOT / asset.file
        target.parent.mkdir(parents=True, exist_ok=True)
        text = b"\n".join(_unmapped(found[part]) for part in asset.parts)
        target.write_bytes(text)
        license_name = f"LICENSE.{asset.package}"
        (target.parent / license_name).write_bytes(found[asset.license_file])
        records.setdefault(target.parent, []).append(
            {
                "file": target.name,
                "package": asset.package,
                "version": asset.version,
                "license": asset.license,
                "licenseFile": license_name,
                "parts": " ".join(asset.parts),
                "packageSha256": archive,
                "sha256": sha256(text).hexdigest(),
            }
        )
        print(f"{asset.file}: {asset.package} {asset.version}, {len(text):,} bytes")
    for directory, record in records.items():
        (directory / RECORD).write_text(json.dumps(record, indent=1) + "\n")


def _package(asset: Asset) -> tuple[str, dict[str, bytes]]:
    """Return the hash of a package's archive and the files of it that are used."""
    wanted = {*asset.parts, asset.license_file}
    with tempfile.TemporaryDirectory() as directory:
        name = f"{asset.package}@{asset.version}"
        command = ["npm", "pack", "--silent", "--pack-destination", directory, name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(directory).iterdir()
        found = {}
        with tarfile.open(archive) as packed:
            for part in wanted:
                file = packed.extractfile(f"package/{part}")
                if file is None:
                    raise SystemExit(f"{name} has no {part}")
                found[part] = file.read()
        return sha256(archive.read_bytes()).hexdigest(), found


def _unmapped(text: bytes) -> bytes:
    """Return a script without the address of its source map, which is not kept."""
    lines = text.rstrip().split(b"\n")
    return b"\n".join(line for line in lines if not line.startswith(b"//# sourceMappingURL"))


if __name__ == "__main__":
    main()
