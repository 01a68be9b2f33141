"""Equal variants of which each request can show some, depending on its context."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.calibration.errors import slug
from benchmarks.calibration.results import Claim, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.eligible import Requests, simulate_sets
from benchmarks.simulation.production import running
from benchmarks.simulation.proportion import Proportion

_SEED = 2026_43
_REPETITIONS = 300
_NAIVE_PART = 6  # its rates are far from any bound
_CERTAIN = 0.95
_PAIR_ERROR = 0.05 / 3
_POLICIES = ("bayesian_ab", "thompson_sampling", "top_two_thompson", "ucb", "epsilon_greedy")

REQUESTS = Requests(
    eligible=(0b011, 0b110, 0b111),
    shares=np.array([0.4, 0.4, 0.2]),
    rates=np.array([[0.2] * 3, [0.05] * 3, [0.1] * 3]),
    units=600,
    looks=20,
)
"""Two of three variants can be shown to four tenths each of the requests, which convert at 20 % and
at 5 %, and all three to the others, at 10 %."""


def eligible() -> Section:
    """Return equal variants under sets of eligible ones that depend on the context."""
    return Section(
        "eligible",
        "Eligible sets that depend on the context",
        "Three equal variants through the draws, tallies and `evaluate()` of production. Four "
        "tenths of the requests can show the first two variants and convert at 20 %, four tenths "
        "the last two, at 5 %, and the others all three, at 10 %: 600 requests between two of 20 "
        "looks. At most 5 % may ever declare two variants different: by an always-valid p-value "
        "of at most a third of that, as there are three pairs. Beside it, what the same requests "
        "give that are logged as if all variants had been eligible.",
        {
            "different": "ever declared different",
            "alarm": "ever a sample ratio alarm",
            "certain": "P(best) > 95 % in the end",
            "naive": "different, if sets are ignored",
            "naive_certain": "P(best) > 95 %, if ignored",
        },
        tuple(
            Row(
                slug(policy),
                {"policy": f"`{policy}`"},
                partial(_judged, policy),
                _REPETITIONS,
                0,
                (
                    Claim("different", at_most=0.05),
                    Claim("alarm", at_most=0.02),
                    Claim("naive", at_least=0.5),
                ),
            )
            for policy in _POLICIES
        ),
    )


def _judged(policy: str, size: Size, progress: Progress) -> Result:
    experiment = running(policy, 3)
    names = ("different", "alarm", "certain", "naive", "naive_certain")
    found = dict.fromkeys(names, 0)
    n_naive = max(2, size.repetitions // _NAIVE_PART)
    for run in progress(range(size.repetitions)):
        for is_naive in (False, True)[: 1 + (run < n_naive)]:
            generator = np.random.default_rng((_SEED, run))
            is_different = is_alarmed = False
            evidence = None
            for snapshot in simulate_sets(experiment, REQUESTS, generator, is_naive=is_naive):
                evidence = snapshot.evidence
                assert evidence is not None  # noqa: S101 - it was evaluated
                is_different |= any(each.p_value <= _PAIR_ERROR for each in evidence.comparisons)
                is_alarmed |= evidence.sample_ratio.is_mismatch
            is_certain = evidence is not None and evidence.probability_best > _CERTAIN
            found["naive" if is_naive else "different"] += is_different
            found["naive_certain" if is_naive else "certain"] += is_certain
            found["alarm"] += is_alarmed and not is_naive
    sizes = dict.fromkeys(names, size.repetitions) | dict.fromkeys(names[3:], n_naive)
    return Result(size.repetitions, {name: Proportion(found[name], sizes[name]) for name in names})
