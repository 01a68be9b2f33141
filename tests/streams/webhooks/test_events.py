"""Events of decisions: their type, their id, and the sentences of Slack."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.experiments.statistics.recommendation import RecommendedAction
from streams.kafka.records import StoredRecord
from streams.model.errors import EventError
from streams.model.events import CONCLUSION, Command, CommandKind, Decision
from streams.model.ids import experiment_id
from streams.model.partitioning import SOLE_PARTITION
from streams.webhooks.definition import WebhookDefinition
from streams.webhooks.event_types import EventType
from streams.webhooks.events import Event, event_of, message_id
from streams.webhooks.experiments import ExperimentDirectory
from streams.webhooks.slack import slack_body
from streams.wire.commands import encode_command
from streams.wire.decisions import decode_decision, encode_decision
from streams.wire.records import SINGLE_OBJECT

NUMBER = 7
VARIANTS = [{"name": "A", "isControl": True}, {"name": "B <b>"}]
CONFIG = {"name": "Hero & <!channel>", "type": "bayesian_ab", "primaryMetric": "click"}


def command(kind: CommandKind, payload=None, name: str = "0" * 32) -> Command:
    return Command(name, NUMBER, kind, 1_000, payload or {})


def directory(*commands: Command) -> ExperimentDirectory:
    return directory_at((0, each) for each in commands)


def directory_at(commands: Iterable[tuple[int, Command]]) -> ExperimentDirectory:
    found = ExperimentDirectory()
    records = [
        StoredRecord(offset, at_ms, None, encode_command(each))
        for offset, (at_ms, each) in enumerate(commands)
    ]
    found.take(SOLE_PARTITION, [*records, StoredRecord(99, 0, None, b"poison")], SINGLE_OBJECT)
    return found


CREATE = command(CommandKind.CREATE, {"config": CONFIG, "variants": VARIANTS}, "1" * 32)
START = command(CommandKind.START, {}, "2" * 32)


def decided(kind: CommandKind, name: str, *, accepted: bool = True, **evidence) -> Decision:
    return Decision(
        NUMBER,
        "command",
        1_764_000_000_000,
        2,
        {"commandId": name, "command": kind.value, "accepted": accepted,
         "code": None if accepted else "INVALID_TRANSITION", "status": "running", **evidence},
    )  # fmt: skip


def test_a_command_is_an_event_with_the_names_of_its_experiment():
    event = event_of(decided(CommandKind.START, "2" * 32), directory(CREATE, START), 0)

    assert event is not None
    assert orjson.loads(event.body()) == {
        "type": "experiment.started",
        "timestamp": "2025-11-24T16:00:00.000Z",
        "data": {
            "experiment": {"id": experiment_id(NUMBER), "key": None, "name": CONFIG["name"]},
            "version": 2,
            "command": "start",
            "commandId": "2" * 32,
            "status": "running",
            "author": "",
        },
    }


def test_a_promotion_and_a_conclusion_by_a_person_have_separate_types():
    winner = {"winnerVariantId": f"{experiment_id(NUMBER)}_v1"}
    types = []
    for payload in (winner, {**winner, "isPromotion": True}, {}):
        known = directory(CREATE, START, command(CommandKind.CONCLUDE, payload, "3" * 32))
        event = event_of(decided(CommandKind.CONCLUDE, "3" * 32), known, 0)
        assert event is not None
        types.append((event.type.value, (event.data["winner"] or {}).get("name")))

    assert types == [
        ("experiment.concluded", "B <b>"),
        ("experiment.promoted", "B <b>"),
        ("experiment.concluded", None),
    ]


def test_a_repeated_or_refused_command_changes_no_name():
    """The second `edit` has a version that is not the draft's, so a worker refuses it."""
    other = {"config": {**CONFIG, "name": "New"}, "variants": VARIANTS}
    late = {"config": {**CONFIG, "name": "Late"}, "variants": VARIANTS, "version": 1}
    edit = command(CommandKind.EDIT, other, "3" * 32)
    known = directory(CREATE, edit, edit, command(CommandKind.EDIT, late, "4" * 32))

    found = known.get(NUMBER)

    assert found is not None
    assert found.definition.config.name == "New"


def test_ticks_are_no_events_and_refusals_are():
    known = directory(CREATE)

    assert event_of(decided(CommandKind.TICK, "5" * 32), known, 0) is None
    refused = event_of(decided(CommandKind.PAUSE, "5" * 32, accepted=False), known, 0)

    assert refused is not None
    assert (refused.type, refused.data["code"]) == ("command.refused", "INVALID_TRANSITION")


KNOWN = directory(CREATE)
DECISIONS = st.builds(
    Decision,
    experiment=st.integers(0, 2**64 - 1),
    kind=st.sampled_from(["command", CONCLUSION, *RecommendedAction]) | st.text(max_size=9),
    at_ms=st.integers(0, 2**48 - 1),
    version=st.integers(0, 2**48 - 1),
    evidence=st.dictionaries(
        st.sampled_from(
            ["commandId", "command", "accepted", "code", "status", "winner", "confidence",
             "probabilityBest", "expectedLoss", "assignments", "generation", "reasonCode"]
        ),
        st.none() | st.booleans() | st.integers(-5, 300) | st.text(max_size=9)
        | st.lists(st.floats(0, 1), max_size=3),
    ),
)  # fmt: skip


@given(DECISIONS)
def test_any_decision_is_an_event_or_none(decision):
    event = event_of(decision, KNOWN, 0)

    if event is not None:
        assert orjson.loads(event.body())["type"] == event.type
        assert set(orjson.loads(slack_body(event))["text"]) & {"<", ">"} == set()


@given(DECISIONS, DECISIONS)
def test_the_id_follows_from_what_was_decided(one, other):
    again = Decision(one.experiment, one.kind, one.at_ms, one.version, dict(one.evidence))

    assert message_id(again) == message_id(one)
    facts = [
        (each.experiment, each.kind, each.at_ms, each.version,
         str(each.evidence.get("commandId", "")), str(each.evidence.get("generation", "")))
        for each in (one, other)
    ]  # fmt: skip
    assert (message_id(one) == message_id(other)) == (facts[0] == facts[1])


@given(DECISIONS, DECISIONS, st.integers(1, 3), st.integers(1, 3))
def test_an_action_that_two_workers_have_logged_has_the_id_of_its_number(one, other, first, second):
    """They may have had other cells, and so another version and time."""
    logged = [
        Decision(7, RecommendedAction.CONTINUE, each.at_ms, each.version, {"number": number})
        for each, number in ((one, first), (other, second))
    ]

    assert (message_id(logged[0]) == message_id(logged[1])) == (first == second)


@pytest.mark.parametrize(
    ("events", "experiments", "chosen"),
    [
        (("*",), (), True),
        (("experiment.*",), (), True),
        (("experiment.started",), (experiment_id(NUMBER),), True),
        (("recommendation.*",), (), False),
        (("*",), (experiment_id(8), "hero"), False),
    ],
)
def test_a_webhook_gets_what_it_has_chosen(events, experiments, chosen):
    event = Event("msg_1", EventType.STARTED, 0, NUMBER, {})

    assert event.is_for(WebhookDefinition(host="h", events=events, experiments=experiments)) is (
        chosen
    )


def tagged(number: int, *tags: str) -> Command:
    """Return the creation of the experiment with some tags, or an update that gives it these."""
    if number == 0:
        payload = {"config": {**CONFIG, "tags": tags}, "variants": VARIANTS}
        return command(CommandKind.CREATE, payload, f"{number:032x}")
    return command(CommandKind.UPDATE, {"tags": tags}, f"{number:032x}")


def is_chosen(event: Event | None, *tags: str) -> bool:
    assert event is not None
    return event.is_for(WebhookDefinition(host="h", tags=tags))


def test_tags_choose_as_they_were_when_it_was_decided():
    """Created with `checkout` at 0 ms; at 5 ms it gets `eu` instead."""
    known = directory_at([(0, tagged(0, "checkout")), (5, tagged(1, "eu"))])
    created = event_of(decided(CommandKind.CREATE, f"{0:032x}"), known, 9)
    updated = event_of(decided(CommandKind.UPDATE, f"{1:032x}"), known, 9)
    before = event_of(Decision(NUMBER, "investigate", 0, 3, {}), known, 4)
    after = event_of(Decision(NUMBER, "investigate", 0, 4, {}), known, 5)
    refused = event_of(decided(CommandKind.RESUME, "e" * 32, accepted=False), known, 5)

    events = (created, updated, before, after, refused)
    assert [is_chosen(each, "checkout") for each in events] == [True, False, True, False, False]
    assert [is_chosen(each, "eu") for each in events] == [False, True, False, True, True]
    assert all(is_chosen(each, "us", "eu", "checkout") and is_chosen(each) for each in events)
    assert created is not None
    both = WebhookDefinition(host="h", experiments=("other",), tags=("checkout",))
    assert not created.is_for(both)  # every filter has to let it through


def test_an_event_of_an_experiment_that_is_not_there_has_no_tag():
    refused = event_of(decided(CommandKind.START, "2" * 32, accepted=False), directory(), 5)

    assert is_chosen(refused)
    assert not is_chosen(refused, "checkout")


TAGS = st.lists(st.sampled_from(["checkout", "eu", "us"]), unique=True, max_size=3).map(tuple)


@given(
    first=TAGS,
    changes=st.lists(st.tuples(st.integers(1, 20), TAGS), max_size=6),
    chosen=TAGS,
    at_ms=st.integers(0, 25),
)
def test_what_is_commanded_later_changes_nothing_for_whom_an_event_is(
    first, changes, chosen, at_ms
):
    times = [0, *sorted(time for time, _ in changes)]
    given_tags = [first, *(tags for _, tags in changes)]
    commands = [
        (time, tagged(n, *tags))
        for n, (time, tags) in enumerate(zip(times, given_tags, strict=True))
    ]
    n_before = sum(time <= at_ms for time in times)

    for known in (directory_at(commands[:n_before]), directory_at(commands)):
        event = event_of(Decision(NUMBER, "investigate", 0, 3, {}), known, at_ms)
        expected = set(given_tags[n_before - 1])
        assert is_chosen(event, *chosen) == (not chosen or bool(expected & set(chosen)))
        for _, each in commands[:n_before]:
            number = int(each.command_id, 16)
            event = event_of(decided(each.kind, each.command_id), known, at_ms)
            assert event is not None
            assert set(event.tags) == set(given_tags[number])


def test_slack_gets_sentences_whose_names_have_no_effect():
    known = directory(CREATE, START)
    started = event_of(decided(CommandKind.START, "2" * 32), known, 0)
    evidence = {"winner": 1, "confidence": 0.973, "reasonCode": "WINNER_FOUND",
                "probabilityBest": [0.03, 0.97], "expectedLoss": [0.1, 0.0],
                "assignments": [5, 6]}  # fmt: skip
    action = event_of(Decision(NUMBER, "conclude_winner", 0, 3, evidence), known, 0)
    assert started is not None
    assert action is not None
    subject = f"Experiment “Hero &amp; &lt;!channel&gt;” ({experiment_id(NUMBER)})"

    assert orjson.loads(slack_body(started)) == {"text": f"{subject} was started.", "mrkdwn": False}
    assert orjson.loads(slack_body(action))["text"] == (
        f"{subject} has another recommendation. Conclude it with the winner “B &lt;b&gt;”. "
        "Confidence 97.3%. Reason: WINNER_FOUND."
    )
    assert [each["name"] for each in action.data["variants"]] == ["A", "B <b>"]


@pytest.mark.parametrize("name", ["{", "{winner.__class__}", "{0}", "conclude_all"])
def test_slack_gets_the_name_of_an_action_of_a_newer_engine(name):
    event = event_of(Decision(NUMBER, name, 0, 3, {}), directory(CREATE, START), 0)

    assert event is not None
    assert orjson.loads(slack_body(event))["text"].endswith(f"another recommendation. {name}.")


LONGS = st.sampled_from([-(2**63), -1, 0, 1, 2**48 - 1, 2**48, 2**62, 2**63 - 1])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-300, 300) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = (
    *("commandId", "accepted", "code", "status", "author", "reason", "because", "winner"),
    *("confidence", "probabilityBest", "expectedLoss", "assignments", "reasonCode", "generation"),
)
EVIDENCE = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(FIELDS, ANY),
        "command": ANY | st.sampled_from([*CommandKind]),
    },
)


@given(
    kind=st.sampled_from(["command", CONCLUSION, *RecommendedAction]) | st.text(max_size=5),
    at_ms=LONGS,
    version=LONGS,
    evidence=EVIDENCE,
)
def test_whatever_decision_is_in_the_log_can_be_sent_or_is_no_event(kind, at_ms, version, evidence):
    record = encode_decision(Decision(NUMBER, kind, at_ms, version, evidence))
    try:
        decision = decode_decision(record)
    except EventError:
        assert at_ms < 0
        return

    event = event_of(decision, directory(CREATE, START), at_ms)

    if event is not None:
        assert orjson.loads(event.body())["timestamp"]
        assert orjson.loads(slack_body(event))["text"]
