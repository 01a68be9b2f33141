"""Costs of several checkouts, in one run: each benchmark runs in all of them by turns.

    python -m benchmarks.side_by_side BEFORE [NOW ...] [--rounds 10]
                                      [--benchmarks fold evaluation_cost ...]

The speed of a machine that others use drifts by a third from minute to minute, so figures of two
runs cannot be compared. Here every checkout runs every benchmark once in each round, in an order
that turns, and is compared with the first one of the same round: printed are the medians of the
figures and of those ratios, and the quartiles of the ratios. Below 1 is faster. All are run by the
interpreter that runs this, each in its own directory, so that its own packages come first.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

BENCHMARKS: dict[str, tuple[str, ...]] = {
    "fold": ("--events", "20000", "--rounds", "3"),
    "evaluation_cost": ("--rounds", "100"),
    "posteriors": ("--rounds", "60"),
    "assign_cost": (),
    "wire": (),
}
"""Those whose figures are microseconds or milliseconds of processor time, and arguments with which
one run takes seconds."""

_LINE = re.compile(r"(?P<name>\S.*?)\s+(?:median\s+)?(?P<figure>-?\d+\.\d\d)(?:\s|$)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", nargs="+", type=Path, metavar="CHECKOUT")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--benchmarks", nargs="+", choices=BENCHMARKS, default=["fold"])
    arguments = parser.parse_args()
    for benchmark in arguments.benchmarks:
        print(f"{benchmark}, {arguments.rounds} rounds")
        figures = measure(benchmark, arguments.checkouts, arguments.rounds)
        for line in table(figures, arguments.checkouts):
            print(line)


def measure(
    benchmark: str, checkouts: Sequence[Path], rounds: int
) -> dict[str, dict[Path, list[float]]]:
    """Return the figures of a benchmark by what was measured and by checkout, one per round."""
    figures: dict[str, dict[Path, list[float]]] = defaultdict(lambda: defaultdict(list))
    for turn in range(rounds):
        order = checkouts if turn % 2 == 0 else [*reversed(checkouts)]
        for checkout in order:
            for name, figure in _figures(_output(benchmark, checkout)).items():
                figures[name][checkout].append(figure)
    return figures


def table(
    figures: Mapping[str, Mapping[Path, Sequence[float]]], checkouts: Sequence[Path]
) -> list[str]:
    """Return the lines of a table: what every checkout has, and of its ratio to the first one."""
    first, *others = checkouts
    lines = [f"{'':44}" + "".join(f"{checkout.name:>28}" for checkout in checkouts)]
    for name, of_checkouts in figures.items():
        before = of_checkouts.get(first, ())
        cells = [f"{statistics.median(before):28.2f}" if before else f"{'-':>28}"]
        for checkout in others:
            now = of_checkouts.get(checkout, ())
            cells.append(f"{_compared(before, now):>28}")
        lines.append(f"{name:44}" + "".join(cells))
    return lines


def _compared(before: Sequence[float], now: Sequence[float]) -> str:
    if not now:
        return "-"
    median = f"{statistics.median(now):.2f}"
    # What one of them did not measure in every round has no ratio by rounds.
    if len(before) != len(now) or len(now) < 2 or min(before) <= 0.0:  # noqa: PLR2004
        return median
    ratios = [after / earlier for earlier, after in zip(before, now, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{median}  {statistics.median(ratios):.3f} ({low:.2f}-{high:.2f})"


def _output(benchmark: str, checkout: Path) -> str:
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", *BENCHMARKS[benchmark]]
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=checkout, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


def _figures(output: str) -> dict[str, float]:
    found = map(_LINE.match, output.splitlines())
    return {each["name"]: float(each["figure"]) for each in found if each}


if __name__ == "__main__":
    main()
