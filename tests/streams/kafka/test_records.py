"""Times of records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.records import first_since
from tests.twins.log import MemoryLog

TOPIC = "decisions"


def log_of(*timestamps: int) -> MemoryLog:
    log = MemoryLog(piece=2)
    for each in timestamps:
        log.append(TOPIC, 0, b"", timestamp=each)
    return log


def test_a_broker_that_names_the_beginning_is_not_believed():
    log = log_of(10, 20, 30, 40)

    assert first_since(log, TOPIC, {0: 0}, 30) == {0: 2}
    assert first_since(log, TOPIC, {0: 0}, 41) == {0: 4}
    assert first_since(log, TOPIC, {0: 4}, 0) == {0: 4}


def test_what_is_gone_is_passed_by():
    log = log_of(10, 20, 30, 40)
    log.replace(TOPIC, 0, log.topics[TOPIC, 0][2:])

    assert first_since(log, TOPIC, {}, 0) == {0: 2}


@given(st.lists(st.integers(0, 50), max_size=8).map(sorted), st.integers(0, 51), st.data())
def test_every_record_before_it_is_earlier(timestamps, at_ms, data):
    begin = data.draw(st.integers(0, len(timestamps)))
    log = log_of(*timestamps)
    log.span(TOPIC, 0)

    [found] = first_since(log, TOPIC, {0: begin}, at_ms).values()

    assert all(each < at_ms for each in timestamps[begin:found])
    assert all(each >= at_ms for each in timestamps[found:])
