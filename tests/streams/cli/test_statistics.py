from __future__ import annotations

import json

import pytest

from streams.cli.statistics_view import lift
from streams.experiments.statistics.variant_report import AgainstControl
from tests.streams.cli.conftest import EXPERIMENT_ID

LINE = f"GET /experiments/{EXPERIMENT_ID}/stats"


def test_stats_shows_counts_sums_and_what_to_do(api, stats, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    api.answers[LINE] = (200, stats)

    result = api.run("stats", EXPERIMENT_ID)

    assert result.exit_code == 0
    text = result.stdout
    for part in ("2,468 assignments", "1,234", "174", "49.99", "99.98", "75.0%", "continue"):
        assert part in text
    assert "0.1 [0.05, 0.15]" in text


def test_stats_shows_lifts_and_what_to_look_into(api, stats, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    stats["metrics"]["click"]["contradiction"] = {
        "code": "NOT_COUNTS",
        "variantId": f"{EXPERIMENT_ID}_v1",
    }
    stats["evidence"]["guardrails"][0]["isTripped"] = True
    stats["evidence"]["sampleRatio"]["isMismatch"] = True
    money = stats["variants"][1]["stats"]["metrics"]["revenue"]
    money["againstControl"] = money["againstControl"] | {"relative": None}
    api.answers[LINE] = (200, stats)

    text = api.run("stats", EXPERIMENT_ID).stdout

    for part in (
        "primary, binary, increase",
        "87.5%",
        "+10.0% [-20.0%, +40.0%]",
        "+0.01 [-0.02, +0.04]",
        "! click: declared count, but variant 1 received a value",
        "! B harms revenue by more than 0.02.",
        "Sample ratio mismatch",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("sequence", "ends"),
    [
        ((0.12, 0.5), "[+12.0%, +50.0%]"),
        ((0.12, None), "[+12.0%, ∞]"),
        ((None, 0.5), "[-∞, +50.0%]"),
        ((None, None), "[+1.0%, +40.0%]"),
    ],
)
def test_the_lift_of_a_winner_has_no_credible_end_beside_one_of_the_sequence(sequence, ends):
    """While the control's mean is uncertain, the sequence of the lift has no upper end."""
    against = AgainstControl(
        0.99, 0.0, 0.01, 0.001, 0.04, 0.2, 0.01, 0.4, 0.001, 0.005, 0.05, *sequence
    )

    assert lift(against, is_chosen=True) == f"+20.0% {ends}"
    assert lift(against) == "+20.0% [+1.0%, +40.0%]"


def test_stats_shows_how_units_of_different_times_count(api, stats, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    api.answers[LINE] = (200, stats)
    assert "Units count" not in api.run("stats", EXPERIMENT_ID).stdout

    stats["metrics"]["click"]["periods"] = {"halfLife": 7200, "delayed": True, "stratified": False}
    text = api.run("stats", EXPERIMENT_ID).stdout

    line = "Units count half after 2:00:00, for what can have arrived: click, policy and intervals."
    assert line in text


def test_stats_shows_which_units_are_compared(api, stats, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    api.answers[LINE] = (200, stats)
    line = "Compared are the units whose conversion window of 1 day, 0:00:00 is over: A 90, B 88."
    untimely = (
        "Not counted: 3 observations after the conversion window and 2 observations before the "
        "conversion delay of their metric."
    )
    shown = api.run("stats", EXPERIMENT_ID).stdout
    assert line in shown
    assert untimely in shown

    stats["evidence"]["maturity"]["window"] = 0
    assert "conversionWindow" not in api.run("stats", EXPERIMENT_ID).stdout
    stats["winner"] = {"id": f"{EXPERIMENT_ID}_v1", "name": "B"}
    assert "! the primary metric has no conversionWindow" in api.run("stats", EXPERIMENT_ID).stdout


def test_stats_says_of_which_units_the_means_are(api, stats):
    said = {}
    for weighting in ("plain", "overlap", "inverse"):
        stats["evidence"]["weighting"] = weighting
        api.answers[LINE] = (200, stats)
        said[weighting] = " ".join(api.run("stats", EXPERIMENT_ID).stdout.split())

    assert all("95 % credible intervals of the mean per unit." in each for each in said.values())
    assert [each for each in said if "units made comparable" in said[each]] == [
        "overlap",
        "inverse",
    ]


def test_stats_shows_how_a_promoted_winner_does(api, stats, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    [guardrail] = stats["evidence"]["guardrails"]
    stats["evidence"]["sinceConclusion"] = {
        "variantId": f"{EXPERIMENT_ID}_v1",
        "units": {f"{EXPERIMENT_ID}_v1": 9500, f"{EXPERIMENT_ID}_v0": 500},
        "guardrails": [guardrail | {"isTripped": True}],
    }
    api.answers[LINE] = (200, stats)

    text = api.run("stats", EXPERIMENT_ID).stdout

    assert "Units since the conclusion, counted apart: B 9,500, A 500." in text
    assert "! Since it was promoted, B harms revenue by more than 0.02." in text


def test_stats_without_evidence_are_shown_without_lifts(api, stats):
    for variant in stats["variants"]:
        for metric in variant["stats"]["metrics"].values():
            metric["againstControl"] = None
    stats |= {"metrics": {}, "evidence": None}
    api.answers[LINE] = (200, stats)

    result = api.run("stats", EXPERIMENT_ID)

    assert result.exit_code == 0
    assert "P(better)" not in result.stdout


def written(shown, answer):
    """Return what is shown of the fields that an answer has, and the others left out."""
    if isinstance(answer, dict):
        return {name: written(shown[name], each) for name, each in answer.items()}
    if isinstance(answer, list):
        return [written(*each) for each in zip(shown, answer, strict=True)]
    return shown


def test_stats_as_json_is_what_the_api_said(api, stats):
    """A field that the answer does not have is shown with its default."""
    api.answers[LINE] = (200, stats)

    result = api.run("stats", EXPERIMENT_ID, "--json")

    assert written(json.loads(result.stdout), stats) == stats


def test_stats_of_an_unknown_experiment_says_so(api):
    error = {
        "code": "EXPERIMENT_NOT_FOUND",
        "message": "does not exist",
        "path": "experimentId",
    }
    api.answers[LINE] = (404, {"error": error})

    result = api.run("stats", EXPERIMENT_ID)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "experiment: EXPERIMENT_NOT_FOUND at experimentId: does not exist\n"


def test_stats_are_of_the_conclusion_if_asked(api, stats):
    api.answers[f"{LINE}?at=conclusion"] = (200, stats)

    result = api.run("stats", EXPERIMENT_ID, "--at", "conclusion")
    watched = api.run("stats", EXPERIMENT_ID, "--at", "conclusion", "--watch")

    assert result.exit_code == 0
    assert watched.exit_code != 0
    assert "WATCH_NOT_USED" in watched.stderr + watched.stdout


def by_device(**changes):
    """Return a dimension with its values, as the API answers it."""
    report = {"units": 12, "mean": 0.1, "againstControl": None}
    against = {
        "difference": 0.05,
        "lower": 0.01,
        "upper": None,
        "relative": 0.5,
        "relativeLower": 0.1,
        "relativeUpper": None,
        "pValue": 0.002,
        "isDifferent": True,
    }
    variants = {
        f"{EXPERIMENT_ID}_v0": {"units": 120, "metrics": {"click": report}},
        f"{EXPERIMENT_ID}_v1": {
            "units": 80,
            "metrics": {"click": report | {"mean": 0.15, "againstControl": against}},
        },
    }
    empty = {
        name: {"units": 0, "metrics": {"click": report | {"units": 0, "mean": None}}}
        for name in variants
    }
    ratio = {"pValue": 1e-9, "isMismatch": True, "ratios": dict.fromkeys(variants, 1.0)}
    return {
        "name": "device",
        "units": 200,
        "unknownUnits": 0,
        "mismatches": ["mobile"],
        "error": 0.05,
        "comparisons": 2,
        "values": [
            {"value": "mobile", "units": 200, "variants": variants, "sampleRatio": ratio},
            {"value": None, "units": 0, "variants": empty, "sampleRatio": ratio},
        ],
        "unknownShare": 0.0,
        "isExploratory": True,
        "findings": [],
        **changes,
    }


def test_stats_by_a_dimension_show_a_line_for_each_value_and_variant(api, stats, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    api.answers[f"{LINE}?dimension=device"] = (200, stats | {"dimensions": [by_device()]})

    shown = api.run("stats", EXPERIMENT_ID, "--dimension", "device").stdout

    assert "mobile" in shown
    assert "(other)" in shown
    assert "+50.0% [+10.0%, \u221e] *" in shown
    assert "mismatch" in shown
    assert "Exploratory" in shown
    assert "sample ratio mismatch among the units with device 'mobile'" in shown


def test_findings_of_dimensions_are_shown_without_asking_for_one(api, stats):
    hidden = by_device(values=[], unknownUnits=150, mismatches=[])
    api.answers[LINE] = (200, stats | {"dimensions": [hidden]})

    shown = " ".join(api.run("stats", EXPERIMENT_ID).stdout.split())

    assert "75.0% of the units have none of the declared values of device" in shown
    assert "(other)" not in shown
