"""Commands with an idempotency key: the first answer again, or a refusal of another body."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.fold.experiment_state import (
    IDEMPOTENCY_KEY_REUSED,
    REMEMBERED_ANSWERS,
    ExperimentState,
)
from streams.model.command_ids import key_digest, keyed_command_id, reuses_key
from streams.model.events import Command, CommandKind

NUMBER = 7
DEFINITION: dict[str, Any] = {
    "config": {"name": "test", "type": "ucb", "primaryMetric": "click"},
    "variants": [{"name": "a", "isControl": True}, {"name": "b"}],
}


def command(
    kind: CommandKind, body: bytes = b"{}", *key: str, payload: dict[str, Any] | None = None
) -> Command:
    return Command(keyed_command_id(body, *key), NUMBER, kind, 5, payload or {})


CREATE = command(CommandKind.CREATE, b"first", "ads", "k", payload=DEFINITION)


def test_the_same_key_with_another_body_is_refused_and_the_first_body_gets_the_first_answer() -> (
    None
):
    known = ExperimentState(NUMBER)
    first = known.take_command(0, CREATE).answer
    reused = command(CommandKind.CREATE, b"second", "ads", "k", payload=DEFINITION)
    refused = known.take_command(1, reused).answer
    version = known.experiment and known.experiment.version

    assert first is not None
    assert refused is not None
    assert (first.accepted, refused.accepted, refused.code) == (True, False, IDEMPOTENCY_KEY_REUSED)
    assert refused.path == "Idempotency-Key"
    assert version == 1
    assert known.take_command(2, CREATE).answer == first
    assert known.take_command(3, reused).answer == refused


def test_a_key_of_another_caller_is_another_key() -> None:
    known = ExperimentState(NUMBER)
    known.take_command(0, CREATE)
    start = known.take_command(1, command(CommandKind.START, b"x", "ads", "k2")).answer
    other = known.take_command(2, command(CommandKind.PAUSE, b"y", "web", "k2")).answer

    assert start is not None
    assert other is not None
    assert (start.code, other.code) == (None, None)


def test_the_answer_of_the_creation_outlives_any_number_of_commands() -> None:
    known = ExperimentState(NUMBER)
    first = known.take_command(0, CREATE).answer
    for number in range(1, 4 * REMEMBERED_ANSWERS):
        known.take_command(number, command(CommandKind.ROLLBACK, b"", "ads", str(number)))
    again = known.take_command(999, CREATE).answer
    reused = command(CommandKind.CREATE, b"second", "ads", "k", payload=DEFINITION)

    assert len(known.answers) == REMEMBERED_ANSWERS
    assert again == first
    assert (refused := known.take_command(1000, reused).answer) is not None
    assert refused.code == IDEMPOTENCY_KEY_REUSED


@given(
    texts=st.lists(st.text(max_size=4), max_size=4),
    others=st.lists(st.text(max_size=4), max_size=4),
)
def test_only_the_same_texts_make_the_same_key(texts: list[str], others: list[str]) -> None:
    assert (key_digest(*texts) == key_digest(*others)) == (texts == others)


def test_ids_of_commands_without_a_key_are_not_taken_for_reuse() -> None:
    counted = [f"{number:032x}" for number in range(100)]

    assert not any(reuses_key(each, counted) for each in counted)
    assert not reuses_key("ab" * 16, ["ab" * 16])
