"""Statistics by the values of dimensions."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.analysis.evaluate import evaluate
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.measurement_plan import plan_of
from streams.experiments.statistics.dimension_report import UNKNOWN_FROM, DimensionReport
from streams.model.published import from_json, json_value
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.variant_weights import pack_weights
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, Tally
from streams.tallies.merging import merge
from streams.wire.snapshots import decode_snapshot, encode_snapshot

DEVICE: dict[str, Any] = {"name": "device", "values": ["mobile", "desktop"]}
COUNTRY: dict[str, Any] = {"name": "location", "values": ["DE"]}
HALF = PROPENSITY_ONE // 2
Counts = dict[tuple[int, bytes], tuple[int, int]]


def experiment(n_variants: int = 2, **config: Any) -> Experiment:
    definition = parse_definition(
        {
            "name": "x",
            "type": "bayesian_ab",
            "primaryMetric": "click",
            "dimensions": [DEVICE, COUNTRY],
            **config,
        },
        [{"name": f"V{index}", "isControl": index == 0} for index in range(n_variants)],
    )
    return Experiment(5, definition, Status.RUNNING, 2, 1, 1_000, 2)


def tally_of(found: Experiment, counts: Counts, weights: tuple[int, ...] | None = None) -> Tally:
    """Return the tally of units and of those that clicked, by variant and values."""
    plan = plan_of(found.definition)
    assigned, observed = (CellBuilder(5, source, 0, plan=plan) for source in Source)
    for (variant, values), (units, clicks) in counts.items():
        chance = (variant, HALF, b"")
        if weights is not None:
            chance = variant, weights[variant] << 16, pack_weights(weights)
        assigned.add_units(1, {chance: units}, 2_000, 3_000)
        for sums in assigned.slices(values):
            sums.add_units({chance: units})
        for _ in range(clicks):
            observed.add_value(1, (*chance, "click"), None, MICRO, 3_000)
            for sums in observed.slices(values):
                sums.add_value((*chance, "click"), None, MICRO)
    return merge([cell for cell in (assigned.freeze(), observed.freeze()) if cell is not None])


def reports(found: Experiment, counts: Counts, **more: Any) -> tuple[DimensionReport, ...]:
    return evaluate(found, tally_of(found, counts, **more), ()).dimensions


MOBILE, DESKTOP, OTHER = b"\1\1", b"\2\0", b""
BALANCED = {
    (0, MOBILE): (1_000, 100),
    (1, MOBILE): (1_000, 250),
    (0, DESKTOP): (400, 40),
    (1, DESKTOP): (400, 41),
    (0, OTHER): (10, 0),
    (1, OTHER): (10, 1),
}


def test_two_variants_by_device_by_hand():
    device, country = reports(experiment(), BALANCED)

    assert (device.name, device.units, device.unknown_units) == ("device", 2_820, 20)
    assert [value.value for value in device.values] == ["mobile", "desktop", None]
    assert [value.units for value in device.values] == [2_000, 800, 20]
    mobile, desktop, other = device.values
    means = [variant.metrics["click"].mean for variant in mobile.variants]
    assert means == pytest.approx([0.1, 0.25])
    assert mobile.variants[0].metrics["click"].against_control is None
    found = mobile.variants[1].metrics["click"].against_control
    assert found is not None
    assert (found.difference, found.relative) == pytest.approx((0.15, 1.5))
    assert found.is_different
    assert found.p_value < 1e-6
    assert found.lower is not None and 0.0 < found.lower < 0.15  # noqa: PT018
    for value in (desktop, other):
        equal = value.variants[1].metrics["click"].against_control
        assert equal is not None
        assert not equal.is_different
    # Two dimensions of three and two values, one variant beside the control, one metric.
    assert device.comparisons == 5
    assert device.error == pytest.approx(0.05)
    assert (country.units, country.unknown_units) == (2_820, 820)
    assert [finding.code for finding in country.findings] == ["UNKNOWN_VALUES"]
    assert not device.findings
    assert device.is_exploratory


def test_a_sample_ratio_that_is_broken_in_two_values_is_seen_though_the_whole_is_even():
    counts = {
        (0, MOBILE): (900, 0),
        (1, MOBILE): (500, 0),
        (0, DESKTOP): (500, 0),
        (1, DESKTOP): (900, 0),
    }
    snapshot = evaluate(found := experiment(), tally_of(found, counts), ())

    assert snapshot.evidence is not None
    assert not snapshot.evidence.sample_ratio.is_mismatch
    device = snapshot.dimensions[0]
    assert device.mismatches == ("mobile", "desktop")
    [finding] = [each for each in device.findings if each.code == "SLICE_SAMPLE_RATIO_MISMATCH"]
    assert "'mobile', 'desktop'" in finding.message
    assert device.values[0].sample_ratio.ratios == pytest.approx((900 / 700, 500 / 700))
    assert device.values[2].sample_ratio.ratios == (None, None)


@pytest.mark.parametrize(("unknown", "is_found"), [(2, False), (4, False), (6, True)])
def test_the_share_of_unknown_values_is_a_finding_above_five_percent(unknown, is_found):
    counts = {
        (variant, each): (units, 0)
        for variant in (0, 1)
        for each, units in ((MOBILE, 50 - unknown // 2), (b"\0\1", unknown // 2))
    }

    device = reports(experiment(), counts)[0]

    assert device.unknown_share == unknown / 100
    assert ("UNKNOWN_VALUES" in [each.code for each in device.findings]) == is_found
    few = replace(device, units=UNKNOWN_FROM - 1)
    assert not few.findings


def test_nothing_is_known_of_a_value_without_units():
    device = reports(experiment(), {(0, MOBILE): (3, 1)})[0]

    desktop = device.values[1]
    assert (desktop.units, desktop.sample_ratio.is_mismatch) == (0, False)
    for variant in desktop.variants:
        assert (variant.metrics["click"].mean, variant.metrics["click"].against_control) == (
            None,
            None,
        )


def test_without_dimensions_nothing_is_reported():
    found = experiment(dimensions=[])

    assert evaluate(found, tally_of(found, BALANCED), ()).dimensions == ()


def test_a_ratio_and_a_quantile_by_device():
    """Ratios are broken down, quantiles are not: bins by value would not fit a cell."""
    found = experiment(
        secondaryMetrics=["ctr", "p90"],
        metrics={
            "ctr": {"kind": "ratio", "numerator": "click", "denominator": "view"},
            "p90": {"kind": "quantile", "percentile": 0.9},
        },
    )
    plan = plan_of(found.definition)
    observed = CellBuilder(5, Source.OBSERVATIONS, 0, plan=plan)
    for variant in (0, 1):
        for number in range(60):
            chance, views, clicks = (variant, HALF, b""), 2 + number % 3, 1 + variant * (number % 2)
            observed.add_event(1, 2_000)
            observed.add_event(1, 3_000)
            for sums in (observed.sums, *observed.slices(MOBILE)):
                sums.add_units({chance: 1})
                for metric, value in (("view", views), ("click", clicks)):
                    sums.add_value((*chance, metric), None, value * MICRO)
                x, y = clicks * MICRO, views * MICRO
                sums.add_product((*chance, ("click", "view")), (x * y, x * x * y, x * y * y))
    cell = observed.freeze()
    assert cell is not None

    mobile = evaluate(found, merge([cell]), ()).dimensions[0].values[0]

    assert set(mobile.variants[0].metrics) == {"click", "ctr"}
    means = [variant.metrics["ctr"].mean for variant in mobile.variants]
    assert means == pytest.approx([60 / 180, 90 / 180])
    compared = mobile.variants[1].metrics["ctr"].against_control
    assert compared is not None
    assert compared.difference == pytest.approx(30 / 180)


values = st.sampled_from([MOBILE, DESKTOP, OTHER, b"\0\1"])


@settings(max_examples=25, deadline=None)
@example(  # conversions of a variant whose units are not seen yet
    counts={(0, MOBILE): (149, 38), (1, MOBILE): (0, 38)},
    weights=(60_000, 3_000, 2_536),
    policy="bayesian_ab",
)
@given(
    counts=st.dictionaries(
        st.tuples(st.integers(0, 2), values),
        st.tuples(st.integers(-2, 300), st.integers(0, 40)),
        max_size=9,
    ),
    weights=st.none() | st.sampled_from([(32_768, 16_384, 16_384), (60_000, 3_000, 2_536)]),
    policy=st.sampled_from(["bayesian_ab", "thompson_sampling", "epsilon_greedy"]),
)
def test_slices_are_finite_add_up_and_agree_with_themselves(counts, weights, policy):
    """Also of observations without their impressions yet, and of units that were voided."""
    found = experiment(3, type=policy, unit="user")

    snapshot = evaluate(found, tally_of(found, counts, weights or (21_846, 21_845, 21_845)), ())

    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot
    for report in snapshot.dimensions:
        assert report.units == sum(value.units for value in report.values)
        for value in report.values:
            assert value.units == sum(variant.units for variant in value.variants) >= 0
            for variant in value.variants:
                for metric in variant.metrics.values():
                    compared = metric.against_control
                    if compared is None:
                        continue
                    assert 0.0 <= compared.p_value <= 1.0
                    assert compared.is_different == (compared.p_value <= report.error)
                    if compared.lower is not None and compared.upper is not None:
                        assert compared.lower <= compared.upper
        encoded = json_value(report, ["a", "b", "c"])
        assert from_json(DimensionReport, encoded, ["a", "b", "c"]) == report
