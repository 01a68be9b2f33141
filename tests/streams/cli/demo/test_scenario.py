from __future__ import annotations

import itertools
from collections import Counter

import pytest

from streams.cli.demo.scenario import TRIALS, ScenarioEvent, response, visits
from streams.experiments.definition import parse_definition

N = 4000


def test_every_trial_is_an_experiment_the_engine_takes() -> None:
    definitions = [parse_definition(trial.config, trial.variants_json()) for trial in TRIALS]

    assert {each.config.type for each in definitions} == {
        "thompson_sampling",
        "ucb",
        "epsilon_greedy",
        "bayesian_ab",
    }
    assert {each.config.unit for each in definitions} == {"impression", "user", "session"}


def test_the_same_seed_gives_the_same_world_whatever_the_order() -> None:
    come = list(itertools.islice(visits(7), 50))
    again = list(itertools.islice(visits(7), 50))

    assert come == again
    trial = TRIALS[0]
    forth = [response(7, visit, trial, "Creative A") for visit in come]
    back = [response(7, visit, trial, "Creative A") for visit in reversed(come)]
    assert forth == back[::-1]
    assert come != list(itertools.islice(visits(8), 50))


@pytest.mark.statistical
@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.config["name"])
def test_units_react_at_the_stated_rates(trial) -> None:
    """Seeded, so it cannot fail by chance; 4.5 standard errors, 7e-6 for another seed and rate."""
    visit_of = {trial.unit(visit): visit for visit in itertools.islice(visits(3), N)}
    for variant in trial.variants:
        reactions = [response(3, visit, trial, variant.name) for visit in visit_of.values()]
        rate = variant.rate
        if trial.primary_metric == "revenue":
            rate *= variant.conversion_rate
        n_events = sum(
            event.metric == trial.primary_metric for events in reactions for event in events
        )

        n_units = len(visit_of)
        assert abs(n_events / n_units - rate) < 4.5 * (rate * (1 - rate) / n_units) ** 0.5


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.config["name"])
def test_a_unit_that_comes_again_does_the_same_again_under_the_same_event_ids(trial) -> None:
    did: dict[str, tuple[ScenarioEvent, ...]] = {}
    for visit in itertools.islice(visits(5), N):
        events = response(5, visit, trial, trial.variants[0].name)

        assert did.setdefault(trial.unit(visit), events) == events


def test_events_take_both_ways_and_some_are_sent_twice() -> None:
    events = [
        event
        for visit in itertools.islice(visits(1), N)
        for trial in TRIALS
        for event in response(1, visit, trial, trial.variants[0].name)
    ]

    assert set(Counter((event.is_direct, event.copies) for event in events)) == {
        (False, 1),
        (False, 2),
        (True, 1),
        (True, 2),
    }
    assert all(round(event.value * 100) == pytest.approx(event.value * 100) for event in events)
