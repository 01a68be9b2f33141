"""The recipe for a tally field (CONTRIBUTING.md), followed on a copy of the tree."""

import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

ROOT = Path(__file__).parents[3]

FIELD = """
    units_by_overlap: int = summed(Statistic.UNITS, Weight.OVERLAP)
    moment: tuple[int, ...] = entries()
    positive"""
SCHEMA = """
            {"name": "units_by_overlap", "type": {"type": "array", "items": "bytes"},
             "doc": "Sum over units of v."},
            {"name": "moment\""""

SCRIPT = """
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import MetricTally, Source
from streams.tallies.merging import merge
from streams.tallies.pair_sums import pack_pairs
from streams.tallies.plan import Plan
from streams.tallies.weights import weighted
from streams.wire.cells import decode_cell, encode_cell

HALF, QUARTER = 1 << 31, 1 << 30


def cell(partition, *propensities):
    plan = Plan(declared=frozenset({"click"}), n_variants=2)
    builder = CellBuilder(7, Source.OBSERVATIONS, partition, plan=plan)
    for offset, propensity in enumerate(propensities):
        builder.add_value(offset, (0, propensity, b"", "click"), None, 5 * (offset + 1), 9)
        builder.freeze()
    return builder.cell


def of(tally):
    return tally.variants[0].metrics["click"].units_by_overlap


counted, other = cell(0, HALF, QUARTER), cell(1, QUARTER)
assert of(counted) == pack_pairs((2 * HALF, HALF + 3 * QUARTER))
assert of(merge([counted, other])) == pack_pairs((3 * HALF, HALF + 6 * QUARTER))
assert of(decode_cell(encode_cell(counted))) == of(counted)
metric = MetricTally(units=2, observations=2, total=4, total_squared=8)
found = weighted(2, {"click": metric}, QUARTER).metrics["click"].units_by_overlap
assert found == pack_pairs((2 * HALF, 6 * QUARTER))
"""


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_a_line_of_the_table_and_one_of_the_schema_are_a_new_field(tmp_path):
    for package in ("streams", "schemas"):
        copytree(ROOT / package, tmp_path / package, ignore=ignore_patterns("__pycache__"))
    replaced(
        tmp_path / "streams/tallies/cell.py",
        "\n    moment: tuple[int, ...] = entries()\n    positive",
        FIELD,
    )
    replaced(tmp_path / "schemas/tally_cell.avsc", '\n            {"name": "moment"', SCHEMA)

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
