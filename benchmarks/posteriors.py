"""Cost of one posterior update: 10 variants and 5 metrics, from integer tallies to intervals.

    python -m benchmarks.posteriors [--variants 10] [--rounds 200]

Every step runs alone; the median of the rounds counts, in processor time, which what else the
machine does disturbs least. The five metrics are one of each kind: binary, count, revenue,
continuous and ratio. The goal is 5 ms for the update, which is what a snapshot needs each time its
tally changes: samples, kinds, posteriors, credible intervals, and P(best) with the expected losses
of the primary metric. What a report may add stands below it.
"""

from __future__ import annotations

import argparse
import statistics
import time
import timeit
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from streams.model.quantities import MICRO
from streams.stats.arrays import FloatArray
from streams.stats.bayes.best import best
from streams.stats.bayes.credible import equal_tailed
from streams.stats.bayes.lift import Lift, lifts_vs_control
from streams.stats.bayes.value_remaining import value_remaining
from streams.stats.direction import Direction
from streams.stats.families.base import VariantMetric
from streams.stats.families.registry import FAMILIES, find_kind
from streams.stats.kinds import MetricKind
from streams.stats.numerics.tabulated import TabulatedPosteriors
from streams.stats.posteriors.base import Posteriors
from streams.stats.posteriors.ratio import RatioSample, ratio_posteriors
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally

_SEED = 2026


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    metrics = tallied(arguments.variants)
    update = _Update(metrics)
    posteriors = update.posteriors()
    primary = posteriors[MetricKind.BINARY]
    leader = int(np.argmax(primary.means))

    steps: dict[str, Callable[[], object]] = {
        "samples, kinds and posteriors": update.posteriors,
        "credible intervals": lambda: [equal_tailed(family) for family in posteriors.values()],
        "P(best), primary metric": lambda: best(primary),
        "the update: all of the above": update.run,
        "P(best), every metric": lambda: [best(family) for family in posteriors.values()],
        "lift over the control, every metric": lambda: lifts_vs_control(
            TabulatedPosteriors.of(*posteriors.values()),
            0,
            directions=[Direction.INCREASE] * len(posteriors),
        ),
        "value remaining, primary metric": lambda: value_remaining(
            TabulatedPosteriors.of(primary), leader
        ),
    }
    for kind, family in posteriors.items():
        steps[f"lift, {kind.value}"] = partial(_lift, family)
    print(f"{arguments.variants} variants, {len(posteriors)} metrics; median of {arguments.rounds}")
    for name, step in steps.items():
        print(f"{name:38}  {_median_ms(step, arguments.rounds):6.2f} ms")


class _Update:
    """Posterior update of one snapshot."""

    def __init__(self, metrics: Sequence[Sequence[VariantMetric]]) -> None:
        self._metrics = metrics

    def posteriors(self) -> dict[MetricKind, Posteriors]:
        """Return the posteriors of every metric, and of the ratio of two of them."""
        found: dict[MetricKind, Posteriors] = {}
        for variants in self._metrics:
            kind = find_kind(None, variants).kind
            samples = [Sample.of(variant.units, variant.metric) for variant in variants]
            found[kind] = FAMILIES[kind].posteriors(samples)
        ratios = [
            RatioSample.of(x.units, x.metric, y.metric, 0)
            for x, y in zip(self._metrics[0], self._metrics[1], strict=True)
        ]
        found[MetricKind.RATIO] = ratio_posteriors(
            [ratio.linearised(ratio.units) for ratio in ratios], [True] * len(ratios)
        )
        return found

    def run(self) -> None:
        """Do all that an update needs."""
        posteriors = self.posteriors()
        for family in posteriors.values():
            equal_tailed(family)
        best(posteriors[MetricKind.BINARY])


def _lift(family: Posteriors) -> list[Lift]:
    return lifts_vs_control(TabulatedPosteriors.of(family), 0, directions=[Direction.INCREASE])


def tallied(n_variants: int) -> list[list[VariantMetric]]:
    """Return tallies of four metrics: clicks, visits, purchases and milliseconds.

    The variants have 1,000 to 50,000 units, as under a bandit.
    """
    rng = np.random.default_rng(_SEED)
    metrics: list[list[VariantMetric]] = [[], [], [], []]
    for _ in range(n_variants):
        units = int(np.exp(rng.uniform(np.log(1_000), np.log(50_000))))
        values = (
            np.ones(rng.binomial(units, rng.uniform(0.04, 0.05))),
            rng.poisson(rng.uniform(1.0, 1.2), units).astype(np.float64),
            rng.lognormal(3.0, 1.0, rng.binomial(units, 0.03)),
            rng.normal(250.0, 80.0, units),
        )
        for metric, of_units in zip(metrics, values, strict=True):
            metric.append(VariantMetric(units, _tally(of_units)))
    return metrics


def _tally(values: FloatArray) -> MetricTally:
    micro = [round(value * MICRO) for value in values.tolist()]
    return MetricTally(len(micro), len(micro), sum(micro), sum(value * value for value in micro))


def _median_ms(step: Callable[[], object], rounds: int) -> float:
    return (
        statistics.median(timeit.repeat(step, timer=time.process_time, number=1, repeat=rounds))
        * 1e3
    )


if __name__ == "__main__":
    main()
