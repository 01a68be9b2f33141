from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from dashboard.views.densities import _sampled, densities
from streams.stats.posterior_parameters import MetricPosterior, PosteriorFamily
from tests.dashboard.samples import facts

FAMILIES: list[tuple[str, dict[str, float], Any]] = [
    ("beta", {"alpha": 11.0, "beta": 91.0}, scipy_stats.beta(11, 91)),
    ("gamma", {"shape": 40.0, "rate": 20.0}, scipy_stats.gamma(40, scale=1 / 20)),
    (
        "beta_prime",
        {"alpha": 30.0, "beta": 60.0, "scale": 8.0},
        scipy_stats.betaprime(30, 60, scale=8),
    ),
    (
        "student_t",
        {"location": -2.0, "scale": 0.3, "degrees": 7.0},
        scipy_stats.t(7, loc=-2, scale=0.3),
    ),
]


@pytest.mark.parametrize(("family", "parameters", "oracle"), FAMILIES)
def test_curves_are_the_densities_between_the_outer_quantiles(family, parameters, oracle):
    curve = _sampled(MetricPosterior(family, parameters), *oracle.interval(0.95))
    assert curve is not None

    for x, height in curve:
        assert height == pytest.approx(oracle.pdf(x), rel=1e-9)
    assert oracle.cdf(curve[0][0]) == pytest.approx(0.001, abs=0.002)
    assert oracle.sf(curve[-1][0]) == pytest.approx(0.001, abs=0.002)
    steps = {round(b[0] - a[0], 9) for a, b in pairwise(curve)}
    assert len(steps) <= 2


@given(
    st.sampled_from(["beta", "gamma", "beta_prime", "student_t", "of_tomorrow"]),
    st.dictionaries(
        st.sampled_from(["alpha", "beta", "shape", "rate", "scale", "location", "degrees"]),
        st.floats(allow_nan=False),
    ),
    st.floats(-1e9, 1e9),
    st.floats(0, 1e9),
)
def test_parameters_that_make_no_curve_make_no_fault(family, parameters, lower, width):
    curve = _sampled(MetricPosterior(family, parameters), lower, lower + width)

    assert curve is None or len(curve) == 60


def test_the_chart_has_a_curve_for_each_variant_and_its_numbers():
    posterior = {"family": "beta", "parameters": {"alpha": 102.0, "beta": 916.0}}
    chart = densities(
        facts({f"variants.{i}.stats.metrics.purchase.posterior": posterior for i in (0, 1, 2)})
    )
    assert chart is not None

    assert [curve.name for curve in chart.curves] == ["Control", "Blue", "Green"]
    assert "Control: 10.0" in chart.label
    assert not chart.is_of_now


def test_without_parameters_there_is_no_chart():
    nothing = {f"variants.{i}.stats.metrics.purchase.posterior": None for i in (0, 1, 2)}

    assert densities(facts(nothing)) is None


def test_of_many_variants_those_are_drawn_that_can_be_distinguished():
    posterior = MetricPosterior(PosteriorFamily.BETA, {"alpha": 102.0, "beta": 916.0})
    sample = facts()
    control, blue, _ = sample.stats.variants
    many = []
    for index in range(12):
        variant = control if index == 3 else blue
        report = replace(variant.stats.metrics["purchase"], posterior=posterior)
        stats = replace(variant.stats, probability_best=0.01 * index, metrics={"purchase": report})
        many.append(replace(variant, id=f"v{index}", name=f"Variant {index}", stats=stats))

    evidence = replace(sample.known, leader=11)
    found = replace(sample.stats, variants=tuple(many), evidence=evidence)

    chart = densities(replace(sample, stats=found))

    assert chart is not None
    assert [curve.index for curve in chart.drawn] == [3, 5, 6, 7, 8, 9, 10, 11]
    assert len(chart.curves) == 12
