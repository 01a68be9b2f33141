"""The release after this one, made for a test: a copy of the tree with newer schemas.

Each schema of `RAISED` has a further version with a field that may be dropped and is never at its
default, and one that may not and is (`tests.schemas.next_version`). Definitions have `warmUpS`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from schemas import library
from tests.schemas.next_version import copy_with_next_version

ROOT = Path(library.__file__).parents[1]

RAISED = ("tally_cell", "snapshot", "impression_batch", "observation_batch", "command", "decision")

_PATCH = f"""

_encode_of_this_release = Codec.encode


def _encode_of_the_next_release(self, name, record):
    more = {{"next_release": 7}} if name in {RAISED!r} else {{}}
    return _encode_of_this_release(self, name, {{**record, **more}})


Codec.encode = _encode_of_the_next_release
"""

_FIELD = '    warm_up_s: int = Field(default=0, ge=0, json_schema_extra={"x-since-version": 2})\n'


def next_release(directory: Path) -> Path:
    """Make the next release in a new directory, and return it."""
    for package in ("streams", "api"):
        shutil.copytree(
            ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    copy_with_next_version(directory / "schemas", RAISED)
    with (directory / "schemas" / "codec.py").open("a") as codec:
        codec.write(_PATCH)
    experiments = directory / "streams" / "experiments"
    _replace(
        experiments / "definition_versions.py",
        "DEFINITION_VERSION = 1\n",
        "DEFINITION_VERSION = 2\n",
    )
    _replace(experiments / "config.py", "    name: Name\n", f"    name: Name\n{_FIELD}")
    return directory


def _replace(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text, path
    path.write_text(text.replace(before, after, 1))
