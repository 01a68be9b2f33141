"""Layers: disjoint parts, independence, conflicts."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from itertools import combinations, pairwise, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from streams.experiments.definition import parse_definition
from streams.experiments.holdouts import Holdout, HoldoutSpec
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.promotion_state import Promotion
from streams.experiments.shared_unit_conflicts import check_shared_units, refused_in_layers
from streams.experiments.shared_units import LayerSpec
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import InputError
from streams.policies.bucketing import draws, is_enrolled, lasting_unit, shared_draw

N_UNITS = 1_000_000
FALSE_ALARM = 1e-6


def test_a_million_units_are_each_in_one_experiment_of_a_layer_and_none_is_lost():
    """Membership by the parts that admission asks. False alarm of the shares: 1e-6 for each."""
    cuts = [0.0, 0.1, 1 / 3, 0.5, 0.75, 1.0]
    parts = [LayerSpec(key="homepage", range=ends).part for ends in pairwise(cuts)]
    counts = [0] * len(parts)
    for unit in range(N_UNITS):
        key = b"user_%d" % unit
        [own] = [index for index, part in enumerate(parts) if part.has(key)]
        counts[own] += 1

    assert sum(counts) == N_UNITS
    for n_units, (begin, end) in zip(counts, pairwise(cuts), strict=True):
        assert binomtest(n_units, N_UNITS, end - begin).pvalue > FALSE_ALARM


@pytest.mark.statistical
def test_layers_holdout_and_enrollment_are_independent():
    """False alarm: 1e-6 for each of the three pairs."""
    layer = LayerSpec(key="same", range=(0.0, 0.5))
    spec = HoldoutSpec(key="same", share=0.5)
    holdout = Holdout(spec.number, spec, 1, 0, UnitKind.USER)
    units = [f"user_{n}" for n in range(40_000)]
    inside = [unit for unit in units if layer.has(unit)]

    for is_in in (
        lambda unit: holdout.holds(lasting_unit(unit)),
        LayerSpec(key="other", range=(0.0, 0.5)).has,
        lambda unit: is_enrolled(draws(5, unit).enrolment, 0.5),
    ):
        n_both = sum(map(is_in, inside))
        assert binomtest(n_both, len(inside), 0.5).pvalue > FALSE_ALARM


def test_a_draw_by_hand():
    salt = blake2b(b"homepage", digest_size=16).digest()
    digest = blake2b(b"u", digest_size=4, key=salt, person=b"layer").digest()

    assert shared_draw(b"layer", "homepage", "u") == int.from_bytes(digest)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.text(max_size=9))
def test_ranges_that_touch_share_no_unit(a, b, c, unit):
    low, middle, high = sorted((a, b, c))
    try:
        parts = LayerSpec(key="k", range=(low, middle)), LayerSpec(key="k", range=(middle, high))
    except ValueError:
        return
    assert not all(part.has(unit) for part in parts)


def experiment(number: int, status: Status = Status.RUNNING, **config: Any) -> Experiment:
    base = {"name": "Hero", "type": "bayesian_ab", "primaryMetric": "click"}
    definition = parse_definition(base | config, [{"name": "A", "isControl": True}, {"name": "B"}])
    return Experiment(number, definition, status, 2, created_at_ms=number)


def layer(begin: float, end: float, key: str = "page") -> dict[str, Any]:
    return {"layer": {"key": key, "range": [begin, end]}}


PROMOTED = Promotion(1, 3_000, False, False, 5, 9)


@pytest.mark.parametrize(
    ("other", "code"),
    [
        (experiment(1, **layer(0.4, 1)), "LAYER_OVERLAP"),
        (experiment(1, Status.DRAFT, **layer(0, 1)), "LAYER_OVERLAP"),
        (experiment(1, Status.PAUSED, **layer(0.1, 0.2)), "LAYER_OVERLAP"),
        (replace(experiment(1, Status.CONCLUDED, **layer(0, 1)), promotion=PROMOTED),
         "LAYER_OVERLAP"),
        (experiment(1, unit="session", **layer(0.5, 1)), "LAYER_UNITS_DIFFER"),
        (experiment(1, unit="impression", **layer(0.5, 1)), None),  # of the same users
        (experiment(1, unit="impression", **layer(0.2, 1)), "LAYER_OVERLAP"),
        (experiment(1, **layer(0.5, 1)), None),
        (experiment(1, **layer(0, 1, key="cart")), None),
        (experiment(1), None),
        (experiment(1, Status.CONCLUDED, **layer(0, 1)), None),
        (experiment(1, Status.ARCHIVED, **layer(0, 1)), None),
        (experiment(7, **layer(0, 1)), None),  # itself
    ],
)  # fmt: skip
def test_overlapping_ranges_of_experiments_that_are_not_over(other, code):
    own = experiment(7, Status.DRAFT, **layer(0, 0.5))
    if code is None:
        check_shared_units(7, own.definition, [other])
        return
    with pytest.raises(InputError) as caught:
        check_shared_units(7, own.definition, [other])

    assert caught.value.code == code
    assert other.id in caught.value.message


def test_of_two_drafts_created_at_once_the_later_one_does_not_start():
    first, second = (experiment(n, Status.DRAFT, **layer(0, 0.5)) for n in (1, 2))

    check_shared_units(1, first.definition, [first, second], created_at_ms=1)
    with pytest.raises(InputError):
        check_shared_units(2, second.definition, [first, second], created_at_ms=2)
    started = replace(second, status=Status.RUNNING)
    with pytest.raises(InputError):
        check_shared_units(1, first.definition, [first, started], created_at_ms=1)


def started(
    number: int, at_ms: int, begin: float, end: float, status: Status = Status.RUNNING
) -> Experiment:
    return replace(experiment(number, status, **layer(begin, end)), started_at_ms=at_ms)


def ends_of(each: Experiment) -> tuple[int, int]:
    layer = each.definition.config.layer
    assert layer is not None
    return layer.ends


def test_of_experiments_that_overlap_the_first_one_assigns_whichever_are_known_first():
    first, second = started(9, 10, 0.0, 0.5), started(1, 11, 0.4, 0.7)
    third, paused = started(2, 12, 0.6, 0.8), started(3, 5, 0.9, 1.0, status=Status.PAUSED)
    same, draft = started(8, 12, 0.7, 0.9), started(4, 1, 0.0, 1.0, status=Status.DRAFT)
    known = [first, second, third, paused, same, draft]

    for order in permutations(known):
        found = {number: other.number for number, other in refused_in_layers(order).items()}
        # The third overlaps only what is refused itself; of one millisecond the number decides.
        assert found == {1: 9, 8: 2}


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 3)), max_size=6))
def test_what_is_not_refused_shares_no_unit(parts):
    known = [
        started(number, at_ms, min(a, b), max(a, b))
        for number, (a, b, at_ms) in enumerate(parts)
        if round(a * 2**32) != round(b * 2**32)
    ]
    refused = refused_in_layers(known)
    having = [each for each in known if each.number not in refused]

    for one, other in combinations(having, 2):
        (begin, end), (start, stop) = ends_of(one), ends_of(other)
        assert end <= start or stop <= begin
    for number, other in refused.items():
        assert other.number not in refused
        assert (other.started_at_ms, other.number) < (known_of(known, number).started_at_ms, number)


def known_of(known: list[Experiment], number: int) -> Experiment:
    return next(each for each in known if each.number == number)
