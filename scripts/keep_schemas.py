"""Keep released schemas as versions, and write down the bytes that a release writes.

    python -m scripts.keep_schemas [NAME ...]

A schema that is named is kept: `schemas/NAME.avsc` is copied to `schemas/versions/NAME.N.avsc`, so
that `NAME.avsc` can be edited into version N + 1. It must have been released: before that it may be
edited as it is. Without names, which is a step of every release, every version of every schema gets
golden bytes: `schemas/golden/NAME.N.json`, with the sample of `scripts/schema_samples.py`. They
never change. Those that no release has written yet may be deleted.
"""

from __future__ import annotations

import argparse
import json
import sys

from schemas import library
from scripts.schema_samples import GOLDEN, file_of, sample_of


def main() -> int:
    """Keep or write down; return 1 if a schema cannot be kept or a sample must first be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="Schemas to keep.")
    names = parser.parse_args().names
    done = [_keep(library.current(name)) for name in names] or [
        _write_down(schema) for name in library.NAMES for schema in library.versions(name)
    ]
    return 0 if all(done) else 1


def _keep(schema: library.Schema) -> bool:
    """Keep a version; return whether it has been released."""
    if not sample_of(schema).is_golden:
        print(f"not released: edit {schema.name}.avsc as it is")
        return False
    file = GOLDEN.parent / "versions" / f"{schema.name}.{schema.version}.avsc"
    file.parent.mkdir(exist_ok=True)
    file.write_text(schema.text, "utf-8")
    print(f"kept {file.name}: {schema.name}.avsc is now version {schema.version + 1}")
    return True


def _write_down(schema: library.Schema) -> bool:
    """Add the bytes of a version that has none; return whether there is a sample."""
    file = file_of(schema)
    try:
        sample = sample_of(schema)
    except FileNotFoundError:
        print(f"write a sample: {file}")
        return False
    if not sample.is_golden:
        golden = {
            "decoded": sample.decoded,
            "structure": sample.structure,
            "encoded": sample.encoded.hex(),
        }
        file.write_text(json.dumps(golden, indent=2) + "\n", "utf-8")
        print(f"wrote {file.name}")
    return True


if __name__ == "__main__":
    sys.exit(main())
