"""Events that wait and that were delivered, and the end of a webhook that never answers."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.webhooks.progress import GONE, MAX_WAITING, NEVER_ANSWERED, DispatchProgress

PLACE, OTHER = (0, 5), (1, 7)


def waiting(*places):
    found = DispatchProgress()
    found.activate(1, {0: 0, 1: 0})
    for place in places:
        found.enqueue(place, 1_000)
    return found


def test_an_event_is_sent_again_after_its_pause_until_it_is_taken():
    """By hand: refused at 1,000, due at 6,000, taken then."""
    progress = waiting(PLACE)
    assert progress.due(999) == []
    assert progress.due(1_000) == [PLACE]

    event = progress.begin(PLACE, 1_000)
    assert event.attempts == 0
    assert progress.due(9_999) == []
    assert not progress.fail(PLACE, event, 1_000, 500, "SERVER_ERROR", 5_000)
    assert progress.state.failing_since_ms == 1_000
    assert progress.next_due_ms() == 6_000

    assert progress.begin(PLACE, 6_000).attempts == 1
    progress.take(PLACE, event, 6_010, 204)

    assert progress.waiting == {}
    state = progress.state
    assert (state.delivered, state.failed, state.failing_since_ms) == (1, 1, None)


def test_a_webhook_that_never_answers_is_disabled_and_keeps_the_event():
    progress = waiting(PLACE)
    event = progress.begin(PLACE, 1_000)

    assert not progress.fail(PLACE, event, 2_000, None, "TIMED_OUT", None)

    assert progress.state.disabled_because == NEVER_ANSWERED
    assert progress.state.disabled_at_ms == 2_000
    progress.activate(2, None)
    assert progress.due(0) == [PLACE]
    assert progress.state.disabled_at_ms is None


def test_one_event_that_is_never_taken_is_given_up_while_others_are():
    progress = waiting(PLACE, OTHER)
    event = progress.begin(PLACE, 1_000)
    progress.fail(PLACE, event, 1_000, 422, "REFUSED", 5_000)
    progress.take(OTHER, progress.begin(OTHER, 2_000), 2_000, 200)
    progress.begin(PLACE, 6_000)

    assert progress.fail(PLACE, event, 6_000, 422, "REFUSED", None)

    assert progress.waiting == {}
    assert progress.state.given_up == 1
    assert progress.state.disabled_at_ms is None


def test_gone_disables_at_once():
    progress = waiting(PLACE)
    event = progress.begin(PLACE, 1_000)

    progress.fail(PLACE, event, 1_000, 410, "GONE", 5_000)

    assert progress.state.disabled_because == "GONE"


@pytest.mark.parametrize("error", ["SERVER_ERROR", GONE])
def test_an_attempt_of_an_earlier_activation_says_nothing_about_the_current_one(error):
    """An event under way while the webhook is enabled again is not sent twice at a time."""
    progress = waiting(PLACE)
    event = progress.begin(PLACE, 1_000)
    progress.activate(2, None)
    assert progress.due(2_000) == []

    assert not progress.fail(PLACE, event, 3_000, 500, error, None)

    assert progress.state.disabled_at_ms is None
    assert progress.state.failing_since_ms is None
    assert progress.due(3_000) == [PLACE]


def test_an_attempt_that_ends_after_its_event_was_read_again_leaves_it_waiting():
    progress = waiting(PLACE)
    event = progress.begin(PLACE, 1_000)
    progress.activate(2, {0: 0, 1: 0})
    progress.enqueue(PLACE, 1_500)
    progress.take(PLACE, event, 2_000, 200)
    assert progress.due(2_000) == [PLACE]

    again = progress.begin(PLACE, 2_000)
    assert not progress.fail(PLACE, event, 3_000, 500, "SERVER_ERROR", None)

    assert progress.due(3_000) == []
    assert again.is_under_way
    assert progress.state.disabled_at_ms is None


def test_room_is_bounded():
    progress = waiting(*((0, offset) for offset in range(MAX_WAITING)))

    assert progress.room == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["wait", "begin", "take", "fail", "end", "gone", "cancel", "activate"]),
        st.tuples(st.integers(0, 2), st.integers(0, 3)),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_event_is_lost_and_any_state_is_restored(steps):
    """An event that was read waits until it was taken or given up, whatever happens between."""
    progress, now, expected = waiting(), 1_000, set()
    under_way = {}
    for step, place in steps:
        now += 10
        if step == "wait" and place not in progress.waiting:
            progress.enqueue(place, now)
            expected.add(place)
        elif step == "activate":
            progress.activate(progress.state.activation + 1, None)
        elif step == "begin" and place in progress.due(now):
            under_way[place] = progress.begin(place, now)
        elif place in under_way and step != "begin":
            event = under_way.pop(place)
            if step == "take":
                progress.take(place, event, now, 200)
                expected.discard(place)
            elif step == "cancel":
                event.is_under_way = False
            else:
                error = "GONE" if step == "gone" else "TIMED_OUT"
                pause_ms = None if step == "end" else 50
                if progress.fail(place, event, now, None, error, pause_ms):
                    expected.discard(place)
        assert not under_way.keys() & set(progress.due(now))

        restored = DispatchProgress.from_json(orjson.loads(orjson.dumps(progress.to_json())))
        assert restored.waiting.keys() == progress.waiting.keys() == expected
        assert restored.to_json() == progress.to_json()
        assert not any(each.is_under_way for each in restored.waiting.values())
