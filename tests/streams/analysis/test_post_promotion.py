"""A promoted winner beside the control share: what is compared, and how often it alarms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streams.analysis.answered_evidence import stored_evidence
from streams.analysis.auto_promotion import due_command
from streams.analysis.evaluate import evaluate
from streams.analysis.reasons import reason
from streams.experiments.lifecycle import Status
from streams.experiments.promotion_state import Phase, Promotion
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.experiments.transitions import apply_command
from streams.model.errors import TransitionError
from streams.model.events import Command, CommandKind
from streams.model.quantities import MICRO, inverse_propensity
from streams.tallies.cell import MetricTally, Tally, VariantTally
from tests.streams.analysis.test_decision import EVEN, experiment, tallied

GUARDED = {
    "guardrailMetrics": ["crash", "latency"],
    "metrics": {
        "crash": {"kind": "binary", "direction": "decrease"},
        "latency": {"kind": "continuous", "direction": "decrease", "toleratedHarm": 0.02},
    },
}
CONTROL_WEIGHT = 3_277
WINNER_WEIGHT = 65_536 - CONTROL_WEIGHT
TRIAL = (
    tallied(5_000, EVEN, click=(500, 1), crash=(100, 1)),
    tallied(5_000, EVEN, click=(800, 1), crash=(100, 1)),
)


def promoted(*, is_automatic=True, is_rolled_back=False, n_variants=2, **config):
    value = experiment(status=Status.CONCLUDED, n_variants=n_variants, **GUARDED | config)
    return replace(
        value,
        started_at_ms=1,
        concluded_at_ms=1_500,
        winner=0 if is_rolled_back else 1,
        promotion=Promotion(
            1,
            CONTROL_WEIGHT,
            is_automatic=is_automatic,
            is_rolled_back=is_rolled_back,
            began_at_ms=1_500,
            version=3,
        ),
    )


def published(value, control, winner, trial=TRIAL):
    """Evaluate what was counted before the conclusion, and of control and winner since."""
    variants = dict(enumerate(trial)) | {
        value.logged_index(0, Phase.PROMOTED): control,
        value.logged_index(1, Phase.PROMOTED): winner,
    }
    return evaluate(value, Tally(1_000, 2_000, 0, variants), ())


def since(control_crashes, winner_crashes, **options):
    return published(
        promoted(**options),
        tallied(500, CONTROL_WEIGHT, crash=(control_crashes, 1)),
        tallied(9_500, WINNER_WEIGHT, crash=(winner_crashes, 1)),
    )


def test_a_harmless_winner_stays_and_its_weights_are_published():
    found = since(10, 190)

    assert found.allocation.weights == (CONTROL_WEIGHT, WINNER_WEIGHT)
    assert found.allocation.version == 3
    assert (found.winner, found.recommended_action) == (1, RecommendedAction.CONTINUE)
    assert reason(found).startswith("B was promoted; A keeps 0.05 of the units")
    known = found.evidence.since_conclusion
    assert (known.variant, known.units) == (1, (500, 9_500))
    assert [(each.metric, each.is_tripped) for each in known.guardrails] == [
        ("crash", False),
        ("latency", False),
    ]
    assert due_command(found) is None


def test_a_harmful_winner_is_rolled_back():
    found = since(10, 950)

    assert found.recommended_action is RecommendedAction.STOP_GUARDRAIL
    assert reason(found).startswith("Since it was promoted, B makes crash worse than A by 4 of its")
    command: Any = due_command(found)
    assert command.kind is CommandKind.ROLLBACK
    assert command.issued_at_ms == found.as_of_ms
    assert command.payload["because"]["evidence"]["sinceConclusion"]["guardrails"][0]["isTripped"]
    after: Any = apply_command(found.experiment, command)
    assert after.promotion.is_rolled_back
    assert due_command(since(10, 950)) == command  # sent again, it is known


def test_an_automatic_command_is_refused_if_the_experiment_has_changed_since():
    """A tick is no change."""
    found = since(10, 950)
    command: Any = due_command(found)
    tick = Command("1" * 32, found.experiment.number, CommandKind.TICK, 2_000)
    ticked = apply_command(found.experiment, tick)
    changed = replace(ticked, version=ticked.version + 1, changed_version=ticked.version + 1)

    promotion: Any = apply_command(ticked, command).promotion
    assert promotion.is_rolled_back
    with pytest.raises(TransitionError) as refused:
        apply_command(changed, command)
    assert refused.value.code == "VERSION_CONFLICT"


def test_what_a_person_has_concluded_a_person_takes_back():
    found = since(10, 950, is_automatic=False)

    assert found.recommended_action is RecommendedAction.STOP_GUARDRAIL
    assert due_command(found) is None


def test_what_was_rolled_back_keeps_its_evidence_and_asks_for_nothing():
    found = since(10, 950, is_rolled_back=True)

    assert found.allocation.weights == (65_536, 0)
    assert found.recommended_action is RecommendedAction.CONTINUE
    assert reason(found) == "B was promoted and rolled back: A is shown again."
    assert found.evidence.since_conclusion.guardrails[0].is_tripped
    assert due_command(found) is None


def test_harm_before_the_conclusion_does_not_count_after_it_and_the_other_way_round():
    harmed = (TRIAL[0], tallied(5_000, EVEN, click=(800, 1), crash=(900, 1)))
    value = promoted()

    before = published(value, VariantTally(), VariantTally(), harmed)
    after = since(10, 950)

    assert before.evidence.guardrails[0].is_tripped
    assert before.recommended_action is RecommendedAction.CONTINUE
    assert not after.evidence.guardrails[0].is_tripped


def test_the_statistics_of_the_experiment_stay_as_they_were():
    """Values of units that came before, and traffic that came since, do not mix."""
    alone = published(promoted(), VariantTally(), VariantTally())

    found = since(10, 950)

    assert found.variants == alone.variants
    assert found.metrics == alone.metrics
    assert replace(found.evidence, since_conclusion=None) == replace(
        alone.evidence, since_conclusion=None
    )
    assert not found.evidence.sample_ratio.is_mismatch


def test_an_experiment_without_a_promotion_knows_nothing_since():
    found: Any = evaluate(experiment(**GUARDED), Tally(variants=dict(enumerate(TRIAL))), ())

    assert found.evidence.since_conclusion is None


def counted(weight, crashes, latencies):
    """Return the tally of units of a variant, by the values of each of them."""
    inverse = inverse_propensity(weight << 16)

    def metric(values):
        micros = [round(value * MICRO) for value in values]
        total, squared = sum(micros), sum(micro * micro for micro in micros)
        some = int(np.count_nonzero(values))
        return MetricTally(some, some, total, squared, total * inverse, squared * inverse**2)

    units = len(crashes)
    return VariantTally(
        units,
        units * inverse,
        units * inverse**2,
        metrics={"crash": metric(crashes), "latency": metric(latencies)},
    )


def first_alarm(rng, looks, harm):
    """Return at which look a winner with a harm is found, in a life with two guardrails."""
    value = promoted()
    shares = rng.random(looks[-1]) < CONTROL_WEIGHT / 65_536
    crashes = rng.random(looks[-1]) < np.where(shares, 0.02, 0.02 * (1.0 + harm))
    latencies = rng.gamma(16.0, 20.0, looks[-1])
    for look, n in enumerate(looks):
        seen = [
            counted(weight, crashes[:n][mask].astype(float), latencies[:n][mask])
            for weight, mask in ((CONTROL_WEIGHT, shares[:n]), (WINNER_WEIGHT, ~shares[:n]))
        ]
        found = published(value, *seen)
        assert found.recommended_action is not RecommendedAction.INVESTIGATE
        if found.recommended_action is RecommendedAction.STOP_GUARDRAIL:
            return look
    return None


LOOKS = [100, 400, 1_600, 6_400]


def test_a_harmless_winner_is_rarely_rolled_back():
    """At most 5 % of them ever are; of 60 lives, 10 or more with a probability below 0.002."""
    rng = np.random.default_rng(20_261_125)

    alarms = [first_alarm(rng, LOOKS, harm=0.0) is not None for _ in range(60)]

    assert sum(alarms) <= 9


def test_a_winner_that_crashes_five_times_as_often_is_found():
    """None of 10 lives misses it; one does with a probability below 1e-3."""
    rng = np.random.default_rng(7)

    assert all(first_alarm(rng, [25_000], harm=4.0) is not None for _ in range(10))


@pytest.mark.parametrize("kind", ["thompson_sampling", "ucb", "bayesian_ab"])
def test_it_is_so_under_every_policy(kind):
    found = published(
        promoted(type=kind),
        tallied(500, CONTROL_WEIGHT, crash=(10, 1)),
        tallied(9_500, WINNER_WEIGHT, crash=(950, 1)),
    )

    assert found.allocation.weights == (CONTROL_WEIGHT, WINNER_WEIGHT)
    assert found.recommended_action is RecommendedAction.STOP_GUARDRAIL


def test_without_a_promotion_the_evidence_says_nothing_of_one():
    before: Any = evaluate(experiment(**GUARDED), Tally(variants=dict(enumerate(TRIAL))), ())

    assert before.evidence.since_conclusion is None
    after: Any = stored_evidence(since(10, 190))
    assert after["sinceConclusion"]["variantId"].endswith("_v1")
