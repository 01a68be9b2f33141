"""Copies for holdouts, against a count of the same events by hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.analysis.evaluate import evaluate
from streams.experiments.definition import parse_definition
from streams.experiments.holdouts import Holdout, HoldoutSpec, variants_of
from streams.experiments.lifecycle import Experiment
from streams.experiments.measurement_plan import plan_of
from streams.fold.experiment_state import ExperimentState
from streams.fold.holdout_copies import Coverage, copies_of
from streams.fold.observations import ObservationFolding
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.events import EXPOSED, EXPOSURE, Command, CommandKind, Observation
from streams.model.partitioning import SOLE_PARTITION
from streams.model.quantities import MICRO
from streams.model.receipts import Keyring, Receipt
from streams.model.voids import void_metric
from streams.policies.bucketing import lasting_unit
from streams.tallies.merging import merge
from streams.wire.commands import encode_command
from streams.wire.observations import encode_observation
from streams.wire.records import SINGLE_OBJECT

KEYRING = Keyring({1: bytes(range(16)), 2: bytes(range(16, 32))})
NOW_MS = 1_700_000_000_000
SPEC = HoldoutSpec(key="all", share=0.5)
UNITS = [lasting_unit(f"u{n}") for n in range(12)]
EXPERIMENTS = (5, 6)


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes | None
    timestamp: int = NOW_MS + 1_000


def created(number: int, config: dict[str, Any], variants: Sequence[Any]) -> Command:
    base = {"name": "n", "type": "bayesian_ab", "primaryMetric": "click"}
    return Command(
        f"{number:032x}",
        number,
        CommandKind.CREATE,
        NOW_MS,
        {"config": base | config, "variants": list(variants)},
    )


AB = ({"name": "A", "isControl": True}, {"name": "B"})
BEGUN = created(
    SPEC.number,
    {
        "unit": "user",
        "exposure": "event",
        "attributionWindow": 0,
        "receiptKey": 2,
        "holdout": SPEC.model_dump(by_alias=True, mode="json"),
    },
    variants_of(SPEC.share),
)
COMMANDS = [*(created(number, {}, AB) for number in EXPERIMENTS), BEGUN]


def coverage(commands: list[Command] = COMMANDS, keyring: Keyring = KEYRING) -> Coverage:
    found = Coverage()
    records = [Record(n, encode_command(each)) for n, each in enumerate(commands)]
    found.take(SOLE_PARTITION, records, SINGLE_OBJECT, keyring)
    return found


def holdout() -> Experiment:
    state = ExperimentState(SPEC.number)
    state.take_command(0, BEGUN)
    assert state.experiment is not None
    return state.experiment


def compiled() -> Holdout:
    found = holdout().holdout
    assert found is not None
    return found


HOLDOUT = compiled()


def receipt(experiment: int, unit: int) -> str:
    return KEYRING.sign(Receipt(experiment, unit % 2, 1 << 31, 3, NOW_MS - 9_000, unit, 0))


@st.composite
def histories(draw):
    """Events of units of two experiments: exposures of some units, values by either receipt."""
    exposed = draw(st.sets(st.sampled_from(UNITS)))
    events = draw(
        st.lists(
            st.tuples(
                st.sampled_from(UNITS),
                st.sampled_from(EXPERIMENTS),
                st.sampled_from(["click", "spent"]),
                st.integers(-3, 9),
                st.one_of(st.none(), st.sampled_from(["e1", "e2"])),
            ),
            max_size=25,
        )
    )
    return exposed, events, draw(st.randoms(use_true_random=False))


@settings(max_examples=60, deadline=None)
@given(histories())
def test_a_unit_counts_once_whichever_receipts_it_was_observed_by(history):
    exposed, events, random = history
    KEYRING.sign_with(SPEC.number, 2)
    originals = [
        Observation(receipt(experiment, unit), metric, value * MICRO, event, NOW_MS + 500)
        for unit, experiment, metric, value, event in events
    ]
    records = [Record(n, encode_observation(each)) for n, each in enumerate(originals)]
    copies = copies_of(records, 0, SINGLE_OBJECT, KEYRING, coverage())
    exposures = [
        Observation(KEYRING.sign(HOLDOUT.receipt(unit)), EXPOSURE, EXPOSED, None, NOW_MS + 100)
        for unit in exposed
    ]
    log = [*originals, *copies, *exposures, *random.sample(copies, len(copies) // 2)]
    random.shuffle(log)
    definitions = {
        each.experiment: parse_definition(each.payload["config"], each.payload["variants"])
        for each in COMMANDS
    }
    folding = ObservationFolding(
        SINGLE_OBJECT, KEYRING, 10_000, lambda number: plan_of(definitions[number])
    )
    fold = folding.new_fold(0)
    folding.fold(fold, [Record(n, encode_observation(each)) for n, each in enumerate(log)])

    expected: defaultdict[tuple[int, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    seen = set()
    for unit, _, metric, value, event in events:
        if unit not in exposed or (event is not None and (unit, metric, event) in seen):
            continue
        seen.add((unit, metric, event))
        expected[0 if HOLDOUT.holds(unit) else 1, metric][unit] += value
    cells = fold.take_changes().cells
    tally = merge([each for each in cells if each.experiment == SPEC.number])
    first_of_event: dict[tuple[int, str, str], set[int]] = {}
    for unit, _, metric, value, event in events:
        if event is not None:
            first_of_event.setdefault((unit, metric, event), set()).add(value)
    is_plain = all(len(values) == 1 for values in first_of_event.values())
    for variant in (0, 1):
        units = {unit for unit in exposed if HOLDOUT.holds(unit) is (variant == 0)}
        found = tally.variants.get(variant)
        assert (0 if found is None else found.units) == len(units)
        for metric in ("click", "spent"):
            by_unit = expected[variant, metric]
            known = None if found is None else found.metrics.get(metric)
            assert (0 if known is None else known.units) == len(by_unit)
            if is_plain:  # else which of two values of one event counts follows from the order
                total = sum(by_unit.values()) * MICRO
                assert (0 if known is None else known.total) == total


def test_what_is_not_copied():
    unit = UNITS[0]
    KEYRING.sign_with(SPEC.number, 2)

    def copied(*observations: Observation, of: Coverage, at_ms: int = NOW_MS + 1_000):
        records = [
            Record(n, encode_observation(each), at_ms) for n, each in enumerate(observations)
        ]
        return copies_of(records, 3, SINGLE_OBJECT, KEYRING, of)

    click = Observation(receipt(5, unit), "click", MICRO)
    exposure = Observation(receipt(5, unit), EXPOSURE, EXPOSED, "x")
    void = Observation(receipt(5, unit), void_metric("ivt"), MICRO)
    unknown = Observation(receipt(9, unit), "click", MICRO)
    own = Observation(KEYRING.sign(HOLDOUT.receipt(unit)), "click", MICRO)
    covering = coverage()

    [copy] = copied(click, of=covering)
    assert copy == Observation(
        own.assignment_id, "click", MICRO, "observations:3:0:0", NOW_MS + 1_000
    )
    assert KEYRING.verify(copy.assignment_id) == HOLDOUT.receipt(unit)
    assert [each.metric for each in copied(void, of=covering)] == [void.metric]
    assert copied(exposure, unknown, own, of=covering) == []
    assert copied(click, of=covering, at_ms=NOW_MS - 400_000) == []
    by_session = [created(5, {"unit": "session"}, AB), BEGUN]
    assert copied(click, of=coverage(by_session)) == []
    by_exposure = [created(5, {"exposure": "event"}, AB), BEGUN]
    assert [each.metric for each in copied(exposure, of=coverage(by_exposure))] == [EXPOSURE]
    ended = Command("c" * 32, SPEC.number, CommandKind.CONCLUDE, NOW_MS + 1, {"serve": "none"})
    archived = Command("d" * 32, SPEC.number, CommandKind.ARCHIVE, NOW_MS + 2, {})
    assert len(copied(click, of=coverage([*COMMANDS, ended]))) == 1
    assert copied(click, of=coverage([*COMMANDS, ended, archived])) == []


def test_every_metric_is_compared_as_a_primary_one():
    KEYRING.sign_with(SPEC.number, 2)
    experiment = holdout()
    folding = ObservationFolding(
        SINGLE_OBJECT, KEYRING, 10_000, lambda _: plan_of(experiment.definition)
    )
    fold = folding.new_fold(0)
    log = []
    for n in range(600):
        unit = lasting_unit(f"v{n}")
        name = KEYRING.sign(HOLDOUT.receipt(unit))
        log.append(Observation(name, EXPOSURE, EXPOSED, None, NOW_MS))
        is_held = HOLDOUT.holds(unit)
        if n % 2 or not is_held:
            log.append(Observation(name, "spent", (3 + n % 5) * MICRO, None, NOW_MS + 9))
        if n % 3:
            log.append(Observation(name, "click", MICRO, None, NOW_MS + 9))
    folding.fold(fold, [Record(n, encode_observation(each)) for n, each in enumerate(log)])

    found = evaluate(experiment, merge(fold.take_changes().cells), ())

    assert found.experiment == experiment
    assert found.variants[0].exposures is not None
    other = found.variants[1].metrics
    for name in ("click", "spent"):
        compared: Any = other[name].against_control
        assert compared.sequence_lower < compared.sequence_upper
    spent: Any = other["spent"].against_control
    assert spent.sequence_lower > 0.0
    assert [found.metrics[name].role for name in ("click", "spent")] == ["primary", "secondary"]


def test_an_observation_is_copied_whatever_its_record_says_of_its_time():
    """As it counts for its experiment: else groups would differ by what their producers do."""
    assigned_ms = NOW_MS - 2 * CLOCK_SKEW_MS  # before there was a holdout
    text = KEYRING.sign(Receipt(EXPERIMENTS[0], 0, 1 << 31, 3, assigned_ms, UNITS[0], 0))
    clicks = [Observation(text, "click", MICRO, f"e{n}", NOW_MS + 5) for n in range(3)]
    early = Observation(text, "click", MICRO, "early", NOW_MS - CLOCK_SKEW_MS - 1)
    log = [
        Record(offset, encode_observation(each), at_ms)
        for offset, (each, at_ms) in enumerate(
            zip([*clicks, early], [0, NOW_MS // 1_000, NOW_MS + 5, 0], strict=True)
        )
    ]

    copies = copies_of(log, 0, SINGLE_OBJECT, KEYRING, coverage())

    assert [each.event_id for each in copies] == ["e0", "e1", "e2"]
