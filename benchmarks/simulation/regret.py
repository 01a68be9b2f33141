"""Regret of a policy against the best variant: clicks, over many simulated runs.

A run goes through the code that runs in production: tallies of integers become arms, arms become
integer weights, and a draw of 64 bits compared with them chooses the variant. Only the clicks are
made up. The generator is passed in, so a run can be had again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO
from streams.policies.arms import arms_of
from streams.policies.base import Arm, Policy
from streams.policies.draw_tables import draw_table
from streams.policies.epsilon_greedy import EpsilonGreedy
from streams.policies.thompson_sampling import ThompsonSampling
from streams.policies.top_two_thompson import TopTwoThompson
from streams.policies.ucb import UCB, UCBVariant
from streams.policies.weights import allocate
from streams.stats.arrays import FloatArray
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally, VariantTally

CLICK = "click"


@dataclass(frozen=True, slots=True)
class Instance:
    """Variants whose click rates are known here and nowhere else.

    Attributes:
        name: What tables call it.
        rates: Click rate of each variant, in (0, 1); at least two.
    """

    name: str
    rates: tuple[float, ...]

    @property
    def gaps(self) -> tuple[float, ...]:
        """Clicks lost with each unit that a variant gets."""
        return tuple(max(self.rates) - rate for rate in self.rates)

    @property
    def even_split(self) -> float:
        """Clicks lost with each unit under equal shares."""
        return math.fsum(self.gaps) / len(self.gaps)

    @property
    def lai_robbins(self) -> float:
        """C: every policy that is good on all instances loses at least C ln T in the limit.

        Source: Lai and Robbins (1985), "Asymptotically efficient adaptive allocation rules",
            theorem 1: the sum of gap / kl(rate, best rate) over the lesser variants.
        """
        best = max(self.rates)
        return math.fsum(
            (best - rate) / _divergence(rate, best) for rate in self.rates if rate < best
        )


LOW_CLICK_RATES = Instance(
    "ten arms, low click rates", (0.1, 0.05, 0.05, 0.05, 0.02, 0.02, 0.02, 0.01, 0.01, 0.01)
)
"""Typical click rates of ads: the scenario of ten arms with low rewards in Garivier and Cappé
(2011), section 6.2, and in most papers since; its horizon is 20,000 units."""


@dataclass(frozen=True, slots=True)
class Batches:
    """After how many units the weights are computed again.

    Attributes:
        smallest: Units of a batch at least, >= 1.
        fraction: Part of the units so far that may come before the next weights; a batch that is
            one hundredth of what is known already changes little, and saves most of the work.
    """

    smallest: int = 1
    fraction: float = 0.0

    def size(self, units: int) -> int:
        """Return how many units come before the next weights, after `units` units."""
        return max(self.smallest, int(self.fraction * units))


EVERY_UNIT = Batches()
EVERY_HUNDRED = Batches(smallest=100)
GROWING = Batches(fraction=0.01)
"""Every unit at first, and every hundredth part of what is known from 200 units on."""


def regret_of_a_run(
    policy: Policy,
    instance: Instance,
    checkpoints: Sequence[int],
    generator: np.random.Generator,
    batches: Batches = EVERY_UNIT,
) -> tuple[float, ...]:
    """Return the expected clicks lost up to some numbers of units, in one run.

    It is the sum of the gaps of the variants that were chosen: what was lost by choosing, without
    the luck of the clicks.

    Args:
        policy: Policy with its floor.
        instance: Click rates.
        checkpoints: Numbers of units, >= 1, rising.
        generator: Source of draws and clicks.
        batches: When weights are computed.

    Raises:
        InvalidParameterError: the checkpoints do not rise, or are empty.
    """
    if not checkpoints or sorted({0, *checkpoints}) != [0, *checkpoints]:
        raise InvalidParameterError("checkpoints", tuple(checkpoints), "rising and >= 1")
    n_variants = len(instance.rates)
    declared = (1.0 / n_variants,) * n_variants
    tallies = [VariantTally()] * n_variants
    units = 0
    losses = []
    for checkpoint in checkpoints:
        while units < checkpoint:
            table = draw_table(allocate(policy, _arms(tallies, declared)))
            size = min(batches.size(units), checkpoint - units)
            draws = generator.integers(1 << 64, size=size, dtype=np.uint64).tolist()
            chosen = Counter(map(table.choose, draws))
            for variant, count in sorted(chosen.items()):
                clicks = int(generator.binomial(count, instance.rates[variant]))
                tallies[variant] += _tally(count, clicks)
            units += size
        losses.append(
            math.fsum(gap * tally.units for gap, tally in zip(instance.gaps, tallies, strict=True))
        )
    return tuple(losses)


@dataclass(frozen=True, slots=True)
class Regret:
    """Clicks lost, over several runs.

    Attributes:
        checkpoints: Numbers of units.
        runs: Clicks lost up to each of them; shape (n_runs, n_checkpoints).
    """

    checkpoints: tuple[int, ...]
    runs: FloatArray

    @property
    def means(self) -> list[float]:
        """Mean over the runs, at each checkpoint."""
        means: list[float] = self.runs.mean(axis=0).tolist()
        return means

    @property
    def errors(self) -> list[float]:
        """Standard errors of the means."""
        deviations = self.runs.std(axis=0, ddof=1)
        errors: list[float] = (deviations / math.sqrt(len(self.runs))).tolist()
        return errors

    def slope(self) -> tuple[float, float]:
        """Return what is lost as the log of the units grows by 1, and its standard error.

        Between the last two checkpoints, and run by run, so that what a run lost early, which
        differs most between runs, does not count.
        """
        growth = math.log(self.checkpoints[-1] / self.checkpoints[-2])
        slopes = (self.runs[:, -1] - self.runs[:, -2]) / growth
        return float(slopes.mean()), float(slopes.std(ddof=1) / math.sqrt(len(slopes)))


@dataclass(frozen=True, slots=True)
class Case:
    """A row of a table of regrets.

    Attributes:
        label: What the table calls it.
        policy: Policy with its floor.
        batches: When its weights are computed.
    """

    label: str
    policy: Policy
    batches: Batches = EVERY_UNIT


CASES = (
    Case("Thompson", ThompsonSampling(min_allocation=0.0), GROWING),
    Case("Thompson, every 100 units", ThompsonSampling(min_allocation=0.0), EVERY_HUNDRED),
    Case("Thompson, the default floor", ThompsonSampling(), EVERY_HUNDRED),
    Case(
        "Thompson, a floor from 0.01 to 0.001",
        ThompsonSampling(min_allocation=0.001, initial_allocation=0.01),
        EVERY_HUNDRED,
    ),
    Case("Thompson, a floor of 0.001", ThompsonSampling(min_allocation=0.001), EVERY_HUNDRED),
    Case("top-two Thompson", TopTwoThompson(min_allocation=0.0), EVERY_HUNDRED),
    Case("KL-UCB", UCB(variant=UCBVariant.KL, min_allocation=0.0)),
    Case("KL-UCB, c = 0", UCB(variant=UCBVariant.KL, c=0.0, min_allocation=0.0)),
    Case("UCB-Tuned", UCB(variant=UCBVariant.TUNED, min_allocation=0.0)),
    Case(
        "UCB-Tuned, every 100 units",
        UCB(variant=UCBVariant.TUNED, min_allocation=0.0),
        EVERY_HUNDRED,
    ),
    Case("UCB1, c = sqrt(2)", UCB(c=math.sqrt(2.0), min_allocation=0.0)),
    Case("epsilon-greedy 0.1", EpsilonGreedy(min_allocation=0.0)),
    Case("epsilon-greedy 0.1 with decay", EpsilonGreedy(decay=True, min_allocation=0.0)),
    Case(
        "epsilon-greedy 0.1 with decay, D = 50",
        EpsilonGreedy(decay=True, decay_units=50.0, min_allocation=0.0),
    ),
)
"""Policies in the table of `LOW_CLICK_RATES`. A posterior takes a millisecond, so Thompson is not
asked at every unit; that this costs nothing is a row of the table."""


def regret(
    case: Case,
    instance: Instance,
    checkpoints: Sequence[int],
    generator: np.random.Generator,
    n_runs: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Regret:
    """Return what a case loses over several runs.

    Each run has its own generator, spawned from the one given: cases compared with generators of
    the same seed see the same draws for as long as they choose alike.

    Args:
        case: Policy and batches.
        instance: Click rates.
        checkpoints: Numbers of units at which the loss is taken, rising.
        generator: Source of the generators of the runs.
        n_runs: Runs, >= 2.
        progress: Wraps the iteration over the runs, to show how far it is.
    """
    generators = generator.spawn(n_runs)
    runs = [
        regret_of_a_run(case.policy, instance, checkpoints, generators[run], case.batches)
        for run in progress(range(n_runs))
    ]
    return Regret(tuple(checkpoints), np.array(runs))


def _arms(tallies: Sequence[VariantTally], declared: Sequence[float]) -> tuple[Arm, ...]:
    samples = [Sample.of(each.units, each.metrics.get(CLICK, MetricTally())) for each in tallies]
    return arms_of(samples, declared, is_binary=True)


def _tally(units: int, clicks: int) -> VariantTally:
    if not clicks:
        return VariantTally(units)
    metric = MetricTally(clicks, clicks, clicks * MICRO, clicks * MICRO * MICRO)
    return VariantTally(units, metrics={CLICK: metric})


def _divergence(p: float, q: float) -> float:
    """Return kl(p, q) of Bernoulli distributions."""
    return p * math.log(p / q) + (1.0 - p) * math.log((1.0 - p) / (1.0 - q))
