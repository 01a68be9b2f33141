"""The release after this one, made for a test: a copy of the tree with newer schemas.

Each schema of `RAISED` has a further version with two fields: `next_release`, which may be dropped
and is never at its default, and `next_feature`, which may not and is. Definitions have `warmUpS`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from schemas import library

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
    for package in ("streams", "schemas", "api"):
        shutil.copytree(
            ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in RAISED:
        newest = library.current(name)
        schema = json.loads(newest.text)
        tag = schema["fields"][-1:] if schema["fields"][-1]["name"] == "tag" else []
        schema["fields"] = [
            *schema["fields"][: len(schema["fields"]) - len(tag)],
            {"name": "next_release", "type": "long", "default": 0, "droppable": True, "doc": "."},
            {"name": "next_feature", "type": "long", "default": 0, "doc": "."},
            *tag,  # always the last field
        ]
        text = json.dumps(schema)
        (directory / "schemas" / f"{name}.avsc").write_text(text)
        kept = directory / "schemas" / "versions" / f"{name}.{newest.version + 1}.avsc"
        kept.write_text(text)
    with (directory / "schemas" / "codec.py").open("a") as codec:
        codec.write(_PATCH)
    experiments = directory / "streams" / "experiments"
    _replace(
        experiments / "definition_versions.py",
        "DEFINITION_VERSION = 1\n",
        "DEFINITION_VERSION = 2\n",
    )
    _replace(experiments / "definition.py", "    name: Name\n", f"    name: Name\n{_FIELD}")
    return directory


def _replace(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text, path
    path.write_text(text.replace(before, after, 1))
