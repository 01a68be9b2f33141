from __future__ import annotations

import re
from typing import Any

import pytest

from dashboard.views.headline import ALARM, DONE, GO, STOP, WAIT, headline
from dashboard.views.listing import list_rows
from dashboard.views.text import SPACE
from experiment_streams_client import ListedExperiment
from streams.experiments.statistics.recommendation import ReasonCode
from tests.dashboard.samples import BLUE, changed, facts, listed_json

ABOUT_BLUE = {"variantId": BLUE, "metric": "latency", "value": 0.04, "limit": 0.02}


def row(summary: dict[str, Any], experiment: dict[str, Any] | None = None) -> Any:
    [found] = list_rows(
        [ListedExperiment.model_validate(changed(listed_json(**summary), experiment or {}))]
    )
    return found


@pytest.mark.parametrize(
    ("code", "value", "sentence", "tone"),
    [
        ("GUARDRAIL_TRIPPED", 0.04, "Stop Blue. It makes latency worse by about 4 %.", STOP),
        ("PROMOTED_HARMFUL", 0.04, "Roll Blue back. It makes latency worse by about 4 %.", STOP),
        (
            "SAMPLE_RATIO_MISMATCH",
            1.08,
            "Do not use the results. Blue has 1.08 × its users.",
            ALARM,
        ),
        ("WINNER", 0.003, "Ship Blue. It beats all others by at least 0.3 points.", GO),
        (
            "MIN_SAMPLE_SIZE",
            900,
            "Keep it running. Blue has 900 of the 5,000 users it needs.",
            WAIT,
        ),
        (
            "LEAD_UNCERTAIN",
            -0.003,
            "Keep it running. Blue is ahead, and the best with a probability of 98 %.",
            WAIT,
        ),
        ("NO_DIFFERENCE", None, "Stop it. The variants are equal in practice.", DONE),
        ("NOT_STARTED", None, "Start it. It is a draft.", WAIT),
    ],
)
def test_a_row_says_what_to_do(code, value, sentence, tone):
    about = {**ABOUT_BLUE, "value": value, "limit": 5000}

    found = row({"reasonCode": code, "headline": about, "probabilityBest": 0.98})

    assert f"{found.verb} {found.because}".replace(SPACE, " ") == sentence
    assert found.tone == tone


@pytest.mark.parametrize("lead", [0.0326, 0.003, 0.12345, 0.5])
def test_the_list_and_the_page_of_an_experiment_say_the_same_lead(lead):
    found = row({"reasonCode": "WINNER", "headline": {**ABOUT_BLUE, "value": lead}})
    page = headline(
        facts(
            stats={
                "reasonCode": "WINNER",
                "recommendedAction": "conclude_winner",
                "evidence.comparisons.0.lower": 0.6,
                "evidence.comparisons.1.lower": lead,
            }
        )
    )

    [said] = re.findall(r"at least \S+", found.because)
    assert said in page.because


@pytest.mark.parametrize("code", [*ReasonCode, "OF_A_NEWER_ENGINE"])
@pytest.mark.parametrize("about", [ABOUT_BLUE, {}])
def test_every_reason_has_a_row(code, about):
    found = row({"reasonCode": code, "headline": about})

    assert found.verb
    assert found.icon


def test_a_row_has_owner_tags_units_and_what_is_not_as_it_should_be():
    found = row(
        {"plannedUnits": 20_000, "healthCodes": ["NO_CONVERSION_WINDOW"]},
        {"config.owner": "ana", "config.tags": ["spring"]},
    )

    assert (found.owner, found.tags) == ("ana", ("spring",))
    assert found.units == "3,000 of 20,000 users"
    assert found.day == "day 1"
    assert found.warnings == ("no conversion window",)


@pytest.mark.parametrize(
    ("units", "planned", "text"), [(1, None, "1 user"), (0, None, "0 users"), (1, 1, "1 of 1 user")]
)
def test_one_unit_is_singular(units, planned, text):
    assert row({"units": units, "plannedUnits": planned}).units == text


def test_an_experiment_without_a_summary_has_a_row():
    listed = ListedExperiment.model_validate({**listed_json(), "summary": None})

    [found] = list_rows([listed])

    assert found.verb == "Look at it."
