"""`experiment plan` as people run it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from streams.cli.main import app


def planned(*options: str) -> Result:
    return CliRunner().invoke(app, ["plan", *options])


def as_json(*options: str) -> dict[str, Any]:
    result = planned(*options, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


CLEAR = ("--baseline", "0.1", "--lift", "2", "--simulations", "10")


def test_formulas_alone_need_no_time():
    found = as_json("--baseline", "0.05", "--lift", "0.1", "--simulations", "0")

    assert found["fixed"] == {"unitsPerVariant": 31_234, "units": 62_468, "days": None}
    assert found["sequential"] is found["bandit"] is found["detectable"] is None
    text = planned("--baseline", "0.05", "--lift", "0.1", "--simulations", "0").stdout
    assert "0.05 per unit against 0.055 (+10%) of a binary metric; 2 variants" in text
    assert "give every variant 31,234 units, 62,468 in all" in text
    assert "Planned looks: look 5 times and no more, as below; it takes 64,012 at most" in text


def test_planned_looks_are_listed_with_their_boundaries():
    options = ("--baseline", "0.05", "--lift", "0.1", "--simulations", "0")
    found = as_json(*options, "--looks", "20")["groupSequential"]

    assert found["spending"] == "obrien_fleming"
    assert found["looks"][-1]["units"] == found["unitsPerVariant"] > 31_234
    assert found["expectedUnitsPerVariant"] < 31_234
    assert found["looks"][0] == {"units": 1_634, "critical": None, "stopped": 0.0}
    text = planned(*options, "--looks", "3", "--spending", "pocock").stdout
    assert "   3 " in text
    assert "never" not in text


def test_simulations_report_all_three():
    found = as_json(*CLEAR, "--variants", "3", "--daily-units", "100", "--horizon", "4000")

    assert found["sequential"]["nRuns"] == 10
    assert found["sequential"]["horizon"] == 4_000
    assert found["sequential"]["found"] == 1.0
    assert found["sequential"]["medianDays"] == -(-found["sequential"]["medianUnits"] // 100)
    assert found["bandit"]["policy"] == "thompson_sampling"
    assert found["bandit"]["lost"] < found["sequential"]["lost"] + 400
    assert [each["weeks"] for each in found["detectable"]] == [1, 2, 4, 8]
    assert as_json(*CLEAR, "--seed", "1") != as_json(*CLEAR)


def test_the_tables_are_for_people():
    text = planned(*CLEAR, "--daily-units", "100").stdout

    assert "half found it by" in text
    assert "bandit, thompson_sampling" in text
    assert "Sequential: look whenever you like, and stop at `conclude_winner`." in text
    assert "days)" in text
    assert "8 weeks" in text


def test_a_bandit_that_is_never_certain_gets_a_note_of_it():
    text = planned("--baseline", "0.1", "--lift", "0.2", "--simulations", "2", "--horizon", "400")

    assert "moves the traffic and proves" in text.stdout
    assert "never" in text.stdout


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--baseline", "2", "--lift", "0.1"), "OUT_OF_RANGE at baseline"),
        (("--baseline", "0.2", "--lift", "0"), "OUT_OF_RANGE at lift"),
        (("--baseline", "2", "--lift", "0.1", "--metric-kind", "continuous"), "at deviation"),
        (("--baseline", "0.2", "--lift", "0.1", "--policy", "bayesian_ab"), "NOT_ADAPTIVE"),
        (("--baseline", "0.2", "--lift", "0.1", "--policy", "best"), "UNKNOWN_TYPE"),
        (("--baseline", "0.2", "--lift", "0.1", "--policy", "lin_ucb"), "CONTEXTUAL_POLICY"),
        (("--baseline", "0.2", "--lift", "0.1", "--alpha", "0"), "OUT_OF_RANGE at alpha"),
    ],
)
def test_what_cannot_be_planned_is_refused(options, code):
    result = planned(*options)

    assert result.exit_code == 1
    assert code in result.output
