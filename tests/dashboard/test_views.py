from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.pages.commands import _share
from dashboard.views import health
from dashboard.views.actions import action_named, actions
from dashboard.views.checklist import checklist
from dashboard.views.experiment import experiment_view
from dashboard.views.forest import forest
from dashboard.views.history import history
from dashboard.views.metrics import metric_tables, slices
from dashboard.views.scales import axis_of
from dashboard.views.text import (
    SPACE,
    Scale,
    number,
    percent,
    percent_field,
    signed,
    signed_percent,
)
from dashboard.views.variants import COLORS, colors, variant_rows
from experiment_streams_client import HistoryItem
from tests.dashboard.samples import BLUE, facts, history_json


def position(text: str) -> float:
    return float(text.removesuffix("%"))


def test_the_forest_has_both_intervals_around_the_difference():
    chart = forest(facts())
    assert chart is not None

    blue, green = chart.rows

    assert blue.sequence is not None
    assert position(blue.sequence.x) < position(blue.credible.x) < position(blue.point)
    assert position(blue.point) < position(blue.credible.end) < position(blue.sequence.end)
    assert position(blue.sequence.x) < position(chart.zero) < position(blue.credible.x)
    assert position(green.credible.x) < position(chart.zero) < position(green.credible.end)
    assert "Blue: +5.0 points" in chart.label.replace(SPACE, " ")


def test_less_is_to_the_right_where_less_is_better():
    increase = forest(facts())
    decrease = forest(facts({"metrics.purchase.direction": "decrease"}))
    assert increase is not None
    assert decrease is not None

    assert decrease.is_mirrored
    for one, other in zip(increase.rows, decrease.rows, strict=True):
        assert position(one.point) + position(other.point) == pytest.approx(100, abs=0.02)
        assert one.difference == other.difference
    assert float(decrease.marks[0][1].replace("−", "-")) > 0


def test_without_a_sequence_it_is_too_early_to_decide():
    place = "variants.1.stats.metrics.purchase.againstControl"
    found = facts({f"{place}.sequenceLower": None, f"{place}.sequenceUpper": None})

    chart = forest(found)

    assert chart is not None
    assert chart.rows[0].sequence is None
    assert chart.rows[0].sequence_text == "too early to decide"
    assert variant_rows(found)[1].status == "Too early"


def test_a_sequence_far_wider_than_what_is_known_is_cut():
    place = "variants.1.stats.metrics.purchase.againstControl"
    chart = forest(facts({f"{place}.sequenceLower": -50.0, f"{place}.sequenceUpper": None}))

    assert chart is not None
    assert chart.rows[0].sequence is not None
    assert chart.rows[0].sequence.is_cut_left
    assert chart.rows[0].sequence.is_cut_right
    assert position(chart.rows[0].credible.width) > 5


@pytest.mark.parametrize(
    ("direction", "lower", "upper", "status"),
    [
        ("increase", 0.01, 0.09, "Better"),
        ("increase", -0.09, -0.01, "Worse"),
        ("increase", -0.01, 0.09, "Not decided"),
        ("increase", 0.0, 0.09, "Not decided"),
        ("decrease", 0.01, 0.09, "Worse"),
        ("decrease", -0.09, -0.01, "Better"),
        ("decrease", None, -0.01, "Better"),
    ],
)
def test_the_verdict_follows_the_sequence_alone(direction, lower, upper, status):
    place = "variants.1.stats.metrics.purchase.againstControl"
    found = facts(
        {
            "metrics.purchase.direction": direction,
            f"{place}.sequenceLower": lower,
            f"{place}.sequenceUpper": upper,
            f"{place}.probabilityBetter": 0.999999,
        }
    )

    assert variant_rows(found)[1].status == status


def test_the_checklist_says_what_is_missing_and_what_is_met():
    found = checklist(facts())
    assert found is not None

    assert [item.text for item in found.items if not item.is_met] == [
        "day 1; the week ends on day 7",
        "no variant beats all others yet",
    ]
    assert found.n_met == len(found.items) - 2


@pytest.mark.parametrize(
    ("days", "text"),
    [(0.5, "day 1; the week ends on day 7"), (8.2, "day 9; the week ends on day 14")],
)
def test_weeks_are_counted_by_days(days, text):
    found = checklist(facts({"evidence.durationMs": int(days * 86_400_000)}))
    assert found is not None

    assert text in [item.text for item in found.items]


def test_an_obstacle_of_a_newer_engine_is_in_the_list():
    found = checklist(facts({"evidence.promotionObstacles": ["FULL_MOON"]}))
    assert found is not None

    assert [item.text for item in found.items if not item.is_met] == ["full moon"]


def test_the_sample_ratio_has_counts_and_alarms_by_its_test_alone():
    quiet = health.sample_ratio(facts())
    loud = health.sample_ratio(
        facts({"evidence.sampleRatio.isMismatch": True, "evidence.sampleRatio.pValue": 1e-9})
    )
    assert quiet is not None
    assert loud is not None

    assert not quiet.is_alarm
    assert [row.extra for row in quiet.rows] == ["1,016", "995", "989"]
    assert {row.limit_text for row in quiet.rows} == {"1,000"}
    assert [row.is_alarm for row in loud.rows] == [True, False, False]


def test_a_harmed_guardrail_is_named():
    found = health.guardrails(
        facts({"evidence.guardrails.0.isTripped": True, "evidence.guardrails.0.harm": 0.04})
    )
    assert found is not None

    assert found.summary == "Harmed: latency, Blue."
    assert found.rows[0].text.replace(SPACE, " ") == "4 % worse"


def test_slices_are_rows_of_values_and_variants():
    found = facts()

    table = slices(found, found.stats.dimensions[0], "purchase")

    assert [row.value for row in table.rows] == ["mobile"] * 3 + ["desktop"] * 3 + [
        "all others"
    ] * 3
    assert table.rows[1].difference


def test_metrics_are_in_the_order_of_their_roles():
    assert [table.name for table in metric_tables(facts())] == ["purchase", "revenue", "latency"]


@pytest.mark.parametrize(
    ("status", "names"),
    [
        ("draft", {"start", "archive"}),
        ("running", {"ship", "conclude", "ramp", "stop-variant", "pause"}),
        ("paused", {"ship", "conclude", "ramp", "stop-variant", "resume"}),
        ("concluded", {"archive"}),
        ("archived", set()),
    ],
)
def test_the_commands_that_are_offered_are_those_the_engine_takes(status, names):
    found = actions(facts({"status": status}))

    assert {action.name for action in found} == names
    assert all(action.effect and action.statistics and action.undo for action in found)


def test_a_shipped_winner_can_be_rolled_back_once():
    promotion = {"variantId": BLUE, "controlShare": 0.05, "isAutomatic": False}
    served = {"variantId": BLUE, "since": 1}

    for state in ({"promotion": promotion}, {"served": served}):
        assert action_named(facts({"status": "concluded"}, state), "rollback") is not None
    for state in ({"promotion": promotion | {"rolledBackAt": 2}}, {}):
        assert action_named(facts({"status": "concluded"}, state), "rollback") is None


def test_a_page_is_made_of_an_experiment_that_has_no_evidence():
    view = experiment_view(
        facts(
            {
                "evidence": None,
                "reasonCode": "NOT_STARTED",
                "status": "draft",
                "metrics": {},
                "asOf": 0,
                **{f"variants.{index}.stats.metrics": {} for index in range(3)},
                **{f"variants.{index}.stats.mean": None for index in range(3)},
                **{f"variants.{index}.stats.lower": None for index in range(3)},
            }
        )
    )

    assert view.forest is None
    assert view.checklist is None
    assert [row.mean for row in view.variants] == ["–"] * 3


@given(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), max_size=6),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_every_axis_has_positions_between_its_ends(values, value):
    axis = axis_of(value for value in values if value is None or abs(value) < 1e300)

    assert 0 <= position(axis.at(max(min(value, 1e300), -1e300))) <= 100
    marks = axis.marks()
    assert len(marks) <= 12


@given(st.floats(), st.one_of(st.none(), st.floats(min_value=0)))
def test_every_number_has_a_text(value, width):
    assert number(value, width)
    assert len(number(value, width)) < 40


@given(st.floats(-1e14, 1e14), st.one_of(st.none(), st.floats(min_value=0)))
def test_numbers_have_no_exponent_and_only_what_rounds_to_zero_has_no_sign(value, width):
    texts = {number(value, width), signed(value, width), *map(signed_percent, [value / 100])}

    for text in texts:
        digits = text.replace(SPACE, " ")
        assert "e" not in digits
        assert "nan" not in digits
        is_zero = not any(each in "123456789" for each in digits)
        assert is_zero <= (digits[0] == "0")
        assert not is_zero or abs(value) < 1 or width
    if width is None:
        assert (number(value) == "0") is (value == 0)


@given(st.floats(allow_subnormal=False), st.sampled_from([0, 1]))
def test_shares_have_no_signed_zero_and_no_nan(share, decimals):
    text = percent(share, decimals).replace(SPACE, " ")

    assert "nan" not in text
    assert "inf" not in text
    assert text != "−0 %"
    assert (text == "0 %") is (share == 0)


@given(st.floats(0, 1))
def test_a_share_in_a_field_is_read_back_as_it_was(share):
    text = percent_field(share)

    assert "e" not in text.lower()
    assert _share({"traffic": text}, "traffic") == share


@given(st.floats(0, 1), st.floats(1e-6, 1))
def test_no_end_of_an_interval_is_rounded_to_the_other_side_of_zero(share, width):
    lower = -share * width
    text = Scale(is_rate=True).interval(lower, lower + width).replace(SPACE, " ")
    shown = text.removesuffix(" points").replace("−", "-").replace(",", "")
    low, high = (float(each.lstrip("<>")) for each in shown.split(" to "))

    assert low <= 0 <= high
    assert math.isclose(high - low, 100 * width, rel_tol=0.05)


def texts(found) -> set[str]:
    listed = checklist(found)
    assert listed is not None
    return {item.code for item in listed.items}


def test_a_condition_that_is_not_asked_is_not_said_to_be_met():
    asked = texts(facts({"evidence.guardrails.0.margin": 0.1, "evidence.unitsNeeded": [0, 9, 0]}))
    not_asked = texts(facts({"evidence.guardrails": [], "evidence.unitsNeeded": [0, 0, 0]}))

    assert asked - not_asked == {"GUARDRAIL_TRIPPED", "GUARDRAIL_UNPROVEN", "TAILS_UNSEEN"}
    assert not_asked < asked


def test_a_harmed_guardrail_is_not_ruled_out():
    assert "GUARDRAIL_UNPROVEN" not in texts(facts({"evidence.guardrails.0.isTripped": True}))


def test_of_two_active_variants_none_can_be_stopped_and_harm_is_ended_by_the_conclusion():
    harmed = {"recommendedAction": "stop_guardrail"}

    three = actions(facts(harmed))
    two = actions(facts({**harmed, "variants.2.isActive": False}))

    assert [each.name for each in three if each.is_main] == ["stop-variant"]
    assert [each.name for each in two if each.is_main] == ["conclude"]
    assert "stop-variant" not in {each.name for each in two}


def test_a_difference_without_a_share_of_the_control_has_none():
    place = "variants.1.stats.metrics.purchase.againstControl.relative"

    assert variant_rows(facts({place: None}))[1].relative == ""


def test_a_recommendation_is_shown_in_words_and_names():
    found = facts()
    [item] = history(
        [
            HistoryItem.model_validate(
                {
                    **history_json()[2],
                    "kind": "recommendation",
                    "omittedChanges": 0,
                    "changes": [
                        {
                            "path": "recommendedAction",
                            "before": "continue",
                            "after": "conclude_winner",
                        },
                        {"path": "recommendedVariantId", "before": None, "after": BLUE},
                    ],
                }
            )
        ],
        found.experiment,
    )

    assert item.changes == ("action: keep it running → ship the winner", "variant: none → Blue")


def test_an_archived_experiment_has_no_note_on_what_to_declare():
    found = facts()
    archived = facts({"status": "archived"})

    assert any("conversion window" in each for each in health.notes(found))
    assert not any("conversion window" in each for each in health.notes(archived))


def test_a_share_and_the_action_after_the_end_are_shown_in_words():
    changes = (
        {"path": "promotion.controlShare", "before": None, "after": 0.10000610},
        {"path": "recommendedAction", "before": "conclude_winner", "after": "continue"},
    )
    item = HistoryItem.model_validate(
        {
            **history_json()[0],
            "kind": "recommendation",
            "reasonCode": "PROMOTED",
            "changes": [*changes],
        }
    )

    [row] = history([item], facts().experiment)

    assert [each.replace(SPACE, " ") for each in row.changes] == [
        "control keeps: none → 10 %",
        "action: ship the winner → nothing to do",
    ]


@pytest.mark.parametrize(("control", "leader"), [(0, 9), (10, 9), (0, 2)])
def test_control_and_leader_have_colors_however_many_variants_there_are(control, leader):
    found = facts()
    variants = tuple(
        replace(found.stats.variants[0], is_control=index == control) for index in range(12)
    )
    evidence = replace(found.known, leader=leader)
    many = replace(found, stats=replace(found.stats, variants=variants, evidence=evidence))

    given = colors(many)

    distinct = [each for each in given if each != "vx"]
    assert len(distinct) == len(set(distinct)) == COLORS
    assert "vx" not in (given[control], given[leader])
    assert colors(found) == ("v0", "v1", "v2")
