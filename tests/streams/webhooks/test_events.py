"""Events of decisions: their type, their id, and the sentences of Slack."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.experiments.statistics import RecommendedAction
from streams.kafka.records import StoredRecord
from streams.model.events import CONCLUSION, Command, CommandKind, Decision
from streams.model.ids import experiment_id
from streams.webhooks.definition import WebhookDefinition
from streams.webhooks.event_types import EventType
from streams.webhooks.events import Event, event_of, message_id
from streams.webhooks.experiments import ExperimentDirectory
from streams.webhooks.slack import slack_body
from streams.wire.commands import encode_command
from streams.wire.records import SINGLE_OBJECT

NUMBER = 7
VARIANTS = [{"name": "A", "isControl": True}, {"name": "B <b>"}]
CONFIG = {"name": "Hero & <!channel>", "type": "bayesian_ab", "primaryMetric": "click"}


def command(kind: CommandKind, payload=None, name: str = "0" * 32) -> Command:
    return Command(name, NUMBER, kind, 1_000, payload or {})


def directory(*commands: Command) -> ExperimentDirectory:
    found = ExperimentDirectory()
    records = [
        StoredRecord(offset, 0, None, encode_command(each)) for offset, each in enumerate(commands)
    ]
    found.take([*records, StoredRecord(99, 0, None, b"poison")], SINGLE_OBJECT)
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
    event = event_of(decided(CommandKind.START, "2" * 32), directory(CREATE, START))

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


def test_a_promotion_and_a_conclusion_by_a_person_have_types_of_their_own():
    winner = {"winnerVariantId": f"{experiment_id(NUMBER)}_v1"}
    types = []
    for payload in (winner, {**winner, "isPromotion": True}, {}):
        known = directory(CREATE, START, command(CommandKind.CONCLUDE, payload, "3" * 32))
        event = event_of(decided(CommandKind.CONCLUDE, "3" * 32), known)
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

    assert event_of(decided(CommandKind.TICK, "5" * 32), known) is None
    refused = event_of(decided(CommandKind.PAUSE, "5" * 32, accepted=False), known)

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
    event = event_of(decision, KNOWN)

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


def test_slack_is_told_in_sentences_whose_names_have_no_effect():
    known = directory(CREATE, START)
    started = event_of(decided(CommandKind.START, "2" * 32), known)
    evidence = {"winner": 1, "confidence": 0.973, "reasonCode": "WINNER_FOUND",
                "probabilityBest": [0.03, 0.97], "expectedLoss": [0.1, 0.0],
                "assignments": [5, 6]}  # fmt: skip
    action = event_of(Decision(NUMBER, "conclude_winner", 0, 3, evidence), known)
    assert started is not None
    assert action is not None
    subject = f"Experiment “Hero &amp; &lt;!channel&gt;” ({experiment_id(NUMBER)})"

    assert orjson.loads(slack_body(started)) == {"text": f"{subject} was started.", "mrkdwn": False}
    assert orjson.loads(slack_body(action))["text"] == (
        f"{subject} has another recommendation. Conclude it with the winner “B &lt;b&gt;”. "
        "Confidence 97.3%. Reason: WINNER_FOUND."
    )
    assert [each["name"] for each in action.data["variants"]] == ["A", "B <b>"]
