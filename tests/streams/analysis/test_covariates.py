"""Covariates under fixed weights: by hand, from receipts to the comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streams.analysis.covariates import Adjustment, Covariates
from streams.analysis.evaluate import evaluate
from streams.experiments.covariates import CovariateSpace
from streams.experiments.snapshot import Snapshot
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.planning.simulation import NUMBER, running_experiment
from streams.stats.arrays import FloatArray
from streams.stats.sample import Sample
from streams.stats.weighting import Weighting
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import MetricTally, Source, Tally, VariantTally
from streams.tallies.merging import merge

DECLARED = [{"name": "before", "minimum": -8, "maximum": 8}]
CONFIG: dict[str, Any] = {
    "name": "spend",
    "type": "bayesian_ab",
    "primaryMetric": "spend",
    "metrics": {"spend": {"kind": "continuous"}},
    "covariates": DECLARED,
}
HALF = PROPENSITY_ONE // 2


def tally_of(variants: FloatArray, before: FloatArray, values: FloatArray) -> Tally:
    """Return the tally of units under even weights; NaN is a covariate that is missing."""
    config = running_experiment(CONFIG, 2).definition.config
    space = CovariateSpace(config.covariates)
    cells = [CellBuilder(NUMBER, source, 0) for source in Source]
    columns = zip(variants.tolist(), before.tolist(), values.tolist(), strict=True)
    for offset, (index, covariate, value) in enumerate(columns, 1):
        variant = int(index)
        vector = space.encode({"before": None if covariate != covariate else covariate})  # noqa: PLR0124
        cells[0].add_units(
            offset, {(variant, HALF, b""): 1}, 1, 1, {((variant, HALF, b""), vector): 1}
        )
        key = (variant, HALF, b"", "spend")
        cells[1].add_value(offset, key, None, round(value * MICRO), 1, vector)
    return merge([cell for each in cells if (cell := each.freeze()) is not None])


def evaluated(tally: Tally, **config: Any) -> Snapshot:
    return evaluate(running_experiment(CONFIG | config, 2), tally, ())


def units_of(n: int, correlation: float, lead: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    random = np.random.default_rng(3)
    variants, before = random.integers(0, 2, n).astype(np.float64), random.normal(size=n)
    noise = random.normal(size=n) * (1.0 - correlation**2) ** 0.5
    return variants, before, 10.0 + correlation * before + noise + lead * (variants == 1)


def test_an_adjustment_by_hand() -> None:
    # Two units a variant: covariates -1 and 1 against 0 and 1, values 1 and 5 against 2 and 4.
    one = 1 << 10
    gram = (2 * one**2, 0, 2 * one**2), (2 * one**2, one**2, one**2)
    tallies = (
        MetricTally(units=2, total=6 * MICRO, moment=(6 * one * MICRO, 4 * one * MICRO)),
        MetricTally(units=2, total=6 * MICRO, moment=(6 * one * MICRO, 4 * one * MICRO)),
    )
    variants = [VariantTally(units=2, gram=each) for each in gram]
    covariates = Covariates.read(variants, 1, Weighting.PLAIN)
    assert covariates is not None
    samples = [Sample(2, 2, 6.0, 8.0, 8.0), Sample(2, 2, 6.0, 2.0, 2.0)]
    found = Adjustment.of(covariates, tallies, samples)
    # Scc = 2 + 1/2, Scx = 4 + 1, so theta is 2; the mean covariate is 1/4.
    assert found.totals == pytest.approx([6.0 + 1.0, 6.0 - 1.0])
    assert found.squared_deviations == pytest.approx([0.0, 0.0], abs=1e-12)


def test_the_interval_is_narrower_by_what_is_explained_and_says_so() -> None:
    tally = tally_of(*units_of(4_000, 0.8, 0.1))
    with_it, without = evaluated(tally), evaluated(tally, covariates=[])
    widths = []
    for snapshot in (with_it, without):
        assert snapshot.evidence is not None
        (compared,) = snapshot.evidence.comparisons
        assert compared.lower is not None
        assert compared.upper is not None
        widths.append(compared.upper - compared.lower)
    assert widths[0] / widths[1] == pytest.approx(0.6, abs=0.02)
    assert with_it.metrics["spend"].variance_removed == pytest.approx(0.64, abs=0.02)
    assert without.metrics["spend"].variance_removed is None
    ends = [(s.variants[1].upper or 0.0) - (s.variants[1].lower or 0.0) for s in (with_it, without)]
    assert ends[0] / ends[1] == pytest.approx(0.6, abs=0.02)
    # Of units whose weights are not known by pair, what is explained is not known either.
    assert evaluated(tally, type="thompson_sampling").metrics["spend"].variance_removed is None


def test_counts_of_0_and_1_have_tails_once_they_are_adjusted() -> None:
    """Their exact bounds are those of the values, and adjusted values have none."""
    random = np.random.default_rng(4)
    variants, before = random.integers(0, 2, 4_000).astype(np.float64), random.normal(size=4_000)
    values = (random.random(4_000) < np.where(before > 0.0, 0.9, 0.1)).astype(np.float64)
    counted = {"spend": {"kind": "count", "cap": 1}}

    snapshot = evaluated(tally_of(variants, before, values), metrics=counted)

    removed = snapshot.metrics["spend"].variance_removed
    assert removed == pytest.approx(np.corrcoef(before, values)[0, 1] ** 2, abs=0.01)
    assert snapshot.evidence is not None
    (compared,) = snapshot.evidence.comparisons
    assert compared.lower is not None
    assert compared.lower < 0.0 < (compared.upper or 0.0)


def test_units_without_the_covariate_are_compared_by_their_own_mean_and_counted() -> None:
    variants, before, values = units_of(4_000, 0.8, 0.1)
    known = np.arange(4_000) % 2 == 0
    values = np.where(known, values, values + 30.0)  # those without one are others, too
    snapshot = evaluated(tally_of(variants, np.where(known, before, np.nan), values))
    (use,) = snapshot.features
    assert (use.name, use.units, use.unknown_units) == ("before", 4_000, 2_000)
    removed = snapshot.metrics["spend"].variance_removed
    # Within the known 64 %, the others none, and all of the variance between the two, 15**2.
    assert removed == pytest.approx((225.0 + 0.32) / 226.0, abs=0.002)


def test_without_any_units_nothing_is_removed() -> None:
    snapshot = evaluated(Tally())
    assert snapshot.metrics["spend"].variance_removed == 0.0
    unknown = replace(merge([]), variants={0: VariantTally(units=3)})  # of no known weights
    assert evaluated(unknown).metrics["spend"].variance_removed is None
