"""Cost of one evaluation: the benchmarks that measure it, as rows."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial

from benchmarks.calibration.errors import slug
from benchmarks.calibration.results import Claim, Mean, Result
from benchmarks.calibration.row import Progress, Row, Section, Size

_UPDATE = "the update: all of the above"
_MOST_MS = 5.0


def cost() -> Section:
    """Return the parts of an evaluation that have a claim, and the whole."""
    return Section(
        "cost",
        "Cost of an evaluation",
        "Ten variants and five metrics; processor time of one core, median of 200. The update is "
        "what every change of a tally needs: posteriors, credible intervals, P(best) and expected "
        "loss. An evaluation is all that is published: lifts, sequences and the decision besides. "
        "[benchmarks/README.md](../../benchmarks/README.md) has the parts.",
        {"ms": "milliseconds"},
        (
            _row("posteriors", _UPDATE, (Claim("ms", at_most=_MOST_MS),)),
            _row("evaluation_cost", "evaluation, thompson_sampling"),
            _row("evaluation_cost", "evaluation, bayesian_ab"),
        ),
    )


def _row(program: str, line: str, claims: tuple[Claim, ...] = ()) -> Row:
    return Row(
        slug(line.partition(":")[0]),
        {"what": line.partition(":")[0], "program": f"`python -m benchmarks.{program}`"},
        partial(_measured, program, line),
        200,
        claims=claims,
        is_alone=True,
    )


def _measured(program: str, line: str, size: Size, progress: Progress) -> Result:
    command = [sys.executable, "-m", f"benchmarks.{program}", "--rounds", str(size.repetitions)]
    for _ in progress(range(1)):
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(rf"^{re.escape(line)} +(?:median +)?([0-9.]+) ms\b", printed, re.MULTILINE)
    if found is None:
        raise ValueError(f"{program} printed no line {line!r}:\n{printed}")
    return Result(size.repetitions, {"ms": Mean(float(found[1]))})
