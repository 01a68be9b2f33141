"""Every definition that is accepted can be evaluated, whatever has been counted."""

from __future__ import annotations

import random
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from streams.model.errors import InputError
from streams.policies.thompson_sampling import ThompsonSampling
from tests.streams.analysis.test_evaluate import experiment, tally, variant
from tests.streams.experiments.laws import check
from tests.streams.experiments.space import asked, near_bounds

LONGEST_S = 30.0
"""CPU time that one evaluation may take, checks included. One that hangs takes longer."""


@contextmanager
def bounded() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_S)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # as of what is no number
            yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[
        HealthCheck.filter_too_much,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(st.data())
def test_every_accepted_definition_can_be_evaluated(data):
    """By choices that hypothesis makes, so that it can shrink what it finds."""
    found = asked(lambda options: data.draw(st.sampled_from(options)))
    assume(found is not None)

    if found is not None:
        with bounded():
            check(*found)


FOUND = (
    1_000_085, 900_040, 900_577, 900_749, 8, 13, 64, 77,
    383, 1324, 408, 437, 539, 725, 1294, 1568,
)  # fmt: skip
"""Seeds of evaluations that a long search found to raise, to hang, or to say what is no number."""


FOUND_FOLDED = (1_443, 3_118, 3_389, 11_892, 13_598)
"""The same, of definitions with every feature and of units that are folded."""


@pytest.mark.parametrize("seed", [*FOUND_FOLDED, *range(200_000, 200_040)])
def test_folded_units_of_every_feature_can_be_evaluated(seed):
    chooser = random.Random(seed)
    found = None
    while found is None or len(found[0].definition.variants) > 17:
        found = asked(lambda options: options[chooser.randrange(len(options))], is_whole=True)
    with bounded():
        check(*found)


@pytest.mark.parametrize("seed", [*FOUND, *range(100_000, 100_120)])
def test_what_a_search_found_can_be_evaluated(seed):
    """By plain random numbers, as a long search takes them."""
    found = asked(random.Random(seed).choice)
    if found is not None:
        with bounded():
            check(*found)


@pytest.mark.parametrize(
    ("alpha", "beta"), [(1e-9, 1e9), (1e9, 1e-9), (1e-9, 1e-9), (5e-324, 1.0), (1.0, 1e10)]
)
@pytest.mark.parametrize("kind", ["thompson_sampling", "top_two_thompson", "bayesian_ab"])
def test_priors_that_floats_cannot_distinguish_from_certainty_are_refused(kind, alpha, beta):
    parameters = {"priorAlpha": alpha, "priorBeta": beta}

    with pytest.raises(InputError) as error:
        experiment(kind, parameters=parameters)

    assert error.value.code == "OUT_OF_RANGE"
    assert error.value.path.startswith("config.parameters.prior")


@pytest.mark.parametrize("alpha", [0.01, 1e9])
@pytest.mark.parametrize("beta", [0.01, 1e9])
def test_priors_at_their_bounds_are_evaluated(alpha, beta):
    value = experiment(parameters={"priorAlpha": alpha, "priorBeta": beta})

    with bounded():
        check(value, tally(variant(100, click=[1] * 20), variant(100, click=[1] * 30)), ())


@pytest.mark.parametrize("direction", ["increase", "decrease"])
def test_a_guardrail_may_tolerate_all_harm(direction):
    value = experiment(
        guardrailMetrics=["error"],
        metrics={"error": {"direction": direction, "toleratedHarm": 1.0}},
    )
    counted = tally(variant(900, click=[1] * 90, error=[1] * 90), variant(900, click=[1], error=[]))

    with bounded():
        snapshot = check(value, counted, ())

    assert snapshot.evidence is not None
    assert not any(each.is_tripped for each in snapshot.evidence.guardrails)


def test_large_values_that_cancel_stop_nothing():
    """A thousand times +-1e9 on two units of a revenue metric, as two receipts can send them."""
    large = 1e9 * 1_000
    value = experiment(metrics={"click": {"kind": "revenue"}})

    for values in ([large, -large], [large, -large + 0.01], [large - 0.01, -large]):
        with bounded():
            check(value, tally(variant(100, click=values), variant(100, click=[1.0])), ())


@pytest.mark.parametrize("declared", [True, False])
def test_an_undeclared_metric_whose_values_cancel_stops_nothing(declared):
    value = experiment(secondaryMetrics=["stray"] if declared else [])
    stray = [1_000_000.0, -999_999.99]

    with bounded():
        snapshot = check(
            value,
            tally(variant(100, click=[1] * 9, stray=stray), variant(100, click=[1] * 9)),
            (),
        )

    assert snapshot.variants[0].probability_best == pytest.approx(0.5)


def test_the_space_holds_every_bound_and_its_neighbours():
    found = near_bounds(ThompsonSampling, "prior_alpha")

    assert {found[0], found[-1]} == {0.01, 1e9}
    assert len(found) > 6


def test_units_of_the_metric_do_not_change_who_is_best():
    """A total of 7e13 a unit, as large as a unit can have: the same probabilities as in cents."""
    small = tally(variant(100, click=[1.5] * 40), variant(100, click=[2.5] * 40))
    scale = 10**12
    large = tally(variant(100, click=[1.5 * scale] * 40), variant(100, click=[2.5 * scale] * 40))
    value = experiment(metrics={"click": {"kind": "continuous"}})

    first, second = check(value, small, ()), check(value, large, ())

    assert [each.probability_best for each in first.variants] == pytest.approx(
        [each.probability_best for each in second.variants], abs=1e-6
    )


def test_a_cap_that_rounds_to_its_floor_is_refused():
    """Both are kept in micro-units, and a plan whose cap is no larger than its floor is invalid."""
    spec = {"kind": "continuous", "floor": 1e-6, "cap": 1.1e-6}

    with pytest.raises(InputError) as error:
        experiment(metrics={"click": spec})

    assert (error.value.code, error.value.path) == ("OUT_OF_RANGE", "config.metrics.click.floor")
