import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic.alias_generators import to_camel

from streams.experiments.config import UnitKind
from streams.experiments.definition import parse_definition
from streams.experiments.measurement_plan import plan_of
from streams.experiments.metrics import MetricSpec
from streams.experiments.statistics import MetricRole
from streams.experiments.update import ExperimentUpdate, updated
from streams.model.errors import InputError
from streams.model.validation import parse
from streams.stats.direction import Direction
from streams.stats.families.base import Priors
from streams.stats.kinds import MetricKind
from streams.stats.posteriors.normal import NormalPrior
from streams.tallies.plan import MAX_DECLARED, Accepted, Plan

CONFIG = {"name": "Hero", "type": "thompson_sampling", "primaryMetric": "click"}
BEFORE = {"name": "age", "minimum": 0, "maximum": 100}
FIXED = CONFIG | {"type": "bayesian_ab"}
VARIANTS = [{"name": "A", "isControl": True, "config": {"adId": "ad_1"}}, {"name": "B"}]


def variants(*changes):
    return [variant | change for variant, change in zip(VARIANTS, changes, strict=True)]


def refusal(config, arms):
    with pytest.raises(InputError) as caught:
        parse_definition(config, arms)
    return caught.value.code, caught.value.path


def test_defaults_of_an_adaptive_policy_are_by_impression():
    config = parse_definition(CONFIG, VARIANTS).config

    assert (config.unit, config.attribution_window) == (UnitKind.IMPRESSION, 86_400)


def test_defaults_of_a_fixed_policy_are_by_user_without_a_limit():
    config = parse_definition(FIXED, VARIANTS).config

    assert (config.unit, config.attribution_window) == (UnitKind.USER, 0)


@pytest.mark.parametrize(("unit", "window"), [("user", 0), ("session", 0), ("impression", 86_400)])
def test_default_window_follows_the_stated_unit(unit, window):
    assert parse_definition(CONFIG | {"unit": unit}, VARIANTS).config.attribution_window == window
    stated = parse_definition(CONFIG | {"unit": unit, "attributionWindow": 7}, VARIANTS)
    assert stated.config.attribution_window == 7


@pytest.mark.parametrize(
    ("covariates", "code", "path"),
    [
        (3, "WRONG_TYPE", "covariates"),
        ([{"name": "age", "minimum": 0}], "MISSING_FIELD", "covariates[0].maximum"),
        ([{"name": "a b", "minimum": 0, "maximum": 1}], "INVALID_NAME", "covariates[0].name"),
        ([BEFORE | {"minimum": "0"}], "WRONG_TYPE", "covariates[0].minimum"),
        ([BEFORE | {"minimum": True}], "WRONG_TYPE", "covariates[0].minimum"),
        ([BEFORE | {"maximum": 0}], "EMPTY_RANGE", "covariates[0].maximum"),
        ([BEFORE | {"maximum": 1e16}], "OUT_OF_RANGE", "covariates[0].maximum"),
        ([BEFORE | {"type": "category"}], "UNKNOWN_FIELD", "covariates[0].type"),
        ([BEFORE, BEFORE], "DUPLICATE_NAME", "covariates[1].name"),
        ([BEFORE | {"name": f"c{n}"} for n in range(9)], "OUT_OF_RANGE", "covariates"),
    ],
)
def test_bad_covariates_are_refused(covariates, code, path):
    found = refusal(FIXED | {"covariates": covariates}, VARIANTS)
    assert found == (code, f"config.{path}")


def test_covariates_are_of_policies_that_read_no_features_and_fit_a_cell():
    features = {"features": [{"name": "age", "type": "number", "minimum": 0, "maximum": 1}]}
    config = CONFIG | {"type": "lin_ucb", "parameters": features, "covariates": [BEFORE]}
    assert refusal(config, VARIANTS) == ("COVARIATES_NOT_CONTEXTUAL", "config.covariates")
    many = [BEFORE | {"name": f"c{n}"} for n in range(8)]
    named = [{"name": f"V{n}", "isControl": n == 0} for n in range(27)]
    parse_definition(FIXED | {"covariates": many}, named[:26])
    refused = "TOO_MANY_DIMENSIONS", "config.covariates"
    assert refusal(FIXED | {"covariates": many}, named) == refused
    parse_definition(CONFIG | {"covariates": many}, named[:5])
    assert refusal(CONFIG | {"covariates": many}, named[:6]) == refused


def test_weights_are_equal_unless_declared():
    assert parse_definition(FIXED, VARIANTS).weights == (0.5, 0.5)
    assert parse_definition(FIXED, variants({"weight": 0.9}, {"weight": 0.1})).weights == (0.9, 0.1)


def test_thirds_in_decimals_sum_to_one():
    arms = [
        {"name": name, "isControl": name == "A", "weight": 0.3333333} for name in ("A", "B", "C")
    ]

    assert math.fsum(parse_definition(FIXED, arms).weights) == pytest.approx(1.0, abs=1e-15)


def test_control_is_found():
    assert parse_definition(CONFIG, VARIANTS[::-1]).control_index == 1


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"type": "lottery"}, "UNKNOWN_TYPE", "config.type"),
        ({"type": 3}, "WRONG_TYPE", "config.type"),
        ({"name": ""}, "OUT_OF_RANGE", "config.name"),
        ({"name": "   "}, "OUT_OF_RANGE", "config.name"),
        ({"name": "x" * 201}, "OUT_OF_RANGE", "config.name"),
        ({"description": "x" * 2_001}, "OUT_OF_RANGE", "config.description"),
        ({"primaryMetric": "1click"}, "INVALID_NAME", "config.primaryMetric"),
        ({"primaryMetric": "click\n"}, "INVALID_NAME", "config.primaryMetric"),
        ({"primaryMetric": "x" * 65}, "INVALID_NAME", "config.primaryMetric"),
        ({"secondaryMetrics": ["view", "a b"]}, "INVALID_NAME", "config.secondaryMetrics[1]"),
        ({"secondaryMetrics": ["click"]}, "DUPLICATE_METRIC", "config.secondaryMetrics"),
        (
            {"secondaryMetrics": [f"m{i}" for i in range(33)]},
            "OUT_OF_RANGE",
            "config.secondaryMetrics",
        ),
        ({"trafficAllocation": 1.1}, "OUT_OF_RANGE", "config.trafficAllocation"),
        ({"trafficAllocation": -0.1}, "OUT_OF_RANGE", "config.trafficAllocation"),
        ({"trafficAllocation": float("nan")}, "NOT_FINITE", "config.trafficAllocation"),
        ({"trafficAllocation": float("inf")}, "NOT_FINITE", "config.trafficAllocation"),
        ({"trafficAllocation": "1"}, "WRONG_TYPE", "config.trafficAllocation"),
        ({"trafficAllocation": True}, "WRONG_TYPE", "config.trafficAllocation"),
        ({"minSampleSize": -1}, "OUT_OF_RANGE", "config.minSampleSize"),
        ({"minSampleSize": 1.5}, "WRONG_TYPE", "config.minSampleSize"),
        ({"minSampleSize": 10**13}, "OUT_OF_RANGE", "config.minSampleSize"),
        ({"significanceThreshold": 1.0}, "OUT_OF_RANGE", "config.significanceThreshold"),
        ({"significanceThreshold": 0.4}, "OUT_OF_RANGE", "config.significanceThreshold"),
        ({"autoPromoteWinner": "yes"}, "WRONG_TYPE", "config.autoPromoteWinner"),
        ({"maxExpectedLoss": 0}, "OUT_OF_RANGE", "config.maxExpectedLoss"),
        ({"maxExpectedLoss": 1.1}, "OUT_OF_RANGE", "config.maxExpectedLoss"),
        ({"minDuration": -1}, "OUT_OF_RANGE", "config.minDuration"),
        ({"minDuration": 1.5}, "WRONG_TYPE", "config.minDuration"),
        ({"minDuration": 366 * 86_400 + 1}, "OUT_OF_RANGE", "config.minDuration"),
        ({"unit": "planet"}, "UNKNOWN_VALUE", "config.unit"),
        ({"attributionWindow": -1}, "OUT_OF_RANGE", "config.attributionWindow"),
        ({"attributionWindow": 366 * 86_400 + 1}, "OUT_OF_RANGE", "config.attributionWindow"),
        ({"colour": "red"}, "UNKNOWN_FIELD", "config.colour"),
        ({"parameters": 3}, "WRONG_TYPE", "config.parameters"),
        ({"parameters": {"c": 2}}, "UNKNOWN_PARAMETER", "config.parameters.c"),
        ({"parameters": {"priorAlpha": 0}}, "OUT_OF_RANGE", "config.parameters.priorAlpha"),
        (
            {"parameters": {"priorAlpha": float("nan")}},
            "NOT_FINITE",
            "config.parameters.priorAlpha",
        ),
        ({"parameters": {"priorBeta": float("inf")}}, "NOT_FINITE", "config.parameters.priorBeta"),
        (
            {"parameters": {"minAllocation": 0.51}},
            "OUT_OF_RANGE",
            "config.parameters.minAllocation",
        ),
    ],
)
def test_faults_of_the_configuration_are_named(change, code, path):
    assert refusal(CONFIG | change, VARIANTS) == (code, path)


NAMED = CONFIG | {"secondaryMetrics": ["revenue"], "guardrailMetrics": ["latency"]}


@pytest.mark.parametrize(
    ("metrics", "code", "path"),
    [
        ([], "WRONG_TYPE", "metrics"),
        ({"click": 3}, "WRONG_TYPE", "metrics.click"),
        ({"1click": {}}, "INVALID_NAME", "metrics.1click"),
        ({"clik": {}}, "UNKNOWN_METRIC", "metrics.clik"),
        ({"click": {"colour": 1}}, "UNKNOWN_FIELD", "metrics.click.colour"),
        ({"click": {"kind": "colour"}}, "UNKNOWN_VALUE", "metrics.click.kind"),
        ({"click": {"kind": "ratio"}}, "MISSING_FIELD", "metrics.click.numerator"),
        ({"click": {"direction": "up"}}, "UNKNOWN_VALUE", "metrics.click.direction"),
        ({"latency": {"toleratedHarm": 1.5}}, "OUT_OF_RANGE", "metrics.latency.toleratedHarm"),
        ({"latency": {"toleratedHarm": "1"}}, "WRONG_TYPE", "metrics.latency.toleratedHarm"),
        ({"revenue": {"toleratedHarm": 0.1}}, "NOT_A_GUARDRAIL", "metrics.revenue.toleratedHarm"),
        ({"latency": {"margin": -0.1}}, "OUT_OF_RANGE", "metrics.latency.margin"),
        ({"latency": {"margin": 1.01}}, "OUT_OF_RANGE", "metrics.latency.margin"),
        ({"latency": {"margin": True}}, "WRONG_TYPE", "metrics.latency.margin"),
        ({"latency": {"mode": "superiority"}}, "UNKNOWN_VALUE", "metrics.latency.mode"),
        (
            {"latency": {"mode": "harm", "margin": 0.1}},
            "MARGIN_NOT_USED",
            "metrics.latency.margin",
        ),
        ({"revenue": {"margin": 0.1}}, "NOT_A_GUARDRAIL", "metrics.revenue.margin"),
        ({"click": {"mode": "harm"}}, "NOT_A_GUARDRAIL", "metrics.click.mode"),
        ({"click": {"prior": {"alpha": 1}}}, "KIND_NOT_DECLARED", "metrics.click.kind"),
        (
            {"click": {"kind": "binary", "prior": {"alpha": 1}}},
            "PRIOR_OF_POLICY",
            "metrics.click.prior",
        ),
        (
            {"click": {"kind": "count", "prior": {"eventUnits": 1, "beta": 1}}},
            "PRIOR_NOT_USED",
            "metrics.click.prior.beta",
        ),
        (
            {"revenue": {"kind": "revenue", "prior": {"eventUnits": 1}}},
            "PRIOR_NOT_USED",
            "metrics.revenue.prior.eventUnits",
        ),
        (
            {"revenue": {"kind": "revenue", "prior": {"mean": 1}}},
            "PRIOR_INCOMPLETE",
            "metrics.revenue.prior.variance",
        ),
        (
            {"revenue": {"kind": "revenue", "prior": {"units": 1, "variance": 2}}},
            "PRIOR_INCOMPLETE",
            "metrics.revenue.prior.mean",
        ),
        (
            {"latency": {"kind": "continuous", "prior": {"mean": 1, "variance": 0}}},
            "OUT_OF_RANGE",
            "metrics.latency.prior.variance",
        ),
        (
            {"latency": {"kind": "continuous", "prior": {"mean": float("nan"), "variance": 1}}},
            "NOT_FINITE",
            "metrics.latency.prior.mean",
        ),
    ],
)
def test_faults_of_declared_metrics_are_named(metrics, code, path):
    assert refusal(NAMED | {"metrics": metrics}, VARIANTS) == (code, f"config.{path}")


@pytest.mark.parametrize("name", ["click", "revenue", "latency"])
def test_a_guardrail_is_no_other_metric(name):
    config = NAMED | {"guardrailMetrics": ["latency", name]}

    assert refusal(config, VARIANTS) == ("DUPLICATE_METRIC", "config.guardrailMetrics")


def test_what_is_declared_of_metrics_is_known_by_name():
    config = parse_definition(
        NAMED
        | {
            "metrics": {
                "latency": {
                    "kind": "continuous",
                    "direction": "decrease",
                    "toleratedHarm": 0.02,
                    "prior": {"mean": 250, "variance": 6400, "units": 10},
                }
            }
        },
        VARIANTS,
    ).config

    latency = config.spec("latency")
    assert (latency.kind, latency.direction) == (MetricKind.CONTINUOUS, Direction.DECREASE)
    assert latency.tolerated_harm == 0.02
    assert latency.priors.values == NormalPrior(250, 6400, units=10)
    assert config.spec("click") == MetricSpec()
    assert [config.role(name) for name in ("click", "revenue", "latency", "view")] == [
        MetricRole.PRIMARY,
        MetricRole.SECONDARY,
        MetricRole.GUARDRAIL,
        MetricRole.OBSERVED,
    ]


@pytest.mark.parametrize(
    ("kind", "prior", "expected"),
    [
        ("binary", {"alpha": 3, "beta": 7}, Priors(alpha=3, beta=7)),
        ("count", {"events": 3, "eventUnits": 7}, Priors(events=3, event_units=7)),
        ("count", {"eventUnits": 7}, Priors(event_units=7)),
        (
            "revenue",
            {"beta": 9, "mean": 4, "variance": 2, "degrees": 5},
            Priors(beta=9, values=NormalPrior(4, 2, degrees=5)),
        ),
        ("continuous", None, Priors()),
    ],
)
def test_declared_priors_are_those_of_the_posteriors(kind, prior, expected):
    metrics = {"revenue": {"kind": kind, "prior": prior}}
    config = parse_definition(NAMED | {"metrics": metrics}, VARIANTS).config

    assert config.spec("revenue").priors == expected


def test_definition_with_metrics_returns_from_its_own_json():
    metrics = {
        "click": {"kind": "count", "prior": {"events": 2}},
        "latency": {"direction": "decrease", "toleratedHarm": 0.1},
    }
    definition = parse_definition(NAMED | {"metrics": metrics, "minDuration": 9}, VARIANTS)
    written = definition.model_dump(by_alias=True, mode="json")

    assert parse_definition(written["config"], written["variants"]) == definition


@pytest.mark.parametrize("field", ["name", "type", "primaryMetric"])
def test_missing_fields_are_named(field):
    config = {key: value for key, value in CONFIG.items() if key != field}

    assert refusal(config, VARIANTS) == ("MISSING_FIELD", f"config.{field}")


def test_configuration_that_is_no_object_is_refused():
    assert refusal(["name"], VARIANTS) == ("WRONG_TYPE", "config")


@pytest.mark.parametrize(
    ("config", "arms", "code", "path"),
    [
        (CONFIG, VARIANTS[:1], "OUT_OF_RANGE", "variants"),
        (CONFIG, [], "OUT_OF_RANGE", "variants"),
        (CONFIG, [{"name": f"V{i}"} for i in range(257)], "OUT_OF_RANGE", "variants"),
        (CONFIG, variants({"name": "B"}, {}), "DUPLICATE_NAME", "variants[1].name"),
        (CONFIG, variants({"isControl": False}, {}), "CONTROL_COUNT", "variants"),
        (CONFIG, variants({}, {"isControl": True}), "CONTROL_COUNT", "variants"),
        (CONFIG, variants({"weight": 0.5}, {"weight": 0.5}), "WEIGHTS_NOT_USED", "variants"),
        (FIXED, variants({"weight": 0.5}, {}), "WEIGHTS_INCOMPLETE", "variants"),
        (FIXED, variants({"weight": 0.5}, {"weight": 0.4}), "WEIGHTS_DO_NOT_SUM", "variants"),
        (FIXED, variants({"weight": 1.5}, {"weight": 0.5}), "OUT_OF_RANGE", "variants[0].weight"),
        (FIXED, variants({}, {"weight": 0.0}), "OUT_OF_RANGE", "variants[1].weight"),
        (FIXED, variants({}, {"weight": float("nan")}), "NOT_FINITE", "variants[1].weight"),
        (CONFIG, variants({}, {"name": 3}), "WRONG_TYPE", "variants[1].name"),
        (CONFIG, variants({}, {"color": 3}), "UNKNOWN_FIELD", "variants[1].color"),
        (CONFIG, variants({}, {"config": 3}), "WRONG_TYPE", "variants[1].config"),
        (
            CONFIG,
            variants({}, {"config": {"a": float("inf")}}),
            "NOT_FINITE",
            "variants[1].config.a",
        ),
        (
            CONFIG,
            variants({}, {"config": {"a": [{1: 2}]}}),
            "WRONG_TYPE",
            "variants[1].config.a[0]",
        ),
        (CONFIG, variants({}, {"config": {"a": object()}}), "WRONG_TYPE", "variants[1].config.a"),
        (
            CONFIG | {"parameters": {"minAllocation": 0.4}},
            [*VARIANTS, {"name": "C"}],
            "FLOOR_TOO_LARGE",
            "config.parameters.minAllocation",
        ),
    ],
)
def test_faults_of_the_variants_are_named(config, arms, code, path):
    assert refusal(config, arms) == (code, path)


def test_config_of_a_variant_may_be_any_json_up_to_a_depth():
    deep: dict[str, Any] = {}
    value = deep
    for _ in range(14):
        value["a"] = value = {}
    value["a"] = 1

    assert parse_definition(CONFIG, variants({}, {"config": deep})).variants[1].config == deep
    value["a"] = {"b": {}}
    assert refusal(CONFIG, variants({}, {"config": deep})) == (
        "TOO_DEEP",
        "variants[1].config" + ".a" * 15 + ".b",
    )


AGE = {"name": "age", "type": "number", "minimum": 0, "maximum": 100}
CONTEXTUAL = CONFIG | {"type": "lin_ucb", "parameters": {"features": [AGE]}}


def hashed(buckets):
    feature = {"name": "campaign", "type": "hashed", "buckets": buckets}
    return CONTEXTUAL | {"parameters": {"features": [feature]}}


@pytest.mark.parametrize(
    ("features", "code", "path"),
    [
        (None, "MISSING_FIELD", ""),
        ([], "OUT_OF_RANGE", ""),
        ([AGE, AGE], "DUPLICATE_NAME", "[1].name"),
        ([{**AGE, "type": "letter"}], "UNKNOWN_VALUE", "[0].type"),
        ([{**AGE, "buckets": 3}], "FIELD_NOT_USED", "[0].buckets"),
        ([{"name": "age", "type": "number", "minimum": 0}], "MISSING_FIELD", "[0].maximum"),
        ([{**AGE, "maximum": 0}], "EMPTY_RANGE", "[0].maximum"),
        (
            [{"name": "device", "type": "category", "values": ["a", "a"]}],
            "DUPLICATE_VALUE",
            "[0].values",
        ),
        (
            [AGE, {"name": "campaign", "type": "hashed", "buckets": 63}],
            "TOO_MANY_DIMENSIONS",
            "",
        ),
    ],
)
def test_features_that_are_no_space_are_named(features, code, path):
    parameters = {} if features is None else {"features": features}
    with pytest.raises(InputError) as caught:
        parse_definition(CONTEXTUAL | {"parameters": parameters}, VARIANTS)

    assert caught.value.code == code
    assert caught.value.path == f"config.parameters.features{path}"


def test_variants_times_dimension_is_bounded():
    """64 entries with the intercept fit 16 variants, and no more."""
    arms = [{"name": f"V{i}", "isControl": i == 0} for i in range(17)]

    parse_definition(hashed(63), arms[:16])
    with pytest.raises(InputError) as caught:
        parse_definition(hashed(63), arms)

    assert caught.value.code == "TOO_MANY_DIMENSIONS"
    assert caught.value.path == "config.parameters.features"


@pytest.mark.parametrize("name", ["minAllocation", "initialAllocation"])
def test_no_floor_is_above_an_equal_share(name):
    arms = [{"name": f"V{i}", "isControl": i == 0} for i in range(3)]

    parse_definition(CONFIG | {"parameters": {name: 1 / 3}}, arms)
    with pytest.raises(InputError) as caught:
        parse_definition(CONFIG | {"parameters": {name: 0.34}}, arms)

    assert (caught.value.code, caught.value.path) == (
        "FLOOR_TOO_LARGE",
        f"config.parameters.{name}",
    )


def test_a_contextual_definition_survives_its_own_json_and_an_update():
    device = {"name": "device", "type": "category", "values": ["mobile", "desktop"]}
    config = CONTEXTUAL | {"parameters": {"features": [AGE, device], "alpha": 0.5}}
    definition = parse_definition(config, VARIANTS)
    as_json = definition.model_dump(mode="json", by_alias=True)

    assert parse_definition(as_json["config"], as_json["variants"]) == definition
    assert updated(definition, parse(ExperimentUpdate, {})) == definition


def test_update_changes_what_it_names_and_nothing_else():
    definition = parse_definition(CONFIG, VARIANTS)

    changed = updated(definition, parse(ExperimentUpdate, {"trafficAllocation": 0.0}))

    assert changed.config.traffic_allocation == 0.0
    assert changed.model_copy(update={"config": definition.config}) == definition
    assert updated(definition, parse(ExperimentUpdate, {})) == definition


def test_update_of_a_threshold_of_the_policy():
    definition = parse_definition(FIXED | {"parameters": {"priorAlpha": 2}}, VARIANTS)
    update = parse(ExperimentUpdate, {"parameters": {"earlyStoppingThreshold": 0.99}})

    parameters = updated(definition, update).config.parameters.model_dump()

    assert parameters["early_stopping_threshold"] == 0.99
    assert parameters["prior_alpha"] == 2.0


def test_update_of_a_threshold_the_policy_does_not_have_is_refused():
    update = parse(ExperimentUpdate, {"parameters": {"earlyStoppingThreshold": 0.99}})

    with pytest.raises(InputError) as caught:
        updated(parse_definition(CONFIG, VARIANTS), update)

    assert caught.value.code == "UNKNOWN_PARAMETER"
    assert caught.value.path == "config.parameters.earlyStoppingThreshold"


@pytest.mark.parametrize(
    ("payload", "code", "path"),
    [
        ({"trafficAllocation": 2}, "OUT_OF_RANGE", "trafficAllocation"),
        ({"type": "ucb"}, "UNKNOWN_FIELD", "type"),
        ({"significanceThreshold": 1}, "OUT_OF_RANGE", "significanceThreshold"),
        ({"parameters": {"priorAlpha": 3}}, "UNKNOWN_PARAMETER", "parameters.priorAlpha"),
    ],
)
def test_faults_of_an_update_are_named(payload, code, path):
    with pytest.raises(InputError) as caught:
        parse(ExperimentUpdate, payload)

    assert (caught.value.code, caught.value.path) == (code, path)


@given(
    st.sampled_from(["thompson_sampling", "ucb", "epsilon_greedy", "bayesian_ab"]),
    st.integers(2, 9),
    st.floats(0, 1),
)
def test_definition_survives_its_own_json(kind, n_variants, traffic):
    arms = [{"name": f"V{i}", "isControl": i == 0, "config": {"i": i}} for i in range(n_variants)]
    definition = parse_definition(CONFIG | {"type": kind, "trafficAllocation": traffic}, arms)
    as_json = definition.model_dump(mode="json", by_alias=True)

    assert parse_definition(as_json["config"], as_json["variants"]) == definition


RATIO = {"kind": "ratio", "numerator": "clicks", "denominator": "views"}


def declared(primary="ctr", kind="thompson_sampling", **metrics):
    return CONFIG | {"type": kind, "primaryMetric": primary, "metrics": metrics}


@pytest.mark.parametrize(
    ("config", "code", "path"),
    [
        (declared("m", m={"kind": "binary", "cap": 5}), "CAP_NOT_USED", "metrics.m.cap"),
        (declared("m", m={"kind": "count", "cap": 1.5}), "CAP_NOT_WHOLE", "metrics.m.cap"),
        (declared("m", m={"cap": 0}), "OUT_OF_RANGE", "metrics.m.cap"),
        (declared(ctr=RATIO | {"cap": 5}), "CAP_NOT_USED", "metrics.ctr.cap"),
        (declared(ctr={"kind": "ratio"}), "MISSING_FIELD", "metrics.ctr.numerator"),
        (
            declared(ctr={"kind": "ratio", "numerator": "clicks"}),
            "MISSING_FIELD",
            "metrics.ctr.denominator",
        ),
        (
            declared(ctr={"kind": "count", "denominator": "views"}),
            "NOT_A_RATIO",
            "metrics.ctr.denominator",
        ),
        (
            declared(ctr=RATIO | {"denominator": "clicks"}),
            "DUPLICATE_METRIC",
            "metrics.ctr.denominator",
        ),
        (
            declared(ctr=RATIO | {"numerator": "other"}, other=RATIO)
            | {"secondaryMetrics": ["other"]},
            "RATIO_OF_RATIO",
            "metrics.ctr.numerator",
        ),
        (
            declared(ctr=RATIO | {"prior": {"alpha": 1}}),
            "PRIOR_NOT_USED",
            "metrics.ctr.prior.alpha",
        ),
        (declared(ctr=RATIO, other={"cap": 5}), "UNKNOWN_METRIC", "metrics.other"),
        (
            declared(kind="lin_ucb", ctr=RATIO)
            | {
                "parameters": {
                    "features": [{"name": "mobile", "type": "category", "values": ["a"]}]
                }
            },
            "RATIO_NOT_CONTEXTUAL",
            "primaryMetric",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(config, code, path):
    assert refusal(config, VARIANTS) == (code, f"config.{path}")


def test_a_plan_has_the_caps_and_one_pair_of_each_ratio():
    config = declared(
        ctr=RATIO,
        inverse=RATIO | {"numerator": "views", "denominator": "clicks"},
        clicks={"kind": "count", "cap": 20},
        spent={"cap": 0.5},
    ) | {"secondaryMetrics": ["inverse"], "guardrailMetrics": ["spent"]}

    plan = plan_of(parse_definition(config, VARIANTS))

    primary = CONFIG["primaryMetric"]
    assert plan == Plan(
        {"clicks": 20_000_000, "spent": 500_000},
        (("clicks", "views"),),
        floors={"clicks": 0, "views": 0},  # of a count, and of what is only a denominator
        accepted={"clicks": Accepted(is_whole=True)},
        declared=frozenset({"clicks", "spent", "views"}),
        n_variants=len(VARIANTS),
    )
    assert plan_of(parse_definition(CONFIG, VARIANTS)) == Plan(
        declared=frozenset({primary}), n_variants=len(VARIANTS)
    )


@pytest.mark.parametrize(
    ("spec", "cap", "floor", "accepted"),
    [
        ({}, None, None, None),
        ({"kind": "continuous"}, None, None, None),
        ({"kind": "continuous", "floor": -5}, None, -5_000_000, None),
        ({"kind": "binary"}, 1_000_000, 0, Accepted(0, 1_000_000, is_whole=True)),
        (
            {"kind": "binary", "counting": "sum"},
            None,
            0,
            Accepted(0, 1_000_000, is_whole=True),
        ),
        ({"kind": "count"}, None, 0, Accepted(is_whole=True)),
        ({"kind": "revenue", "cap": 500}, 500_000_000, 0, None),
        (
            {"kind": "revenue", "minValue": -20, "maxValue": 200.5, "floor": 2},
            None,
            2_000_000,
            Accepted(-20_000_000, 200_500_000),
        ),
    ],
)
def test_what_bounds_the_values_of_a_metric(spec, cap, floor, accepted):
    plan = plan_of(
        parse_definition(declared(spent=spec) | {"guardrailMetrics": ["spent"]}, VARIANTS)
    )

    assert plan.caps.get("spent") == cap
    assert plan.floors.get("spent") == floor
    assert plan.accepted.get("spent") == accepted


@pytest.mark.parametrize(
    ("spec", "code", "field"),
    [
        ({"kind": "binary", "floor": 0}, "FLOOR_NOT_USED", "floor"),
        ({"kind": "binary", "maxValue": 1}, "BOUNDS_NOT_USED", "maxValue"),
        ({"kind": "count", "counting": "unique"}, "COUNTING_NOT_USED", "counting"),
        ({"counting": "sum"}, "COUNTING_NOT_USED", "counting"),
        ({"kind": "count", "floor": -1}, "OUT_OF_RANGE", "floor"),
        ({"kind": "count", "floor": 0.5}, "FLOOR_NOT_WHOLE", "floor"),
        ({"kind": "revenue", "floor": -0.01}, "OUT_OF_RANGE", "floor"),
        ({"floor": 5, "cap": 5}, "OUT_OF_RANGE", "floor"),
        ({"minValue": 2, "maxValue": 1}, "OUT_OF_RANGE", "maxValue"),
        ({"maxValue": 1e10}, "OUT_OF_RANGE", "maxValue"),
        ({"kind": "binary", "counting": "twice"}, "UNKNOWN_VALUE", "counting"),
    ],
)
def test_bounds_that_do_not_fit_a_metric_are_refused(spec, code, field):
    config = declared(spent=spec) | {"guardrailMetrics": ["spent"]}

    assert refusal(config, VARIANTS) == (code, f"config.metrics.spent.{field}")


def test_more_metrics_than_have_a_place_are_refused():
    names = [f"m{n}" for n in range(MAX_DECLARED)]
    fits = CONFIG | {"secondaryMetrics": names[:24], "guardrailMetrics": names[24:-1]}
    parse_definition(fits, VARIANTS)

    more = CONFIG | {"secondaryMetrics": names[:24], "guardrailMetrics": names[24:]}
    assert refusal(more, VARIANTS) == ("TOO_MANY_METRICS", "config.metrics")


def test_no_update_changes_what_is_measured():
    definition = parse_definition(declared(ctr=RATIO, clicks={"cap": 20}), VARIANTS)
    everything: dict[str, Any] = {
        "trafficAllocation": 0.5,
        "minSampleSize": 7,
        "negligibleDifference": 0.02,
        "significanceThreshold": 0.9,
        "autoPromoteWinner": True,
        "maxExpectedLoss": 0.5,
        "minDuration": 9,
        "controlShare": 0.1,
        "ignoredUnits": ["bot"],
        "overrides": {"qa": "A"},
        "schedule": {"startAt": 7},
        "owner": "ana",
        "tags": ["web"],
    }
    assert {to_camel(name) for name in ExperimentUpdate.model_fields} == {*everything, "parameters"}

    after = updated(definition, parse(ExperimentUpdate, everything))

    assert plan_of(after) == plan_of(definition)
    with pytest.raises(InputError) as caught:
        parse(ExperimentUpdate, {"metrics": {"clicks": {"cap": 10}}})
    assert (caught.value.code, caught.value.path) == ("METRICS_FIXED", "metrics")


@pytest.mark.parametrize(
    ("config", "floor"),
    [
        ({}, None),
        ({"autoPromoteWinner": True}, 0.25),
        ({"autoPromoteWinner": True, "parameters": {"minAllocation": 0.02}}, 0.02),
        ({"autoPromoteWinner": True, "type": "bayesian_ab"}, None),
    ],
)
def test_who_promotes_by_itself_explores_with_half_of_its_units(config, floor):
    definition = parse_definition(CONFIG | config, VARIANTS[:2])

    assert definition.policy.min_allocation == floor
    # What the author has written stays as it is.
    assert definition.config.parameters.min_allocation in {None, 0.02}


def sized(n_variants, n_metrics, **config):
    names = [f"m{index}" for index in range(n_metrics - 1)]
    return parse_definition(
        {
            "name": "Hero",
            "type": "thompson_sampling",
            "primaryMetric": "click",
            "secondaryMetrics": names[:30],
            "guardrailMetrics": names[30:],
            **config,
        },
        [{"name": f"V{index}", "isControl": index == 0} for index in range(n_variants)],
    )


@pytest.mark.parametrize(("n_variants", "n_metrics"), [(256, 4), (64, 16), (31, 33), (2, 33)])
def test_an_experiment_as_large_as_its_bound_is_accepted(n_variants, n_metrics):
    assert len(sized(n_variants, n_metrics).variants) == n_variants


@pytest.mark.parametrize(
    ("n_variants", "n_metrics", "config"),
    [
        (256, 5, {}),
        (32, 33, {}),
        (256, 16, {}),
        (84, 1, {"periods": {"stratified": True}}),
        (256, 1, {"periods": {"delayed": True}}),
    ],
)
def test_an_experiment_that_would_delay_others_or_fill_its_cells_is_refused(
    n_variants, n_metrics, config
):
    with pytest.raises(InputError) as error:
        sized(n_variants, n_metrics, **config)

    assert (error.value.code, error.value.path) == ("EXPERIMENT_TOO_LARGE", "variants")
    assert "must be <=" in error.value.message
