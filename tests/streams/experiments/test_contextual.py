"""Contextual policies from tallies to assignments: published by one, compiled by another."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from streams.analysis.evaluate import evaluate
from streams.experiments.assignment import Assigner
from streams.experiments.contextual import feature_uses, scorer_of, weigh
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import PublishedModel, Snapshot
from streams.experiments.statistics.feature_use import FeatureUse
from streams.model.errors import InputError
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.vectors import INTERCEPT, unpack
from streams.policies.base import Arm
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.contextual.encoding import FeatureSpace
from streams.policies.contextual.model import LinearModel
from streams.policies.contextual.scoring import Scorer
from streams.tallies.cell import MetricTally, Tally, VariantTally
from streams.tallies.linear import LinearSums, LinearTally
from streams.wire.snapshots import decode_snapshot, encode_snapshot

DEVICE = {"name": "device", "type": "category", "values": ["mobile", "desktop"]}
AGE = {"name": "age", "type": "number", "minimum": 0, "maximum": 100}
MOBILE, DESKTOP = ((0, 1024), (1, 1024)), ((0, 1024), (2, 1024))
CLICKS = {(0, MOBILE): 60, (0, DESKTOP): 10, (1, MOBILE): 10, (1, DESKTOP): 60}
"""Of 200 units each: what is good on a phone is bad on a desk."""


def experiment(kind="lin_ucb", unit="impression", traffic=1.0):
    config = {
        "name": "Hero",
        "type": kind,
        "primaryMetric": "click",
        "unit": unit,
        "trafficAllocation": traffic,
        "parameters": {"features": [DEVICE, AGE]},
    }
    variants = [{"name": f"V{index}", "isControl": index == 0} for index in range(2)]
    definition = parse_definition(config, variants)
    return Experiment(7, definition, Status.RUNNING, 2, 1, 1, 2)


def variant_of(index, n_unknown=0):
    """Return the tally of a variant, with some units without features and without a click."""
    grams, moments = LinearSums(), LinearSums()
    for vector in (MOBILE, DESKTOP):
        grams.add_unit(vector, 200)
        moments.add_value(vector, CLICKS[index, vector] * MICRO)
    clicks = sum(CLICKS[index, vector] for vector in (MOBILE, DESKTOP))
    metric = MetricTally(
        clicks,
        clicks,
        clicks * MICRO,
        clicks * MICRO**2,
        2 * clicks * MICRO**2,
        4 * clicks * MICRO**4,
        moment=moments.freeze().moment,
    )
    units = 400 + n_unknown
    return VariantTally(
        units,
        2 * units * MICRO,
        4 * units * MICRO**2,
        gram=grams.freeze().gram,
        metrics={"click": metric},
    )


def snapshot(kind="lin_ucb", **options):
    tally = Tally(1, 2, 0, {index: variant_of(index) for index in range(2)})
    return evaluate(experiment(kind, **options), tally, ())


def model_of(found: Snapshot) -> PublishedModel:
    assert found.model is not None
    return found.model


def policy_of(found: Experiment) -> ContextualPolicy:
    policy = found.definition.config.parameters
    assert isinstance(policy, ContextualPolicy)
    return policy


def test_the_model_solves_the_normal_equations():
    """Ridge regression by hand: A = I + X^T X and b = X^T y of the units of a variant."""
    published = model_of(snapshot())

    x = np.array([[1, 1, 0, 0]] * 200 + [[1, 0, 1, 0]] * 200, dtype=float)
    y = np.array([1.0] * 60 + [0.0] * 140 + [1.0] * 10 + [0.0] * 190)
    inverse = np.linalg.inv(np.eye(4) + x.T @ x)
    assert published.coefficients[0] == pytest.approx(inverse @ x.T @ y)
    assert published.triangles[0] == pytest.approx(inverse[np.tril_indices(4)])
    assert published.units == 800
    # Within both variants: 70 clicks of 400 units, so a variance of p (1 - p).
    assert published.noise == pytest.approx(np.sqrt(70 / 400 * 330 / 400))


def test_units_without_features_have_the_intercept_alone():
    """As if their receipts had said that nothing was known."""
    policy = policy_of(experiment())
    variants = [variant_of(index, n_unknown=100) for index in range(2)]
    arms = [Arm(500, 70.0, 60.2, True, 0.5)] * 2

    _, published = weigh(policy, variants, "click", arms)
    assert published is not None

    sums = LinearSums(LinearTally(variants[0].gram, variants[0].metrics["click"].moment))
    sums.add_unit(INTERCEPT, 100)
    refitted = LinearModel.fit([sums.freeze()], 4, noise=1.0, units=1000)
    assert published.coefficients[0] == tuple(refitted.coefficients[0].tolist())


def test_a_metric_that_is_to_fall_gets_the_opposite_model():
    policy = policy_of(experiment())
    variants = [variant_of(index) for index in range(2)]
    arms = [Arm(400, 70.0, 57.75, True, 0.5)] * 2

    _, up = weigh(policy, variants, "click", arms)
    _, down = weigh(policy, variants, "click", [arm.mirrored() for arm in arms], is_mirrored=True)
    assert up is not None
    assert down is not None

    assert down.coefficients == tuple(tuple(-value for value in row) for row in up.coefficients)
    assert down.triangles == up.triangles


@pytest.mark.parametrize("kind", ["lin_ucb", "lin_ts"])
def test_what_is_published_gives_the_weights_of_the_worker_in_every_context(kind):
    found = decode_snapshot(encode_snapshot(snapshot(kind)))
    policy, model = policy_of(found.experiment), model_of(found)
    sums = [
        LinearTally(tally.gram, tally.metrics["click"].moment)
        for tally in (variant_of(0), variant_of(1))
    ]
    fitted = LinearModel.fit(
        sums, FeatureSpace(policy.features).dimension, noise=model.noise, units=800
    )

    compiled, worker = scorer_of(policy, model), Scorer(policy, fitted)

    for vector in (INTERCEPT, MOBILE, DESKTOP):
        assert compiled.weights(vector) == worker.weights(vector)
    assert compiled.weights(INTERCEPT) == found.allocation.weights
    assert compiled.weights(MOBILE)[0] > 64_000
    assert compiled.weights(DESKTOP)[1] > 64_000


@pytest.mark.parametrize("kind", ["lin_ucb", "lin_ts"])
def test_an_assignment_has_the_propensity_of_its_context(kind):
    found = snapshot(kind)
    assigner = Assigner(found)
    scorer = scorer_of(policy_of(found.experiment), model_of(found))

    chosen = {
        device: [assigner.assign(f"u{n}", 9, device=device) for n in range(3_000)]
        for device in ("mobile", "desktop", "tablet")
    }

    for device, best in (("mobile", 0), ("desktop", 1)):
        counts = Counter(each.variant for each in chosen[device])
        assert counts[best] > 2_850  # of 2,970 expected: 22 deviations
        for each in chosen[device]:
            weight = scorer.weights(unpack(each.receipt.features))[each.variant]
            assert each.receipt.propensity == weight * PROPENSITY_ONE // 65_536
    assert {each.receipt.features for each in chosen["tablet"]} == {b""}
    versions = {each.receipt.allocation_version for each in chosen["mobile"]}
    assert versions == {found.allocation.version}


def test_features_of_the_request_stand_above_its_fields():
    assigner = Assigner(snapshot())

    found = assigner.assign("u", 9, features={"device": "mobile", "age": 75}, device="desktop")

    assert unpack(found.receipt.features) == ((0, 1024), (1, 1024), (3, 512))


def test_a_feature_that_cannot_be_used_is_refused_also_of_those_who_do_not_take_part():
    for traffic in (0.0, 1.0):
        with pytest.raises(InputError) as caught:
            Assigner(snapshot(traffic=traffic)).assign("u", 9, features={"age": "old"})

        assert (caught.value.code, caught.value.path) == ("WRONG_TYPE", "features.age")
    assert not Assigner(snapshot(traffic=0.0)).assign("u", 9, device="mobile").enrolled


def test_a_snapshot_without_a_model_assigns_by_its_weights():
    assigner = Assigner(replace(snapshot(), model=None))

    assert assigner.assign("u", 9, device="mobile").receipt.features == b""


def test_other_policies_publish_no_model():
    plain = evaluate(
        replace(
            experiment(),
            definition=parse_definition(
                {"name": "x", "type": "ucb", "primaryMetric": "click"},
                [{"name": "a", "isControl": True}, {"name": "b"}],
            ),
        ),
        Tally(1, 2, 0, {0: variant_of(0)}),
        (),
    )

    assert plain.model is None
    assert Assigner(plain).assign("u", 9, features={"age": "old"}).receipt.features == b""


def test_the_share_of_units_with_an_unknown_value_is_counted_exactly():
    """By hand: 800 units were on a known device, 30 and 50 said something else, or nothing."""
    found = evaluate(experiment(), Tally(1, 2, 0, {0: variant_of(0, 30), 1: variant_of(1, 50)}), ())

    assert found.features == (FeatureUse("device", 880, 80),)  # a number has no unknown values
    assert decode_snapshot(encode_snapshot(found)).features == found.features


def test_a_misspelt_category_is_unknown_and_a_declared_one_is_not():
    """Oracle: the requests themselves, encoded as an assignment does and counted one by one."""
    policy = experiment().definition.policy
    assert isinstance(policy, ContextualPolicy)
    space = FeatureSpace(policy.features)
    requests = ["mobile"] * 5 + ["Mobile"] * 3 + ["desktop"] * 2 + [None] + ["tablet"]
    sums = LinearSums()
    for device in requests:
        sums.add_unit(space.encode({"age": 30}, device=device))
    variants = [VariantTally(units=len(requests), gram=sums.freeze().gram)]

    assert feature_uses(policy, variants) == (FeatureUse("device", 12, 5),)
    assert feature_uses(policy, [VariantTally()]) == (FeatureUse("device", 0, 0),)
