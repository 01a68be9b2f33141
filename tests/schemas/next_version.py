"""A further version of schemas, made for a test.

It has two more fields: `next_release`, which may be dropped while an older version is written, and
`next_feature`, which may not.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path

from schemas import library

DEFAULTS = {"next_release": 0, "next_feature": 0}


def copy_with_next_version(directory: Path, names: Collection[str] = library.NAMES) -> None:
    """Copy the folder `schemas` to a new directory, with a further version of these schemas."""
    shutil.copytree(
        Path(library.__file__).parent, directory, ignore=shutil.ignore_patterns("__pycache__")
    )
    kept = directory / "versions"
    kept.mkdir(exist_ok=True)
    for name in names:
        newest = library.current(name)
        (kept / f"{name}.{newest.version}.avsc").write_text(newest.text)
        schema = json.loads(newest.text)
        tag = schema["fields"][-1:] if schema["fields"][-1]["name"] == "tag" else []
        schema["fields"] = [
            *schema["fields"][: len(schema["fields"]) - len(tag)],
            {"name": "next_release", "type": "long", "default": 0, "droppable": True, "doc": "."},
            {"name": "next_feature", "type": "long", "default": 0, "doc": "."},
            *tag,  # always the last field
        ]
        (directory / f"{name}.avsc").write_text(json.dumps(schema))
