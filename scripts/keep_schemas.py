"""Keep released schemas as versions, and encode golden samples.

    python scripts/keep_schemas.py [NAME ...]

A schema that is named is kept: `schemas/NAME.avsc` is copied to `schemas/versions/NAME.N.avsc`, so
that `NAME.avsc` can be edited into version N + 1. Without names, every version of every schema gets
the bytes of its sample: `schemas/golden/NAME.N.json` must hold the sample as `{"decoded": ...}` in
Avro's JSON encoding, written by hand. Bytes are added once. They may be deleted, to be added again,
only while no release has written that version.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from io import BytesIO, StringIO
from pathlib import Path

from fastavro import json_reader, schemaless_writer

from schemas import library
from schemas.codec import SINGLE_OBJECT_MARK

SCHEMAS = Path(library.__file__).parent


def main() -> int:
    """Keep or encode; return 1 if a sample must be written by hand first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="Schemas to keep.")
    names = parser.parse_args().names
    if names:
        for schema in map(library.current, names):
            _keep(schema)
        return 0
    missing = [
        file
        for name in library.NAMES
        for schema in library.versions(name)
        if not _encode(schema, file := SCHEMAS / "golden" / f"{name}.{schema.version}.json")
    ]
    for file in missing:
        print(f"write a sample: {file}")
    return 1 if missing else 0


def structure_hash(schema: library.Schema) -> str:
    """Return a hash of the `library.structure` of a schema."""
    text = json.dumps(library.structure(json.loads(schema.text)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _keep(schema: library.Schema) -> None:
    file = SCHEMAS / "versions" / f"{schema.name}.{schema.version}.avsc"
    file.parent.mkdir(exist_ok=True)
    file.write_text(schema.text, "utf-8")
    print(f"kept {file.name}: {schema.name}.avsc is now version {schema.version + 1}")


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
        sample |= {"structure": structure_hash(schema), "encoded": encoded.hex()}
        file.write_text(json.dumps(sample, indent=2) + "\n", "utf-8")
        print(f"encoded {file.name}")
    return True


if __name__ == "__main__":
    sys.exit(main())
