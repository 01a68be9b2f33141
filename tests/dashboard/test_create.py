from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.views.definition_fields import FieldValueError, value_of
from dashboard.views.definition_form import (
    CONFIG,
    GROUPS,
    INITIAL,
    changed_rows,
    curl,
    definition,
    field_of,
    pretty,
    rows_of,
)
from dashboard.views.plan_form import FIELDS, plan_question
from experiment_streams_client.calls.bodies import json_body
from streams.experiments.config import ExperimentConfig
from streams.experiments.definition import parse_definition
from streams.experiments.exposure import Exposure
from streams.experiments.metrics import Counting, GuardrailMode, MetricSpec, PriorSpec
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import InputError
from streams.policies.registry import POLICIES
from streams.stats.alternative import Alternative
from streams.stats.direction import Direction
from streams.stats.kinds import MetricKind

PAGE = "/experiments/new"

SMALL = {
    **INITIAL,
    "config.name": "Checkout",
    "variants.1.name": "Blue",
    "metrics.0.name": "purchase",
    "metrics.0.kind": "binary",
}

WHOLE = {
    **SMALL,
    "config.key": "checkout",
    "config.description": "Two\nlines",
    "config.owner": "ana",
    "config.tags": "spring\nsale",
    "config.trafficAllocation": "10",
    "config.targeting": '{"==": [{"var": "device"}, "mobile"]}',
    "config.layer.key": "home",
    "config.layer.range.0": "0",
    "config.layer.range.1": "0.5",
    "config.overrides": "tester = Blue\n",
    "config.ignoredUnits": "house\n",
    "config.exposure": "event",
    "config.valueField": "color",
    "config.schedule.startAt": "2026-12-01T09:30",
    "config.schedule.holdOn.guardrail": "on",
    "config.attributionWindow": "14",
    "config.conversionWindow": "7",
    "config.parameters.priorAlpha": "2",
    "config.parameters": '{"earlyStoppingThreshold": 0.99}',
    "config.negligibleDifference": "2",
    "config.autoPromoteWinner": "on",
    "config.maxExpectedLoss": "0.5",
    "config.minDuration": "14",
    "config.controlShare": "10",
    "config.plan.baseline": "0.1",
    "config.plan.lift": "10",
    "config.plan.units": "20000",
    "variants.0.weight": "50",
    "variants.0.config": '{"color": "gray"}',
    "variants.1.weight": "50",
    "variants.1.config": '{"color": "blue"}',
    "metrics.1.name": "latency",
    "metrics.1.role": "guardrail",
    "metrics.1.kind": "continuous",
    "metrics.1.direction": "decrease",
    "metrics.1.toleratedHarm": "2",
    "metrics.2.name": "revenue",
    "metrics.2.role": "secondary",
    "metrics.2.kind": "revenue",
    "metrics.2.prior.alpha": "3",
    "metrics.2.prior.beta": "30",
    "metrics.2.onlyMature": "false",
    "dimensions.0.name": "device",
    "dimensions.0.values": "mobile, desktop",
    "covariates.0.name": "before",
    "covariates.0.minimum": "0",
    "covariates.0.maximum": "500",
    "ramp.0.after": "1",
    "ramp.0.trafficAllocation": "50",
}


def parsed(body: dict[str, Any]) -> Any:
    return parse_definition(body["config"], body["variants"])


def test_a_form_with_few_fields_is_an_experiment():
    found = definition(SMALL)

    assert found.faults == {}
    config = parsed(found.body).config
    assert config.name == "Checkout"
    assert config.primary_metric == "purchase"
    assert config.traffic_allocation == 1.0


NEEDED = {
    **SMALL,
    "dimensions.0.name": "device",
    "dimensions.0.values": "mobile, desktop",
    "covariates.0.name": "before",
    "covariates.0.minimum": "0",
    "covariates.0.maximum": "500",
    "ramp.0.after": "1",
    "ramp.0.trafficAllocation": "50",
}
"""The fewest fields of an experiment with a row of each group."""


def marked(given: Mapping[str, str]) -> set[str]:
    """Return the fields of a form that are marked as required."""
    rows = {(f"{group}.{row}.", group) for group in GROUPS for row in rows_of(given, group)}
    return {
        f"{place}{each.name}"
        for place, fields in (("config.", CONFIG), *((place, GROUPS[name]) for place, name in rows))
        for each in fields
        if each.is_required
    }


CHOSEN = {"control", "config.type", "metrics.0.role"}
"""Fields of which one option is always chosen."""


@pytest.mark.parametrize("name", sorted(NEEDED.keys() - CHOSEN))
def test_a_field_is_marked_if_the_api_refuses_a_form_without_it(name):
    found = definition({**NEEDED, name: ""})

    try:
        parsed(found.body)
    except InputError:
        is_refused = True
    else:
        is_refused = bool(found.faults)
    assert (name in marked(NEEDED)) is is_refused, found.faults


def test_required_fields_are_marked_on_the_page(manager):
    page = manager.get(PAGE).text

    for name in marked(INITIAL):
        assert re.search(rf'id="{re.escape(name)}"[^>]* required', page)
    assert page.count("(required)") == len(marked(INITIAL))


def test_every_field_becomes_the_json_of_the_api():
    found = definition(WHOLE)
    assert found.faults == {}

    read = parsed(found.body)

    config = read.config
    assert config.owner == "ana"
    assert config.tags == ("spring", "sale")
    assert config.traffic_allocation == 0.1
    assert config.layer.range == (0.0, 0.5)
    assert config.overrides == {"tester": "Blue"}
    assert "house" in config.ignored_units
    assert "$default" in config.ignored_units
    assert config.schedule.start_at == 1_796_117_400_000
    assert config.schedule.ramp[0].after == 86_400
    assert [*config.schedule.hold_on] == ["guardrail"]
    assert config.conversion_window == 7 * 86_400
    assert config.parameters.prior_alpha == 2.0
    assert config.parameters.early_stopping_threshold == 0.99
    assert config.negligible_difference == 0.02
    assert config.plan.units == 20_000
    assert config.metrics["latency"].tolerated_harm == 0.02
    assert config.metrics["revenue"].prior.beta == 30.0
    assert config.metrics["revenue"].only_mature is False
    assert config.dimensions[0].values == ("mobile", "desktop")
    assert config.covariates[0].maximum == 500.0
    assert [variant.weight for variant in read.variants] == [0.5, 0.5]


def json_names(model: Any) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_the_form_knows_every_field_of_the_api():
    """A field that the API has gained is to be shown here, too."""
    ours = {each.name.partition(".")[0] for each in CONFIG}
    elsewhere = {"metrics", "primaryMetric", "secondaryMetrics", "guardrailMetrics"}
    elsewhere |= {"dimensions", "covariates"}
    not_chosen = {"holdout", "receiptKey"}  # of holdouts; noted by the engine

    assert json_names(ExperimentConfig) - elsewhere - not_chosen <= ours
    metric = {each.name.partition(".")[0] for each in GROUPS["metrics"]}
    assert json_names(MetricSpec) <= metric
    prior = {each.name for each in GROUPS["metrics"] if each.name.startswith("prior.")}
    assert {f"prior.{name}" for name in json_names(PriorSpec)} == prior


@pytest.mark.parametrize(
    ("group", "name", "values"),
    [
        ("config", "unit", UnitKind),
        ("config", "type", POLICIES),
        ("config", "alternative", Alternative),
        ("config", "exposure", Exposure),
        ("metrics", "kind", MetricKind),
        ("metrics", "direction", Direction),
        ("metrics", "mode", GuardrailMode),
        ("metrics", "counting", Counting),
    ],
)
def test_a_choice_of_the_form_has_every_value_of_the_api(group, name, values):
    """A policy, a kind or any other value that the API has gained can be chosen here, too."""
    fields = CONFIG if group == "config" else GROUPS[group]
    [field] = [each for each in fields if each.name == name]

    assert {value for value, _ in field.choices} - {""} == {*values}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("config.name", "config.name"),
        ("config.plan.baseline", "config.plan.baseline"),
        ("config.plan", "config.plan.baseline"),
        ("config.layer.range", "config.layer.range.0"),
        ("config.parameters.epsilon", "config.parameters"),
        ("config.parameters.priorAlpha", "config.parameters.priorAlpha"),
        ("config.metrics.latency.toleratedHarm", "metrics.1.toleratedHarm"),
        ("config.metrics.revenue.prior", "metrics.2.name"),
        ("config.metrics.revenue.prior.alpha", "metrics.2.prior.alpha"),
        ("config.primaryMetric", "metrics.0.role"),
        ("config.guardrailMetrics[0]", "metrics.1.role"),
        ("config.dimensions[0].values[1]", "dimensions.0.values"),
        ("config.covariates[0]", "covariates.0.name"),
        ("config.schedule.ramp[0].trafficAllocation", "ramp.0.trafficAllocation"),
        ("config.schedule.endAt", "config.schedule.endAt"),
        ("variants[1].name", "variants.1.name"),
        ("variants[1].config", "variants.1.config"),
        ("variants", ""),
        ("", ""),
        ("config", ""),
        ("variants[99].name", ""),
    ],
)
def test_a_path_of_the_api_is_a_field_of_the_form(path, name):
    assert field_of(path, WHOLE, definition(WHOLE)) == name


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("number", "many"),
        ("number", "nan"),
        ("number", "inf"),
        ("number", "1,000"),
        ("integer", "1.5"),
        ("integer", "1,5"),
        ("percent", "%"),
        ("days", "a week"),
        ("days", "1e307"),
        ("time", "tomorrow"),
        ("json", "{"),
        ("json", "[" * 10_000),
        ("json", "[" * 800 + "]" * 800),
        ("json", '{"x": NaN}'),
        ("json", "[1e999, -Infinity]"),
        ("json", r'"\ud800"'),
    ],
)
def test_a_text_of_another_kind_is_shown_beside_its_field(kind, text):
    with pytest.raises(FieldValueError):
        value_of(kind, text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("number", "0,125", 0.125),
        ("number", "12,5", 12.5),
        ("number", "1,234.5", 1_234.5),
        ("number", "-1,234,567", -1_234_567),
        ("number", " 1 000 ", 1_000),
        ("percent", "12,5 %", 0.125),
        ("integer", "31,234", 31_234),
    ],
)
def test_a_comma_is_that_of_a_decimal_or_of_thousands(kind, text, value):
    assert value_of(kind, text) == value


def test_a_comma_that_may_be_of_a_decimal_or_of_thousands_is_refused_with_both():
    with pytest.raises(FieldValueError, match=r"Enter 1500 or 1\.500: "):
        value_of("number", "1,500")


def test_rows_are_added_and_removed():
    more = changed_rows(SMALL, "variants", "")
    assert rows_of(more, "variants") == [0, 1, 2]

    less = changed_rows(more, "", "variants.1")

    assert rows_of(less, "variants") == [0, 2]
    assert definition({**less, "control": "2"}).body["variants"][1] == {"isControl": True}


def test_the_call_is_quoted_for_the_shell():
    body = {"config": {"name": "it's $HOME"}}

    assert """'"'"'""" in curl("http://api", body)


NUMBERS = st.floats().map(repr) | st.sampled_from(["1e308", "-1e308", "1e306", "9" * 400, "1e-320"])
JSON = st.sampled_from(
    [
        "[" * 200 + "]" * 200,
        '{"a":' * 250 + "1" + "}" * 250,
        "NaN",
        "1e999",
        r'{"\udfff":1}',
        "9" * 99,
    ]
)


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(sorted({*WHOLE, *FIELDS})), st.text(max_size=20)),
        st.text(max_size=30) | NUMBERS | JSON,
    )
)
def test_no_form_is_a_fault_of_the_page(fields):
    given = {**SMALL, **fields}
    found = definition(given)

    if not found.faults:
        json_body(found.body)
    pretty(found.body).encode()
    plan_question(given, found)
    for path in ("config.name", "variants[0].weight", "config.metrics.purchase.cap"):
        assert isinstance(field_of(path, fields, found), str)


@pytest.fixture
def manager(browser):
    browser.sign_in("manages")
    return browser


def test_the_form_creates_an_experiment_and_leads_to_it(manager):
    answer = manager.submit(PAGE, **SMALL)

    assert answer.url.path.startswith("/experiments/exp_")
    [(call, body)] = manager.api.commands()
    assert call == "POST /experiments"
    assert body == definition(SMALL).body


def test_a_refusal_stands_beside_its_field_and_what_was_typed_stays(manager):
    error = {"code": "KEY_TAKEN", "message": "the key is taken", "path": "config.key"}
    manager.api.answers["POST /experiments"] = (409, {"error": error})

    answer = manager.submit(PAGE, **WHOLE)

    assert answer.status_code == 409
    assert '<a href="#config.key">Key: The key is taken (KEY_TAKEN)</a>' in answer.text
    assert 'id="config.key-fault">The key is taken (KEY_TAKEN)' in answer.text
    assert "Two\nlines" in answer.text
    assert 'value="20000"' in answer.text


def test_every_unreadable_field_is_shown_at_once(manager):
    answer = manager.submit(
        PAGE, **{**SMALL, "config.minSampleSize": "few", "variants.0.config": "{"}
    )

    assert answer.status_code == 422
    assert "2 fields need" in answer.text
    assert not manager.api.commands()


def test_the_preview_is_what_is_sent(manager):
    answer = manager.http.post(f"{PAGE}/preview", data={"csrf": manager.token(PAGE), **SMALL})

    assert "&#34;primaryMetric&#34;: &#34;purchase&#34;" in answer.text
    assert "curl -X POST http://api/experiments" in answer.text


PLANNED = {**SMALL, "config.plan.baseline": "0.05", "config.plan.lift": "10"}


def asked(manager, **fields: str) -> tuple[Any, str]:
    """Return the question that a form asks of the API, if any, and the part of the page."""
    before = len(manager.api.sent)
    sent = {"csrf": manager.token(PAGE), **PLANNED, **fields}
    text = manager.http.post(f"{PAGE}/plan", data=sent).text
    questions = [
        json.loads(each.content)
        for each in manager.api.sent[before:]
        if each.url.path == "/plan" and each.method == "POST"
    ]
    return (questions[0] if questions else None), text


def test_the_list_of_faults_names_their_fields(manager):
    text = manager.submit(
        PAGE, **{**SMALL, "config.plan.baseline": "1,500", "variants.1.weight": "half"}
    ).text

    [listed] = re.findall(r'id="faults".*?</section>', text, re.DOTALL)
    assert re.findall(r'<a href="#([\w.]+)">([^<]+)</a>', listed) == [
        (
            "config.plan.baseline",
            "Mean of the control: Enter 1500 or 1.500: with the comma it may be either.",
        ),
        ("variants.1.weight", "Share of the traffic, variant 2: Enter a number."),
    ]


def faults_in(text: str) -> dict[str, str]:
    found = re.findall(r"""hx-target="\[id='([\w.]+)-fault'\]"[^>]*>([^<]*)<""", text)
    return {name: fault for name, fault in found if fault}


def test_units_and_days_are_those_of_the_plan(manager):
    """R: power.prop.test(p1 = .05, p2 = .055, power = .8) gives n = 31234."""
    question, text = asked(manager, daily="5000")

    assert question == {
        "baseline": 0.05,
        "lift": 0.1,
        "variants": 2,
        "metricKind": "binary",
        "alpha": 0.05,
        "power": 0.8,
        "dailyUnits": 5000,
    }
    assert "31,234 users of each variant, 62,468 in all: 13 days." in text
    assert 'name="units" value="31234"' in text
    assert '<th scope="row">1 week</th><td class="n">13.5\xa0%</td>' in text


def test_the_question_follows_the_form(manager):
    question, text = asked(
        manager,
        **{
            "metrics.0.kind": "revenue",
            "metrics.0.direction": "decrease",
            "config.plan.deviation": "2,5",
            "config.significanceThreshold": "0.99",
            "config.trafficAllocation": "10",
            "config.unit": "session",
            "variants.2.name": "Green",
            "daily": "1001",
        },
    )

    assert question["metricKind"] == "continuous"
    assert question["deviation"] == 2.5
    assert question["alpha"] == 0.01
    assert question["variants"] == 3
    assert question["dailyUnits"] == 100
    assert "sessions of each variant" in text
    assert "Of 1,001 a day, 10\xa0% take part." in text
    assert "Computed for a rise of that size." in text


@pytest.mark.parametrize(
    ("deviation", "kind", "note"), [("", "binary", "0 and 1"), ("2", "continuous", "amounts")]
)
def test_a_metric_without_a_kind_is_taken_for_one_and_that_is_said(manager, deviation, kind, note):
    question, text = asked(manager, **{"metrics.0.kind": "", "config.plan.deviation": deviation})

    assert question["metricKind"] == kind
    assert note in text


@pytest.mark.parametrize("kind", ["ratio", "quantile"])
def test_without_a_formula_nothing_is_asked(manager, kind):
    question, text = asked(manager, **{"metrics.0.kind": kind})

    assert question is None
    assert f"There is no formula for a {kind}" in text


@pytest.mark.parametrize("missing", ["config.plan.baseline", "config.plan.lift"])
def test_without_its_numbers_nothing_is_asked(manager, missing):
    question, text = asked(manager, **{missing: ""})

    assert question is None
    assert "Enter the mean of the control" in text
    assert faults_in(text) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [("config.plan.lift", "much"), ("daily", "0"), ("daily", "1.5"), ("config.plan.units", "x")],
)
def test_an_unreadable_number_of_a_plan_stands_beside_its_field(manager, field, value):
    question, text = asked(manager, **{field: value})

    assert question is None
    assert [*faults_in(text)] == [field]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("baseline", "config.plan.baseline"),
        ("lift", "config.plan.lift"),
        ("deviation", "config.plan.deviation"),
        ("dailyUnits", "daily"),
    ],
)
def test_a_refusal_of_a_plan_stands_beside_its_field(manager, path, field):
    error = {"code": "OUT_OF_RANGE", "message": "must be less", "path": path}
    manager.api.answers["POST /plan"] = (422, {"error": error})

    _, text = asked(manager)

    assert faults_in(text) == {field: "Must be less (OUT_OF_RANGE)"}


def test_a_refusal_of_no_field_and_a_busy_api_are_said(manager):
    error = {"code": "OUT_OF_RANGE", "message": "alpha is too large", "path": "alpha"}
    manager.api.answers["POST /plan"] = (422, {"error": error})
    assert "Alpha is too large (OUT_OF_RANGE)" in asked(manager)[1]

    error = {"code": "OPERATION_BUSY", "message": "busy", "path": ""}
    manager.api.answers["POST /plan"] = (503, {"error": error})

    assert "Kafka is being read for others." in asked(manager)[1]


def test_too_few_planned_units_are_named_and_enough_are_not_offered(manager):
    few = asked(manager, **{"config.plan.units": "5000"})[1]
    assert "The plan has 5,000 of each, too few for this lift." in few

    enough = asked(manager, **{"config.plan.units": "31234"})[1]

    assert "31,234 users of each variant" in enough
    assert 'name="units"' not in enough
    assert "too few" not in enough


def test_units_are_taken_over_by_a_button_and_nothing_is_created(manager):
    answer = manager.submit(PAGE, **PLANNED, units="31234", daily="5000")

    assert 'name="config.plan.units" value="31234"' in answer.text
    assert 'name="daily" value="5000"' in answer.text
    assert "&#34;units&#34;: 31234" in answer.text
    assert not manager.api.commands()


def test_numbers_beside_the_form_are_no_plan_before_units_are_planned():
    assert "plan" not in definition({**PLANNED, "daily": "5000"}).body["config"]

    unreadable = definition({**PLANNED, "config.plan.units": "many"})

    assert unreadable.faults == {"config.plan.units": "Enter a number."}


def test_who_may_read_gets_no_form(browser):
    browser.sign_in("reads")

    assert "lacks the scope" in browser.get(PAGE).text
