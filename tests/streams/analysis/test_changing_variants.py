"""Evaluations of experiments whose variants were added and stopped while they ran."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.analysis.evaluate import evaluate
from streams.analysis.promotion import Obstacle, obstacles
from streams.experiments.assignment import Assigner, Assignment
from streams.experiments.lifecycle import Experiment
from streams.experiments.measurement_plan import plan_of
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.evidence import Evidence
from streams.experiments.statistics.recommendation import ReasonCode
from streams.experiments.transitions import apply_command
from streams.fold.impressions import ImpressionFold
from streams.model.errors import EngineError
from streams.model.events import Command, CommandKind, ImpressionBatch, ImpressionGroup
from streams.model.ids import variant_index
from streams.model.quantities import ALLOCATION_TOTAL, MICRO, PROPENSITY_ONE
from streams.model.variant_weights import NOT_ELIGIBLE, overlap_weights
from streams.stats.weighting import Weighting
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Cell, Source, Tally
from streams.tallies.merging import merge
from streams.tallies.pair_sums import unpack_pairs
from streams.wire.snapshots import decode_snapshot, encode_snapshot

NUMBER = 7
METRIC = "click"


@dataclass
class Run:
    """An experiment, its units one by one, and the cells of production."""

    experiment: Experiment
    logged: list[tuple[int, int, bytes, int]] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    step: int = 0

    @classmethod
    def of(cls, policy: str, n_variants: int, **config: Any) -> Run:
        payload = {
            "config": {"name": "x", "type": policy, "primaryMetric": METRIC, **config},
            "variants": [{"name": f"v{i}", "isControl": i == 0} for i in range(n_variants)],
        }
        run = cls(apply_command(None, Command("0" * 32, NUMBER, CommandKind.CREATE, 0, payload)))
        run.send(CommandKind.START)
        return run

    def send(self, kind: CommandKind, **payload: Any) -> None:
        command = Command("0" * 32, NUMBER, kind, 1, payload)
        self.experiment = apply_command(self.experiment, command)

    def assign(self, n_units: int, converts: Any = lambda n: False) -> None:
        """Assign units one after the other, by the weights of the newest evaluation."""
        assigner = Assigner(self.evaluated())
        for _ in range(n_units):
            found = assigner.assign(self.step.to_bytes(16), 1_000 + self.step)
            if converts(self.step):
                self.values.append(len(self.logged))
            self.log(found)
            self.step += 1

    def log(self, assignment: Assignment) -> None:
        receipt = assignment.receipt
        self.logged.append(
            (assignment.variant, receipt.propensity, receipt.weights, receipt.assigned_at_ms)
        )

    def tally(self, batch: int = 1_000_000) -> Tally:
        plan = plan_of(self.experiment.definition, self.experiment.n_started)
        fold = ImpressionFold(0, plan_of=lambda _: plan)
        cells: dict[Source, Cell] = {}
        for begin in range(0, len(self.logged), batch):
            rows = self.logged[begin : begin + batch]
            # A group has weights for all of its rows or for none.
            for has_weights in (False, True):
                chosen = [(n, row) for n, row in enumerate(rows) if bool(row[2]) is has_weights]
                if not chosen:
                    continue
                group = ImpressionGroup(
                    NUMBER,
                    False,
                    [row[0] for _, row in chosen],
                    [row[1] for _, row in chosen],
                    [1] * len(chosen),
                    [row[3] for _, row in chosen],
                    [begin + n for n, _ in chosen],
                    (),
                    (),
                    [row[2] for _, row in chosen] if has_weights else (),
                )
                offset = 2 * begin + has_weights
                assert not fold.fold(offset, ImpressionBatch(1, 0, offset, [group]))
            for cell in fold.take_cells():
                cells[cell.source] = cell
        builder = CellBuilder(NUMBER, Source.OBSERVATIONS, 0, plan=plan)
        for place in self.values:
            builder.add_value(place, (*self.logged[place][:3], METRIC), None, MICRO, 1_000 + place)
        observed = builder.freeze()
        return merge([*cells.values(), *([] if observed is None else [observed])])

    def evaluated(self, batch: int = 1_000_000) -> Snapshot:
        return evaluate(self.experiment, self.tally(batch), ())


def test_variants_that_were_tried_one_after_the_other_share_the_error() -> None:
    """Of the third one beside the control, a ninth is left of the error of the first.

    Worked: 5 % for the first alone, 5 % / 4 for the second, 5 % / 9 for the third, so that all that
    were tried err with 5 % * (1 + 1/4 + 1/9) at most. At 5 %, 5 % / 2 and 5 % / 3 it was 9.2 %.
    """
    run = Run.of("bayesian_ab", 2, minSampleSize=10)
    for count in (1, 2, 3):
        run.assign(400, lambda n: n % 3 == 0)
        (comparison,) = (evidence := evaluated_evidence(run)).comparisons
        against = run.evaluated().variants[count].metrics[METRIC].against_control
        assert against is not None
        assert comparison.error == pytest.approx(evidence.error / count**2)
        assert against.p_value == pytest.approx(min(comparison.p_value * count**2, 1.0))
        run.send(CommandKind.ADD_VARIANT, name=f"v{count + 1}")
        run.send(CommandKind.CHANGE_VARIANT, variant=f"v{count}", isActive=False)


def evaluated_evidence(run: Run) -> Evidence:
    evidence = run.evaluated().evidence
    assert evidence is not None
    return evidence


def test_worked_example_of_one_that_is_added_and_one_that_is_stopped() -> None:
    """Three phases of fixed weights, a base rate of 1/2, 1/4 and 1, and equal variants.

    Every second, fourth and first unit of a variant converts. Of all units together the one that
    came last would be the best; by those of the phases in which both ran all are equal.
    """
    run = Run.of("bayesian_ab", 2, minSampleSize=10)
    seen: Counter[tuple[int, int]] = Counter()

    def phase(units: int, every: int) -> None:
        assigner = Assigner(run.evaluated())
        for _ in range(units):
            found = assigner.assign(run.step.to_bytes(16), 1_000 + run.step)
            seen[every, found.variant] += 1
            if seen[every, found.variant] % every == 0:
                run.values.append(len(run.logged))
            run.log(found)
            run.step += 1

    phase(2_000, 2)
    run.send(CommandKind.ADD_VARIANT, name="v2")
    phase(3_000, 4)
    run.send(CommandKind.CHANGE_VARIANT, variant="v1", isActive=False)
    phase(2_000, 1)
    found = run.evaluated()

    evidence = found.evidence
    assert evidence is not None
    assert evidence.weighting is Weighting.OVERLAP
    counted = [sum(n for (_, v), n in seen.items() if v == index) for index in range(3)]
    assert [each.assignments for each in found.variants] == counted
    assert sum(counted) == 7_000
    assert found.allocation.weights == (32768, 0, 32768)
    # v1 was there for 5,000 units and v2 for 5,000, of which the control had a share in all.
    assert evidence.excluded_units == (0, 2_000, 2_000)
    assert not evidence.sample_ratio.is_mismatch
    [comparison] = evidence.comparisons
    assert {evidence.leader, comparison.variant} == {0, 2}
    assert comparison.p_value > 0.5
    means = [each.mean for each in found.variants]
    assert means[0] == pytest.approx(means[2], rel=0.05)
    plain = [each.metrics[METRIC].sum_micro / MICRO / each.assignments for each in found.variants]
    assert plain[2] > 1.04 * plain[0]  # 0.625 and 0.583, but for chance
    # The stopped variant is described beside the control, by the phases that both were in.
    stopped = found.variants[1]
    against = stopped.metrics[METRIC].against_control
    assert (stopped.probability_best, stopped.expected_loss) == (0.0, 0.0)
    assert against is not None
    assert abs(against.difference) < 0.02
    assert sum(each.probability_best for each in found.variants) == pytest.approx(1.0)
    assert decode_snapshot(encode_snapshot(found)) == found


@pytest.mark.parametrize("policy", ["bayesian_ab", "thompson_sampling"])
def test_an_added_variant_that_is_better_is_found_and_one_that_was_stopped_never_wins(
    policy: str,
) -> None:
    """v2 converts every second unit since it is there, v1 and the control every tenth."""
    run = Run.of(policy, 2, minSampleSize=50, minDuration=0, autoPromoteWinner=True)
    run.assign(1_000, lambda n: n % 10 == 0)
    run.send(CommandKind.ADD_VARIANT, name="v2")
    for _ in range(4):
        assigner = Assigner(run.evaluated())
        for _ in range(1_000):
            found = assigner.assign(run.step.to_bytes(16), 1_000 + run.step)
            if run.step % (2 if found.variant == 2 else 10) == 0:
                run.values.append(len(run.logged))
            run.log(found)
            run.step += 1
    assert run.evaluated().winner == 2
    assert Obstacle.NO_WINNER not in obstacles(run.evaluated())

    run.send(CommandKind.CHANGE_VARIANT, variant="v2", isActive=False)

    after = run.evaluated()
    assert after.winner is None
    assert after.evidence is not None
    assert after.evidence.leader in {0, 1}
    assert after.allocation.weights[2] == 0
    assert sum(after.allocation.weights) == ALLOCATION_TOTAL


def test_of_more_variants_than_receipts_have_weights_of_active_ones_are_compared() -> None:
    run = Run.of("bayesian_ab", 18, minSampleSize=1)
    run.assign(3_600, lambda n: n % 3 == 0)

    run.send(CommandKind.CHANGE_VARIANT, variant="v17", isActive=False)
    run.assign(3_600, lambda n: n % 3 == 0)

    evidence = run.evaluated().evidence
    assert evidence is not None
    assert evidence.excluded_units == (0,) * 17 + (3_600,)
    assert not evidence.sample_ratio.is_mismatch
    assert any(each.lower is not None for each in evidence.comparisons)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("assign"), st.integers(1, 25)),
        st.tuples(st.just("add"), st.floats(0.01, 0.99)),
        st.tuples(st.just("stop"), st.integers(0, 6)),
        st.tuples(st.just("start"), st.integers(0, 6)),
        st.tuples(st.just("rename"), st.integers(0, 6)),
    ),
    max_size=10,
)


@given(
    policy=st.sampled_from(["bayesian_ab", "thompson_sampling", "epsilon_greedy"]),
    n_variants=st.integers(2, 4),
    steps=STEPS,
    batch=st.integers(1, 40),
)
@settings(max_examples=25, deadline=None)
def test_whatever_is_added_stopped_and_renamed_counts_are_exact(
    policy: str, n_variants: int, steps: list[tuple[str, Any]], batch: int
) -> None:
    run = Run.of(policy, n_variants, minSampleSize=1)
    ids = [run.experiment.variant_id(index) for index in range(n_variants)]
    active_at: list[tuple[int, ...]] = []
    for number, (step, argument) in enumerate([("assign", 5), *steps]):
        with suppress(EngineError):
            _take(run, step, argument, number)
        active_at += [run.experiment.definition.active] * (run.step - len(active_at))
        ids += [run.experiment.variant_id(len(ids))] * (
            len(run.experiment.definition.variants) - len(ids)
        )
        weights = run.evaluated().allocation.weights
        active = run.experiment.definition.active
        assert sum(weights) == ALLOCATION_TOTAL
        assert all(weights[index] == 0 for index in range(len(weights)) if index not in active)

    snapshot, again = run.evaluated(), run.evaluated(batch)
    assert encode_snapshot(replace(snapshot, cells=())) == encode_snapshot(replace(again, cells=()))
    n_all = len(run.experiment.definition.variants)
    assert ids == snapshot.variant_ids
    assert [variant_index(each)[1] for each in ids] == list(range(n_all))
    units = Counter(variant for variant, *_ in run.logged)
    assert [each.assignments for each in snapshot.variants] == [units[i] for i in range(n_all)]
    values = Counter(run.logged[place][0] for place in run.values)
    assert [each.observations for each in snapshot.variants] == [values[i] for i in range(n_all)]
    _check_sets(run, snapshot, active_at)
    _check_pairs(run, run.tally(batch))


def _take(run: Run, step: str, argument: Any, number: int) -> None:
    names = [each.name for each in run.experiment.definition.variants]
    named = names[argument % len(names)] if isinstance(argument, int) else ""
    match step:
        case "assign":
            run.assign(argument, lambda n: n % 2 == 0)
        case "add":
            is_fixed = run.experiment.definition.config.type == "bayesian_ab"
            share = {"weight": argument} if is_fixed else {}
            run.send(CommandKind.ADD_VARIANT, name=f"added {number}", **share)
        case "rename":
            run.send(CommandKind.CHANGE_VARIANT, variant=named, name=f"named {number}")
        case _:
            run.send(CommandKind.CHANGE_VARIANT, variant=named, isActive=step == "start")


def _check_sets(run: Run, snapshot: Snapshot, active_at: list[tuple[int, ...]]) -> None:
    """No unit is assigned to a stopped variant, and units that could not have one are counted."""
    n_all = len(run.experiment.definition.variants)
    excluded = [0] * n_all
    for (variant, propensity, packed, _), active in zip(run.logged, active_at, strict=True):
        assert variant in active
        for index in range(n_all):
            excluded[index] += index not in active
        if packed:
            assert [i for i, byte in enumerate(packed) if byte != NOT_ELIGIBLE] == list(active)
        assert 0 < propensity <= PROPENSITY_ONE
    assert snapshot.evidence is not None
    assert list(snapshot.evidence.excluded_units) == excluded


def _check_pairs(run: Run, tally: Tally) -> None:
    """Sums by pair are those of an oracle that looks at one unit after the other."""
    n_all = len(run.experiment.definition.variants)
    n_started = run.experiment.n_started
    for index in range(n_all):
        expected = [0] * n_all
        for variant, propensity, packed, _ in run.logged:
            if variant == index:
                for other, weight in enumerate(
                    overlap_weights(variant, propensity, packed, n_started)
                ):
                    expected[other] += weight
        found = unpack_pairs(tally.variants[index].overlap) if index in tally.variants else ()
        assert list(found) + [0] * (n_all - len(found)) == expected


@pytest.mark.parametrize("parameters", [{}, {"minAllocation": 0.0}, {"minAllocation": 0.1}])
@pytest.mark.parametrize("stopped", ["B", "C"])
def test_a_draft_with_a_stopped_variant_is_evaluated(parameters, stopped):
    config = {"name": "x", "type": "bayesian_ab", "primaryMetric": "m", "parameters": parameters}
    variants = [{"name": "A", "isControl": True}, {"name": "B"}, {"name": "C"}]
    created = Command("0" * 32, 7, CommandKind.CREATE, 1, {"config": config, "variants": variants})
    change = {"variant": stopped, "isActive": False}
    changed = Command("1" * 32, 7, CommandKind.CHANGE_VARIANT, 2, change)
    draft = apply_command(apply_command(None, created), changed)

    snapshot = evaluate(draft, merge([]), ())

    assert snapshot.reason_code is ReasonCode.NOT_STARTED
    assert sum(snapshot.allocation.weights) == ALLOCATION_TOTAL
    assert snapshot.allocation.weights["ABC".index(stopped)] == 0
