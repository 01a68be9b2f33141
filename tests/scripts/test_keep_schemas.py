"""A field of a released schema, and its next release (`schemas/README.md`), on a copy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_a_field_is_added_to_a_released_schema(tmp_path):
    for name in ("schemas", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    script, schemas = ("-m", "scripts.keep_schemas"), tmp_path / "schemas"
    released = (schemas / "decision.avsc").read_text()

    kept = run(tmp_path, *script, "decision")
    schema = json.loads(released)
    schema["fields"].append({"name": "extra", "type": "long", "default": 0, "doc": "An example."})
    (schemas / "decision.avsc").write_text(json.dumps(schema))
    again = run(tmp_path, *script, "decision")
    released_too = run(tmp_path, *script)
    read = run(
        tmp_path,
        "-c",
        "import json, sys; from schemas.codec import Codec;"
        "print(*(Codec().decode(bytes.fromhex(json.load(open(f))['encoded']))[1]['extra'] "
        "for f in sys.argv[1:]))",
        *(str(schemas / "golden" / f"decision.{version}.json") for version in (1, 2)),
    )

    codes = kept.returncode, again.returncode, released_too.returncode
    assert codes == (0, 1, 0), released_too.stderr
    assert (schemas / "versions" / "decision.1.avsc").read_text() == released
    assert again.stdout == "not released: edit decision.avsc as it is\n"
    assert "wrote decision.2.json" in released_too.stdout
    assert read.stdout.split() == ["0", "1"], read.stderr
