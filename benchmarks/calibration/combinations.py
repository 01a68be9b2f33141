"""Every combination of kind, weighting, plan, window and covariate that is accepted, as a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from benchmarks.calibration.errors import slug
from benchmarks.calibration.results import Claim, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.combined import (
    COVARIATE,
    CombinedEnvironment,
    Draw,
    Values,
    first_declared,
    micro,
)
from benchmarks.simulation.proportion import Proportion
from streams.experiments.lifecycle import Experiment
from streams.model.errors import InputError
from streams.planning.simulation import running_experiment
from streams.stats.arrays import FloatArray
from streams.stats.families.base import Family
from streams.stats.families.registry import FAMILIES
from streams.stats.kinds import MetricKind
from streams.stats.weighting import Weighting

METRIC = "metric"
_CLICKS, _VIEWS = "clicks", "views"
_SEED = 2026_37
_WINDOW_S = 3 * 86_400
_REPETITIONS = 75
_POLICIES = {
    Weighting.PLAIN: "bayesian_ab",
    Weighting.OVERLAP: "top_two_thompson",
    Weighting.INVERSE: "top_two_thompson",
}
_NAMED = Claim("named", at_most=0.05)


class Combination(NamedTuple):
    """Declarations of an experiment, and the weighting of its units.

    Attributes:
        kind: Kind of the primary metric.
        weighting: Weight of a unit in a comparison.
        has_plan, has_window, has_covariate: Whether these are declared.
    """

    kind: MetricKind
    weighting: Weighting
    has_plan: bool
    has_window: bool
    has_covariate: bool

    @property
    def name(self) -> str:
        """Name of its row."""
        declared = zip(("plan", "window", "covariate"), self[2:], strict=True)
        return slug(" ".join([self.kind, self.weighting, *(name for name, has in declared if has)]))

    @property
    def config(self) -> dict[str, Any]:
        """Configuration, by its names in JSON."""
        of_kind = values_of(self.kind)
        config: dict[str, Any] = {
            "name": "combination",
            "type": _POLICIES[self.weighting],
            "primaryMetric": METRIC,
            "metrics": of_kind.metrics,
            "attributionWindow": 0,
        }
        if self.has_plan:
            config["plan"] = {"lift": 0.1, "units": 1_500, **of_kind.plan}
        if self.has_window:
            config["conversionWindow"] = _WINDOW_S
        if self.has_covariate:
            config["covariates"] = [{"name": COVARIATE, "minimum": -4.0, "maximum": 4.0}]
        return config

    def experiment(self) -> Experiment:
        """Return a running experiment.

        Raises:
            InputError: such a configuration is refused.
        """
        return running_experiment(self.config, 2, control=1)


@dataclass(frozen=True, slots=True)
class OfKind:
    """Declaration of metrics of a kind, and the way their values are drawn.

    Attributes:
        metrics: Declarations of the metrics.
        plan: Baseline and deviation of a plan: what is measured without the busy days.
        draw: Draws the values of units.
    """

    metrics: Mapping[str, Any]
    plan: Mapping[str, float]
    draw: Draw


def _binary(known: FloatArray, busy: float, effect: float, draw: np.random.Generator) -> Values:
    rates = np.minimum(0.1 * busy * effect * np.exp(0.5 * known - 0.125), 1.0)
    return {METRIC: micro(draw.random(len(known)) < rates)}


def _count(known: FloatArray, busy: float, effect: float, draw: np.random.Generator) -> Values:
    """Draw counts that vary three times as much as a Poisson variable, and more by covariate."""
    means = 0.5 * busy * effect * np.exp(0.5 * known - 0.125)
    return {METRIC: micro(draw.poisson(means * draw.gamma(0.25, 4.0, len(known))))}


def _revenue(known: FloatArray, busy: float, effect: float, draw: np.random.Generator) -> Values:
    buys = draw.random(len(known)) < 0.2 * busy * effect
    amounts = draw.lognormal(3.0 + 0.5 * known, 0.5)
    return {METRIC: micro(np.where(buys, amounts, 0.0))}


def _continuous(known: FloatArray, busy: float, effect: float, draw: np.random.Generator) -> Values:
    values = 2.0 * busy * effect + known + draw.normal(size=len(known))
    return {METRIC: micro(values)}


def _ratio(known: FloatArray, busy: float, effect: float, draw: np.random.Generator) -> Values:
    """Draw clicks of views, of units that see and click unlike much."""
    views = 1 + draw.poisson(2.0 * busy * np.exp(0.5 * known - 0.125))
    rates = draw.beta(1.0, 4.0, len(known)) * min(effect, 2.0)
    return {
        _CLICKS: micro(draw.binomial(views, np.minimum(rates, 1.0))),
        _VIEWS: micro(views),
    }


def _latency(known: FloatArray, busy: float, effect: float, draw: np.random.Generator) -> Values:
    return {METRIC: micro(busy * effect * draw.lognormal(4.0 + 0.3 * known, 0.4))}


KINDS: Mapping[MetricKind, OfKind] = {
    MetricKind.BINARY: OfKind({METRIC: {"kind": "binary"}}, {"baseline": 0.11}, _binary),
    MetricKind.COUNT: OfKind(
        {METRIC: {"kind": "count"}}, {"baseline": 0.57, "deviation": 1.5}, _count
    ),
    MetricKind.REVENUE: OfKind(
        {METRIC: {"kind": "revenue"}}, {"baseline": 5.9, "deviation": 14.0}, _revenue
    ),
    MetricKind.CONTINUOUS: OfKind(
        {METRIC: {"kind": "continuous"}}, {"baseline": 2.3, "deviation": 1.5}, _continuous
    ),
    MetricKind.RATIO: OfKind(
        {METRIC: {"kind": "ratio", "numerator": _CLICKS, "denominator": _VIEWS}},
        {"baseline": 0.2, "deviation": 0.9},
        _ratio,
    ),
    MetricKind.QUANTILE: OfKind(
        {METRIC: {"kind": "quantile", "percentile": 0.9}}, {"baseline": 110.0}, _latency
    ),
}
"""By kind. One whose family extends that of another kind has the values of that (`values_of`)."""


def values_of(kind: MetricKind) -> OfKind:
    """Return the declaration and the values of a kind, or of the kind that its family extends.

    Raises:
        KeyError: neither has values.
    """
    families = type(FAMILIES[kind]).__mro__
    extended = (each.kind for each in families if issubclass(each, Family) and each is not Family)
    found = KINDS[next((each for each in extended if each in KINDS), kind)]
    declared = {**found.metrics, METRIC: {**found.metrics[METRIC], "kind": kind.value}}
    return replace(found, metrics=declared)


def all_combinations() -> list[Combination]:
    """Return all combinations, accepted or not."""
    switches = ((False, True),) * 3
    return [Combination(*each) for each in product(MetricKind, Weighting, *switches)]


def is_accepted(combination: Combination) -> bool:
    """Return whether an experiment may be declared so."""
    try:
        combination.experiment()
    except InputError:
        return False
    return True


def combinations() -> Section:
    """Return equal variants of every combination that is accepted."""
    return Section(
        "combinations",
        "Every combination that can be declared",
        "Two equal variants through the tallies and `evaluate()` of production: 400 units a day "
        "for 14 days with a look a day, half as much again at weekends, values of which half come "
        "within five hours; with a conversion window of three days those of one variant come "
        "after an hour and those of the other after eight on average. Units differ by a covariate, "
        "declared or not. Plans are of 1,500 units a variant, and reached in the second week. Sums "
        "by pair (`overlap`) are kept for up to 16 variants, and 1 / propensity (`inverse`) counts "
        "beyond. At most 5 % may ever declare a winner. A single row shows only gross errors; the "
        "claim is about all of them together.",
        {"named": "ever declared"},
        tuple(_row(each) for each in all_combinations() if is_accepted(each)),
        is_pooled=True,
    )


def _row(combination: Combination) -> Row:
    marks = ("yes" if has else "" for has in combination[2:])
    cells = dict(
        zip(
            ("kind", "weighting", "plan", "window", "covariate"),
            (combination.kind, combination.weighting, *marks),
            strict=True,
        )
    )
    return Row(combination.name, cells, partial(_declared, combination), _REPETITIONS, 0, (_NAMED,))


def environment_of(combination: Combination) -> CombinedEnvironment:
    """Return the units of a combination."""
    delays = (1.0 / 24.0, 1.0 / 3.0) if combination.has_window else (0.3, 0.3)
    return CombinedEnvironment(values_of(combination.kind).draw, delay_days=delays)


def _declared(combination: Combination, size: Size, progress: Progress) -> Result:
    experiment, environment = combination.experiment(), environment_of(combination)
    seed = (_SEED, crc32(combination.name.encode()))  # rows are pooled: none may share its draws
    has_pairs = combination.weighting is not Weighting.INVERSE
    declared = 0
    for run in progress(range(size.repetitions)):
        generator = np.random.default_rng((*seed, run))
        _, winner = first_declared(experiment, environment, generator, has_pairs=has_pairs)
        declared += winner is not None
    return Result(size.repetitions, {"named": Proportion(declared, size.repetitions)})
