"""Metrics as an experiment declares them: kinds, priors, caps, bounds and ratios."""

import pytest

from streams.experiments.definition import parse_definition
from streams.experiments.measurement_plan import plan_of
from streams.experiments.metrics import MetricSpec
from streams.experiments.statistics.metric_model import MetricRole
from streams.stats.direction import Direction
from streams.stats.families.base import Priors
from streams.stats.kinds import MetricKind
from streams.stats.posteriors.normal import NormalPrior
from streams.tallies.plan import AcceptedValues, Plan
from tests.streams.experiments.definitions import CONFIG, RATIO, VARIANTS, declared, refusal

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
        accepted={"clicks": AcceptedValues(is_whole=True)},
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
        ({"kind": "binary"}, 1_000_000, 0, AcceptedValues(0, 1_000_000, is_whole=True)),
        (
            {"kind": "binary", "counting": "sum"},
            None,
            0,
            AcceptedValues(0, 1_000_000, is_whole=True),
        ),
        ({"kind": "count"}, None, 0, AcceptedValues(is_whole=True)),
        ({"kind": "revenue", "cap": 500}, 500_000_000, 0, None),
        (
            {"kind": "revenue", "minValue": -20, "maxValue": 200.5, "floor": 2},
            None,
            2_000_000,
            AcceptedValues(-20_000_000, 200_500_000),
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
