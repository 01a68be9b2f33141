from __future__ import annotations

from typing import Any

import pytest

from dashboard.views.headline import ALARM, DONE, GO, STOP, WAIT, headline
from dashboard.views.text import SPACE
from streams.experiments.statistics.recommendation import ReasonCode
from tests.dashboard.samples import BLUE, CONTROL, GREEN, facts

PROMOTION = {"variantId": BLUE, "controlShare": 0.05, "isAutomatic": True, "rolledBackAt": None}

LATENCY_OF_BLUE = "evidence.guardrails.0"

HARM = {
    f"{LATENCY_OF_BLUE}.harm": 0.04,
    f"{LATENCY_OF_BLUE}.toleratedHarm": 0.02,
    f"{LATENCY_OF_BLUE}.isTripped": True,
    f"{LATENCY_OF_BLUE}.pValue": 0.001,
}

SENTENCES: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    (
        {"reasonCode": "MIN_SAMPLE_SIZE", f"evidence.units.{BLUE}": 3200},
        {"config.minSampleSize": 5000},
        WAIT,
        "Keep it running. Green has 989 of the 5,000 users it needs before it can be judged.",
    ),
    (
        {"reasonCode": "PROBABILITY_BEST", "evidence.probabilityBest": 0.78},
        {},
        WAIT,
        (
            "Keep it running. Blue is ahead, but with a chance of 22 % another variant is "
            "better; at "
            "most 5 % is allowed."
        ),
    ),
    (
        {},
        {},
        WAIT,
        (
            "Keep it running. Blue looks better, but its lead over Control may still be "
            "anywhere from "
            "−0.3 to +9.9 points. Stopping now often picks a wrong winner."
        ),
    ),
    (
        {
            "reasonCode": "WINNER",
            "recommendedAction": "conclude_winner",
            "evidence.comparisons.0.lower": 0.021,
            "evidence.comparisons.1.lower": 0.003,
        },
        {},
        GO,
        (
            "Ship Blue. It beats every other variant, Green by at least 0.3 points. At most "
            "5 of 100 "
            "experiments ever name a wrong winner, however often you look."
        ),
    ),
    (
        {"reasonCode": "NO_DIFFERENCE", "recommendedAction": "conclude_no_difference"},
        {},
        DONE,
        (
            "Stop: the variants are equal in practice. None differs from Blue by more than 1 "
            "% of its "
            "rate. Choose by cost."
        ),
    ),
    (
        {"reasonCode": "GUARDRAIL_TRIPPED", "recommendedAction": "stop_guardrail", **HARM},
        {},
        STOP,
        (
            "Stop Blue. Its latency is about 4 % worse than that of Control; 2 % was "
            "tolerated. False "
            "alarms: at most 5 of 100 experiments."
        ),
    ),
    (
        {
            "reasonCode": "SAMPLE_RATIO_MISMATCH",
            "recommendedAction": "investigate",
            "evidence.sampleRatio.isMismatch": True,
            "evidence.sampleRatio.pValue": 0.001,
            f"evidence.sampleRatio.ratios.{BLUE}": 1.08,
        },
        {},
        ALARM,
        (
            "Do not use these results. Blue has 1.08 times the users it should have (by "
            "chance: below "
            "1 in 1,000). Look for lost or repeated assignments first."
        ),
    ),
    (
        {
            "reasonCode": "KIND_CONTRADICTED",
            "recommendedAction": "investigate",
            "metrics.purchase.contradiction": {"code": "NOT_BINARY", "variantId": BLUE},
        },
        {},
        ALARM,
        (
            "Do not use these results. purchase is declared binary, but variant Blue "
            "received a value "
            "other than 0 or 1. Repair the data first."
        ),
    ),
    (
        {"reasonCode": "PROMOTED", "status": "concluded"},
        {"promotion": PROMOTION},
        DONE,
        (
            "Blue is shipped. It was promoted automatically; Control keeps 5 % of the users, and "
            "guardrails are watched, until the experiment is archived."
        ),
    ),
    (
        {
            "reasonCode": "PROMOTED_HARMFUL",
            "status": "concluded",
            "evidence.sinceConclusion": {
                "variantId": BLUE,
                "units": {CONTROL: 10, BLUE: 90, GREEN: 0},
                "guardrails": [
                    {
                        "metric": "latency",
                        "variantId": BLUE,
                        "toleratedHarm": 0.0,
                        "harm": 0.3,
                        "pValue": 0.001,
                        "isTripped": True,
                    }
                ],
            },
        },
        {"promotion": PROMOTION},
        STOP,
        (
            "Roll Blue back. Since it was shipped: Its latency is about 30 % worse than that of "
            "Control; none was tolerated. False alarms: at most 5 of 100 experiments."
        ),
    ),
    (
        {"reasonCode": "NOT_STARTED", "status": "draft", "evidence": None},
        {},
        WAIT,
        "Start it. No users have been assigned yet.",
    ),
]


@pytest.mark.parametrize(("stats", "experiment", "tone", "sentence"), SENTENCES)
def test_the_headline_is_a_verb_its_evidence_and_its_error(stats, experiment, tone, sentence):
    found = headline(facts(stats, experiment))

    assert f"{found.verb} {found.because}".replace(SPACE, " ") == sentence
    assert found.tone == tone


@pytest.mark.parametrize("code", [*ReasonCode])
def test_every_reason_has_a_headline_that_never_says_significant(code):
    found = headline(facts({"reasonCode": code}))

    assert found.verb
    assert "signific" not in f"{found.verb} {found.because}".lower()


@pytest.mark.parametrize("code", [*ReasonCode, "OF_A_NEWER_ENGINE"])
def test_a_reason_without_evidence_is_shown_in_the_words_of_the_api(code):
    found = headline(facts({"reasonCode": code, "evidence": None, "reason": "As it is."}))

    assert found.verb


def test_a_failed_evaluation_comes_before_everything():
    failure = {"code": "EVALUATION_FAILED", "error": "ValueError", "statisticsVersion": 7}

    found = headline(facts({"failure": failure}))

    assert found.tone == ALARM
    assert "version 7" in found.because
