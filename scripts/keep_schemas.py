"""Keep what changed in `schemas/*.avsc` as a new version, and encode its golden sample.

A schema whose structure differs from its newest kept version gets the next number. For every kept
version, `schemas/golden/NAME.N.json` must hold a sample as `{"decoded": ...}` in Avro's JSON
encoding, written by hand; its bytes are added here once and never change again.
"""

from __future__ import annotations

import json
import shutil
import sys
from io import BytesIO, StringIO
from pathlib import Path

from fastavro import json_reader, schemaless_writer

from schemas import library
from schemas.codec import SINGLE_OBJECT_MARK

SCHEMAS = Path(library.__file__).parent


def main() -> int:
    """Keep and encode; return 1 if a sample must be written by hand first."""
    for name in library.NAMES:
        newest = SCHEMAS / f"{name}.avsc"
        if library.structure(json.loads(newest.read_text("utf-8"))) != library.structure(
            json.loads(library.current(name).text)
        ):
            kept = library.current(name).version + 1
            shutil.copyfile(newest, SCHEMAS / "versions" / f"{name}.{kept}.avsc")
            print(f"kept {name} version {kept}")
    library.versions.cache_clear()
    missing = [
        file
        for name in library.NAMES
        for schema in library.versions(name)
        if not _encode(schema, file := SCHEMAS / "golden" / f"{name}.{schema.version}.json")
    ]
    for file in missing:
        print(f"write a sample: {file}")
    return 1 if missing else 0


def _encode(schema: library.Schema, file: Path) -> bool:
    """Add the bytes to a sample that has none; return whether there is a sample."""
    if not file.is_file():
        return False
    sample = json.loads(file.read_text("utf-8"))
    if "encoded" not in sample:
        (record,) = json_reader(StringIO(json.dumps(sample["decoded"])), schema.parsed)
        body = BytesIO()
        schemaless_writer(body, schema.parsed, record)
        encoded = SINGLE_OBJECT_MARK + schema.fingerprint + body.getvalue()
        text = json.dumps(sample | {"encoded": encoded.hex()}, indent=2)
        file.write_text(text + "\n", "utf-8")
        print(f"encoded {file.name}")
    return True


if __name__ == "__main__":
    sys.exit(main())
