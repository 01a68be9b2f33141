"""Measurements of a row, their confidence, and their agreement with the claim."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, assert_never

from scipy import special

from benchmarks.simulation.proportion import Proportion

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean over repetitions.

    Attributes:
        mean: The mean.
        error: Its standard error; 0 of what has none.
        repetitions: Number of repetitions, >= 2 if there is an error.
    """

    mean: float
    error: float = 0.0
    repetitions: int = 1

    def interval(self, level: float = CONFIDENCE) -> tuple[float, float]:
        """Return the confidence interval of the expectation, by Student's t."""
        if not self.error:
            return self.mean, self.mean
        half = float(special.stdtrit(self.repetitions - 1, 0.5 + level / 2.0)) * self.error
        return self.mean - half, self.mean + half


Measure = Proportion | Mean


class Verdict(StrEnum):
    """Verdict of a measurement on a claim."""

    HOLDS = "holds"
    """The whole confidence interval is within it."""
    OPEN = "open"
    """Its bound lies inside the confidence interval: more repetitions would decide."""
    FAILS = "fails"
    """The whole confidence interval is outside."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Claimed bound of a measure.

    Attributes:
        measure: Its name.
        at_least, at_most: Between which values its expectation must lie.
    """

    measure: str
    at_least: float = -math.inf
    at_most: float = math.inf

    def verdict(self, measure: Measure, level: float = CONFIDENCE) -> Verdict:
        """Return what a measurement says.

        Args:
            measure: The measurement.
            level: Confidence; the probability that `FAILS` is a false alarm is at most 1 - level.
        """
        low, high = measure.interval(level)
        if high < self.at_least or low > self.at_most:
            return Verdict.FAILS
        return Verdict.HOLDS if self.at_least <= low and high <= self.at_most else Verdict.OPEN


@dataclass(frozen=True, slots=True)
class Result:
    """Measurements of a row.

    Attributes:
        repetitions: Number of repetitions.
        measures: Numbers, by name.
        curves: Lines of plots, by name: x and y.
    """

    repetitions: int
    measures: Mapping[str, Measure]
    curves: Mapping[str, tuple[list[float], list[float]]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "repetitions": self.repetitions,
            "measures": {name: _to_json(each) for name, each in self.measures.items()},
            "curves": {name: list(line) for name, line in self.curves.items()},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return what `to_json` was made of."""
        return cls(
            document["repetitions"],
            {name: _from_json(each) for name, each in document["measures"].items()},
            {name: (line[0], line[1]) for name, line in document["curves"].items()},
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """A result, and what it was measured with.

    Attributes:
        result: The result.
        code: Digest of the code that measured it.
        seconds: Processor time it took.
    """

    result: Result
    code: str = ""
    seconds: float = 0.0

    def covers(self, code: str, repetitions: int) -> bool:
        """Return whether this code has measured so many repetitions, or more."""
        return self.code == code and self.result.repetitions >= repetitions

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return self.result.to_json() | {"code": self.code, "seconds": self.seconds}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return what `to_json` was made of."""
        return cls(
            Result.from_json(document), document.get("code", ""), document.get("seconds", 0.0)
        )


@dataclass(frozen=True, slots=True)
class Store:
    """The results of every row, in one file per group.

    Attributes:
        directory: Where the files are.
    """

    directory: Path

    def kept(self, group: str) -> dict[str, Kept]:
        """Return what is kept of a group by the names of its rows; empty if it has never run."""
        path = self._path(group)
        if not path.exists():
            return {}
        return {name: Kept.from_json(row) for name, row in json.loads(path.read_text()).items()}

    def read(self, group: str) -> dict[str, Result]:
        """Return the results of a group by the names of its rows; empty if it has never run."""
        return {name: kept.result for name, kept in self.kept(group).items()}

    def keep(self, group: str, name: str, kept: Kept) -> None:
        """Put the result of a row beside those of the others, a row a line."""
        rows = self.kept(group) | {name: kept}
        lines = (f"{json.dumps(each)}: {json.dumps(rows[each].to_json())}" for each in sorted(rows))
        self.directory.mkdir(parents=True, exist_ok=True)
        fresh = self._path(group).with_suffix(".tmp")
        fresh.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        fresh.replace(self._path(group))

    def _path(self, group: str) -> Path:
        return self.directory / f"{group}.json"


def pooled(results: Sequence[Result]) -> Result:
    """Return the proportions of independent results as one result.

    Args:
        results: Results with the same measures, all of them proportions; one at least.

    Examples:
        >>> results = [Result(50, {"named": Proportion(n, 50)}) for n in (1, 3)]
        >>> pooled(results).measures["named"]
        Proportion(events=4, repetitions=100)
    """
    events: Counter[str] = Counter()
    repetitions: Counter[str] = Counter()
    for result in results:
        for name, measure in result.measures.items():
            if not isinstance(measure, Proportion):
                raise TypeError(f"{name} == {measure!r}, must be a proportion")
            events[name] += measure.events
            repetitions[name] += measure.repetitions
    return Result(
        sum(result.repetitions for result in results),
        {name: Proportion(events[name], n) for name, n in repetitions.items()},
    )


def _to_json(measure: Measure) -> dict[str, Any]:
    match measure:
        case Proportion():
            return {"events": measure.events, "of": measure.repetitions}
        case Mean():
            return {
                "mean": _short(measure.mean),
                "error": _short(measure.error),
                "of": measure.repetitions,
            }
        case _:
            assert_never(measure)


def _from_json(document: Mapping[str, Any]) -> Measure:
    if "events" in document:
        return Proportion(document["events"], document["of"])
    return Mean(document["mean"], document["error"], document["of"])


def _short(number: float) -> float:
    return float(f"{number:.7g}")
