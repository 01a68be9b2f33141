"""Every number of the statistics is on the page of guarantees, and its calibration rows exist."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
from pydantic.alias_generators import to_camel

from benchmarks.calibration.groups import chosen
from streams.experiments import statistics
from streams.experiments.statistics.evidence import Evidence
from streams.experiments.statistics.record import Statistics
from streams.experiments.statistics.variant_report import VariantReport
from streams.model.published import Published

PAGE = (Path(__file__).parent.parent / "docs" / "explanation" / "guarantees.md").read_text()
TABLE = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("|")][2:]

SETTINGS = {
    "asOfMs": "time of the newest event",
    "conversionWindow": "as declared",
    "conversionDelay": "as declared",
    "error": "what the comparisons may err, as declared",
    "halfLife": "as declared",
    "leader": "index of a variant",
    "margin": "as declared",
    "plannedInformation": "as declared",
    "statisticsVersion": "version of a record",
    "toleratedHarm": "as declared",
    "variant": "index of a variant",
    "version": "version of a record",
    "window": "as declared",
    "durationMs": "time between two events",
    "unknownUnits": "count of units",
}
"""Numbers that state nothing of the variants."""


def _records() -> Iterator[type[Any]]:
    for module in iter_modules(statistics.__path__, f"{statistics.__name__}."):
        for each in vars(import_module(module.name)).values():
            if isinstance(each, type) and is_dataclass(each) and issubclass(each, Published):
                yield each


def _numbers() -> set[str]:
    records = set(_records())
    assert {Statistics, Evidence, VariantReport} <= records
    return {
        to_camel(field.name)
        for record in records
        for field in fields(record)
        if re.search(r"\b(float|int|ExactInteger)\b", str(field.type))
        and "bool" not in str(field.type)
    }


@pytest.mark.parametrize("name", sorted(_numbers() - SETTINGS.keys()))
def test_number_has_a_line(name):
    numbers = " ".join(line[0] for line in TABLE)
    conditions = " ".join(line[2] for line in TABLE)

    assert f"`{name}`" in numbers + conditions or _is_end(name, numbers)


def _is_end(name: str, numbers: str) -> bool:
    """Return whether a name is that of an end of an interval whose line has its middle."""
    middle = re.sub(r"(Lower|Upper)$", "", name)
    return middle != name and f"`{middle}`" in numbers


@pytest.mark.parametrize(
    "pattern", sorted({each for line in TABLE for each in re.findall(r"`([^`]+)`", line[3])})
)
def test_rows_exist(pattern):
    assert chosen([pattern])
