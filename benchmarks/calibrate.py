"""Holds the statistics to what they claim, and writes docs/explanation/calibration.md.

    python -m benchmarks.calibrate [--rows GROUP | GROUP/ROW ...] [--scale 0.2] [--processes N]
                                   [--again] [--quick | --render]

Every row is seeded, and kept under benchmarks/results/calibration as soon as it is done; the page
and its plots are made of what is there. As many rows run at once as there are processors. Rows that
the same code has measured already are left out, so an interrupted run continues where it stopped;
`--again` measures them again. `--scale 0.2` repeats all a fifth as often, and the page says how
often. `--quick` runs fewer repetitions and looks and only says whether a claim fails: it keeps
nothing and ends with 1 if one does. `--render` runs nothing and writes the page again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.calibration.groups import GROUPS, chosen
from benchmarks.calibration.page import page
from benchmarks.calibration.plots import PLOTS, draw
from benchmarks.calibration.results import Store, Verdict
from benchmarks.calibration.running import run_rows

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs" / "explanation"
RESULTS = ROOT / "benchmarks" / "results" / "calibration"

QUICK_LEVEL = 1.0 - 1e-6
"""Confidence at which the smaller cut calls a claim broken: all of its rows together raise a false
alarm with a probability below 2e-4."""


def main() -> None:
    """Run, and render."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", default=[], metavar="GROUP[/ROW]")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="the smaller cut, as in make test-long")
    how.add_argument("--render", action="store_true", help="only write the page and its plots")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the repetitions")
    parser.add_argument(
        "--processes",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="rows that run at the same time; as many as processors unless given",
    )
    parser.add_argument(
        "--again", action="store_true", help="run also what this code has measured already"
    )
    arguments = parser.parse_args()
    try:
        rows = chosen(arguments.rows)
    except ValueError as error:
        parser.error(str(error))
    if arguments.quick:
        with tempfile.TemporaryDirectory() as directory:
            store = Store(Path(directory))
            run_rows(rows, store, is_quick=True, processes=arguments.processes)
            sys.exit(1 if broken(store) else 0)
    store = Store(RESULTS)
    if not arguments.render:
        run_rows(
            rows,
            store,
            scale=arguments.scale,
            processes=arguments.processes,
            again=arguments.again,
        )
    draw(store, DOCS / "calibration")
    (DOCS / "calibration.md").write_text(page(GROUPS, store, PLOTS))


def broken(store: Store) -> list[str]:
    """Return the claims that fail, one line each, and print all verdicts."""
    failed = []
    for group in GROUPS:
        results = store.read(group.name)
        for row in group.rows:
            for claim in row.claims if row.name in results else ():
                verdict = claim.verdict(results[row.name].measures[claim.measure], QUICK_LEVEL)
                line = f"{group.name}/{row.name}, {claim.measure}"
                print(f"{line}: {'fails' if verdict is Verdict.FAILS else 'not contradicted'}")
                if verdict is Verdict.FAILS:
                    failed.append(line)
    return failed


if __name__ == "__main__":
    main()
