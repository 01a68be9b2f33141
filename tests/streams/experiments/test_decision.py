import math
from dataclasses import replace

import numpy as np
import pytest

from streams.domain.quantities import ALLOCATION_TOTAL, MICRO, inverse_propensity
from streams.experiments.decision import Evidence, decide
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.report import evaluate
from streams.experiments.snapshot import RecommendedAction
from streams.inference.best import best
from streams.inference.beta import BetaPosterior
from streams.inference.confseq import WeightedSums
from streams.tallies.cell import MetricTally, Tally, VariantTally


def experiment(kind="bayesian_ab", n_variants=2, status=Status.RUNNING, **config):
    definition = parse_definition(
        {"name": "Hero", "type": kind, "primaryMetric": "click"} | config,
        [{"name": name, "isControl": name == "A"} for name in "ABCDE"[:n_variants]],
    )
    return Experiment(7, definition, status, version=3, created_at_ms=1, started_version=2)


def verdict(value, *pairs, is_binary=True, largest=None):
    """Decide on (units, successes) of variants under an even split."""
    inverse = len(pairs)
    evidence = [
        Evidence(
            units,
            successes,
            successes / max(1, units),
            WeightedSums(
                float(successes * inverse),
                float(successes * inverse**2),
                largest or (inverse if is_binary else math.inf),
            ),
            is_binary,
        )
        for units, successes in pairs
    ]
    units, successes = zip(*pairs, strict=True)
    failures = np.subtract(units, successes)
    return decide(value, evidence, best(BetaPosterior.observed(successes, failures)), sum(units))


def test_clear_lead_is_a_winner():
    result = verdict(experiment(), (5_000, 500), (5_000, 800))

    assert (result.winner, result.recommended_action) == (1, RecommendedAction.CONCLUDE_WINNER)
    assert result.confidence > 0.999
    assert result.reason.startswith("B beats every other variant: it is ahead of A by at least 0.0")
    assert "below 0.05 however often you look" in result.reason


def test_winner_must_beat_every_other_variant():
    result = verdict(experiment(n_variants=3), (5_000, 500), (5_000, 800), (5_000, 790))

    assert (result.winner, result.recommended_action) == (None, RecommendedAction.CONTINUE)
    assert result.reason.startswith("B leads and is the best with probability ")


def test_high_probability_alone_names_no_winner():
    """What peeking would take for a winner: P(best) over 95 % at one look of many."""
    result = verdict(experiment(), (1_000, 100), (1_000, 125))

    assert result.confidence > 0.95
    assert (result.winner, result.recommended_action) == (None, RecommendedAction.CONTINUE)
    assert "not yet safe to say that it beats A" in result.reason


def test_every_variant_must_have_its_sample():
    result = verdict(experiment(minSampleSize=5_001), (5_001, 500), (5_000, 800))

    assert result.winner is None
    assert result.reason == "B has 5,000 of the 5,001 units it needs."


def test_metric_that_is_not_binary_needs_units_with_a_value():
    result = verdict(experiment(), (5_000, 29), (5_000, 800), is_binary=False)

    assert result.winner is None
    assert result.reason == (
        "A has a value of click from 29 units; 30 are needed to compare means."
    )


def test_metric_that_is_not_binary_may_win():
    assert verdict(experiment(), (5_000, 500), (5_000, 800), is_binary=False).winner == 1


def test_early_stopping_threshold_of_a_bayesian_test_holds_besides():
    pairs = (5_000, 500), (5_000, 630)
    eager = experiment(significanceThreshold=0.5, parameters={"earlyStoppingThreshold": 0.5})
    wary = experiment(significanceThreshold=0.5, parameters={"earlyStoppingThreshold": 1 - 1e-6})

    assert verdict(eager, *pairs).winner == 1
    assert verdict(wary, *pairs).winner is None
    assert "a winner needs 100.0%" in verdict(wary, *pairs).reason


def test_lower_significance_threshold_decides_earlier():
    pairs = (5_000, 500), (5_000, 600)

    assert verdict(experiment(), *pairs).winner is None
    assert verdict(experiment("thompson_sampling", significanceThreshold=0.5), *pairs).winner == 1


def test_no_difference_is_concluded_when_it_is_within_one_per_cent():
    result = verdict(experiment(), (10**7, 5 * 10**6), (10**7, 5 * 10**6 + 1_000))

    assert (result.winner, result.recommended_action) == (
        None,
        RecommendedAction.CONCLUDE_NO_DIFFERENCE,
    )
    assert result.reason == "No variant differs from B by more than 1% of its click per unit."


def test_no_difference_is_not_concluded_from_few_units():
    result = verdict(experiment(), (10_000, 5_000), (10_000, 5_000))

    assert result.recommended_action is RecommendedAction.CONTINUE


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PAUSED])
def test_winner_is_named_while_running_or_paused(status):
    assert verdict(experiment(status=status), (5_000, 500), (5_000, 800)).winner == 1


@pytest.mark.parametrize(
    ("status", "winner", "concluded_at_ms", "reason"),
    [
        (Status.DRAFT, None, None, "The experiment has not been started."),
        (Status.CONCLUDED, 0, 5, "The experiment was concluded with A."),
        (Status.CONCLUDED, None, 5, "The experiment was concluded without a winner."),
        (Status.ARCHIVED, 0, 5, "The experiment was concluded with A."),
        (Status.ARCHIVED, None, None, "The experiment was archived without having been started."),
    ],
)
def test_what_does_not_run_keeps_its_end(status, winner, concluded_at_ms, reason):
    """Whatever the data say now: B would win."""
    value = replace(experiment(status=status), winner=winner, concluded_at_ms=concluded_at_ms)

    result = verdict(value, (5_000, 500), (5_000, 800))

    assert (result.winner, result.recommended_action) == (winner, RecommendedAction.CONTINUE)
    assert result.reason == reason


def test_without_any_unit_nothing_is_certain():
    assert verdict(experiment(minSampleSize=0), (0, 0), (0, 0)).winner is None


def watched_winner(rates, units, looks, seed, kind="thompson_sampling", **parameters):
    """Winner named at the first of many looks that names one, while the weights move."""
    random = np.random.default_rng(seed)
    value = experiment(kind, len(rates), parameters=parameters)
    assigned, clicked, summed = (np.zeros(len(rates), dtype=object) for _ in range(3))
    inverses, weighted, squared = (np.zeros(len(rates), dtype=object) for _ in range(3))
    snapshot = evaluate(value, Tally(), ())
    for _ in range(looks):
        weights = snapshot.allocation.weights
        batch = random.multinomial(units // looks, np.array(weights) / ALLOCATION_TOTAL)
        for index, (size, weight) in enumerate(zip(batch.tolist(), weights, strict=True)):
            clicks = int(random.binomial(size, rates[index]))
            inverse = inverse_propensity(weight << 16)
            assigned[index] += size
            clicked[index] += clicks
            summed[index] += size * inverse
            inverses[index] += size * inverse**2
            weighted[index] += clicks * inverse * MICRO
            squared[index] += clicks * inverse**2 * MICRO**2
        tally = Tally(
            variants={
                index: VariantTally(
                    assigned[index],
                    summed[index],
                    inverses[index],
                    {
                        "click": MetricTally(
                            clicked[index],
                            clicked[index],
                            clicked[index] * MICRO,
                            clicked[index] * MICRO**2,
                            weighted[index],
                            squared[index],
                        )
                    },
                )
                for index in range(len(rates))
            }
        )
        snapshot = evaluate(value, tally, ())
        if snapshot.winner is not None:
            return snapshot.winner
    return None


@pytest.mark.statistical
def test_peeking_200_times_under_thompson_rarely_names_a_winner_of_equals():
    """20 repetitions of 20,000 units at 5 %: at most 5 % of them may name one.

    If that were exactly so, more than 5 of 20 would do it with probability 3.3e-4.
    """
    named = [watched_winner((0.05, 0.05), 20_000, 200, seed) for seed in range(20)]

    assert sum(winner is not None for winner in named) <= 5


@pytest.mark.statistical
def test_clear_winner_is_found_under_thompson():
    """Rates 0.2 and 0.5, 40 looks in 20,000 units, at least a tenth of them in each arm.

    At the end the interval is about 0.05 wide on each side of 0.3, with a standard error of 0.011:
    another seed would miss the winner less often than 1e-9, and name the other one less still.
    """
    named = [watched_winner((0.2, 0.5), 20_000, 40, seed, minAllocation=0.1) for seed in range(5)]

    assert named == [1] * 5
