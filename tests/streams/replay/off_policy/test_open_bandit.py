"""Contextual policies over real traffic: the Open Bandit Dataset, with `obp` as the oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streams.cli.open_bandit.dataset import (
    Campaign,
    LoggingPolicy,
    declared_features,
    fetch_wheel,
    read_sample,
)
from streams.replay.off_policy.report import evaluate_target
from streams.replay.off_policy.rules import policy_of
from streams.replay.off_policy.target import replayed
from tests.streams.replay.off_policy.open_bandit import contextual_experiment, log_of_sample

EVENTS, BATCH = 3_000, 1_000


@pytest.fixture(scope="module")
def sample():
    return read_sample(fetch_wheel(), LoggingPolicy.BTS, Campaign.MEN, EVENTS)


@pytest.fixture(scope="module")
def log(sample):
    return log_of_sample(sample)


@pytest.mark.parametrize("campaign", Campaign)
def test_the_features_fit_the_items_of_every_campaign(campaign):
    sample = read_sample(fetch_wheel(), LoggingPolicy.RANDOM, campaign, 10)

    found = declared_features(sample)
    assert contextual_experiment(sample, "lin_ucb").definition.config.type == "lin_ucb"

    assert [feature.name for feature in found] == ["position", *(f"user_{i}" for i in range(4))]
    assert all(set(event.features) == {each.name for each in found} for event in sample.events)


@pytest.mark.parametrize("policy", ["lin_ucb", "lin_ts"])
def test_obp_gives_the_same_for_contextual_policies_on_the_open_bandit_data(
    policy, sample, log, obp
):
    """To 1e-12: the same sums in another order. `switch_dr` has the largest weight of ours, 10."""
    target = replayed(log, policy_of(contextual_experiment(sample, policy)), BATCH)
    found = evaluate_target(log, target)
    logged = {
        "reward": np.array([float(event.is_clicked) for event in sample.events]),
        "action": np.array([event.item for event in sample.events]),
        "pscore": log.propensities / 2**32,
        "action_dist": target.shares[target.situations][:, :, None],
    }
    modelled = {"estimated_rewards_by_reg_model": target.model[target.situations][:, :, None]}

    theirs = {
        "ipw": obp.InverseProbabilityWeighting().estimate_policy_value(**logged),
        "snipw": obp.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**logged),
        "dr": obp.DoublyRobust().estimate_policy_value(**logged, **modelled),
        "switch_dr": obp.SwitchDoublyRobust(tau=10.0).estimate_policy_value(**logged, **modelled),
    }

    assert {name: getattr(found, name).value for name in theirs} == pytest.approx(theirs, rel=1e-12)
    assert target.is_contextual
    assert len({tuple(row) for row in target.shares.tolist()}) > EVENTS // BATCH
    assert found.dr.lower <= found.dr.value <= found.dr.upper


def test_propensities_of_the_file_are_kept_to_a_step_of_the_receipt(sample, log):
    """32 bits: the largest relative error is 2**-33 over the smallest propensity."""
    logged = np.array([event.propensity for event in sample.events])

    bound = 2.0**-33 / logged.min()
    assert log.propensities / 2**32 == pytest.approx(logged, rel=bound)
    assert math.isclose(bound, 0.0, abs_tol=1e-6)
