"""An outage is a line now and then in the log of every process, however often it is noticed."""

from __future__ import annotations

import ast
import heapq
import io
import logging
import logging.handlers
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
from aiokafka.errors import KafkaConnectionError
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import RedisError

from streams.kafka.answers import ClusterError
from streams.kafka.records import LogError
from streams.model.errors import DependencyError, InputError
from streams.process import outages
from streams.process.outages import INTERVAL_S, QUIET_S, OutageFilter, outage
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]


class Log:
    """A logger behind a filter whose clock is set."""

    def __init__(self, name: str = "streams.somewhere") -> None:
        self.now_s = 0.0
        self.written = io.StringIO()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self.logger = logging.Logger(name)  # noqa: LOG001 - known to this test alone
        handler = logging.StreamHandler(self.written)
        handler.addFilter(OutageFilter(lambda: self.now_s, self._later, self.logger))
        self.logger.addHandler(handler)

    def _later(self, pause_s: float, function: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now_s + pause_s, len(self._due), function))

    def pass_time(self, to_s: float) -> None:
        """Do what is due until then."""
        while self._due and self._due[0][0] <= to_s:
            self.now_s, _, function = heapq.heappop(self._due)
            function()
        self.now_s = to_s

    @property
    def lines(self) -> list[str]:
        return self.written.getvalue().splitlines()


REDIS = DependencyError("redis", "Redis does not answer")
OUTAGES = [
    REDIS,
    LogError("LOG_INCOMPLETE", "it ends before"),
    ClusterError("KAFKA_ACCESS_DENIED", "lacks READ"),
    KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)),
    KafkaError(KafkaError._TRANSPORT),
    KafkaConnectionError(),
    RedisError("closed"),
    TimeoutError(),
]


@pytest.mark.parametrize("error", OUTAGES, ids=lambda each: type(each).__name__)
def test_of_70_seconds_of_two_lines_a_second_there_are_three_lines(error):
    log = Log()
    for half_seconds in range(140):
        log.now_s = half_seconds / 2
        log.logger.warning("going on: %s", error)

    first, second, third = log.lines
    assert first == f"going on: {error}"
    assert second.startswith(f"{first} (59 more of these since ")
    assert third.startswith(f"{first} (59 more of these since ")


@given(gaps=st.lists(st.floats(0.0, 2 * INTERVAL_S), max_size=60))
def test_every_record_is_a_line_or_in_the_count_of_the_next_one(gaps):
    log = Log()
    for gap_s in gaps:
        log.now_s += gap_s
        log.logger.warning("going on: %s", REDIS)
    log.now_s += 2 * INTERVAL_S
    log.logger.warning("going on: %s", REDIS)

    left_out = sum(int(each.split("(")[1].split()[0]) for each in log.lines if "(" in each)
    assert len(log.lines) + left_out == len(gaps) + 1


def test_another_place_another_dependency_and_another_cause_are_said_at_once():
    log = Log()
    log.logger.warning("going on: %s", REDIS)
    log.logger.warning("receipts wait: %s", REDIS)
    log.logger.warning("going on: %s", DependencyError("kafka", "Kafka does not answer"))
    log.logger.warning("going on: %s", ClusterError("KAFKA_TLS_FAILED", "wrong certificate"))
    log.logger.warning("%s fails", "a", extra=outage("wh_1"))
    log.logger.warning("%s fails", "a", extra=outage("wh_2"))
    log.logger.warning("%s fails", "a", extra=outage("wh_2", "sending"))

    assert len(log.lines) == 7


def test_what_is_no_outage_and_what_ends_a_process_is_all_there():
    log = Log()
    for _ in range(3):
        log.logger.warning("a bad event: %s", InputError("WRONG_TYPE", "no number"))
        log.logger.warning("a number: %d", 3)
        log.logger.critical("exit 70: %s", REDIS)

    assert len(log.lines) == 9


LIBRARIES = ("redis", "kafka", "postgresql")
DECLARED = ("api", "wh_1")


def fail(log: Log, dependency: str) -> None:
    if dependency in LIBRARIES:
        log.logger.warning("going on: %s", DependencyError(dependency, "it does not answer"))
    else:
        log.logger.warning("going on", extra=outage(dependency))


@pytest.mark.parametrize("dependency", [*LIBRARIES, *DECLARED])
def test_the_end_of_an_outage_is_one_line_with_its_duration(dependency):
    log = Log()
    for seconds in range(0, 101, 10):
        log.pass_time(float(seconds))
        fail(log, dependency)
    log.pass_time(100.0 + QUIET_S - 1.0)
    during = len(log.lines)

    log.pass_time(100.0 + 10 * QUIET_S)

    assert log.lines[during:] == [f"{dependency}: no failure for 90 s; the outage lasted 100 s"]


@pytest.mark.parametrize("error", OUTAGES, ids=lambda each: type(each).__name__)
def test_every_kind_of_failure_has_an_end(error):
    log = Log()
    log.logger.warning("going on: %s", error)
    log.pass_time(2 * QUIET_S)

    assert log.lines[1].endswith(": no failure for 90 s; the outage lasted 0 s")


@given(
    gaps=st.lists(st.floats(0.0, 3 * QUIET_S).filter(lambda gap_s: gap_s != QUIET_S), max_size=30)
)
def test_outages_end_where_there_was_a_pause_and_last_from_the_first_failure_to_the_last(gaps):
    log = Log()
    expected, first_s, last_s = [], 0.0, 0.0
    fail(log, "redis")
    for gap_s in [*gaps, 4 * QUIET_S]:
        at_s = log.now_s + gap_s
        log.pass_time(at_s)
        if at_s - last_s >= QUIET_S:
            expected.append(f"{last_s - first_s:.0f}")
            first_s = at_s
        last_s = at_s
        fail(log, "redis")

    ends = [each.split()[-2] for each in log.lines if "no failure" in each]
    assert ends == expected


def test_an_outage_goes_on_until_the_next_try_could_have_failed():
    log = Log()
    log.logger.warning("it fails", extra=outage("wh_1", again_s=3_600.0))
    log.pass_time(3_600.0)
    log.logger.warning("it fails", extra=outage("wh_1"))
    log.pass_time(10_000.0)

    assert log.lines[2:] == ["wh_1: no failure for 90 s; the outage lasted 3600 s"]


def test_the_end_is_logged_in_a_process_that_logs_nothing_else(monkeypatch):
    monkeypatch.setattr(outages, "QUIET_S", 0.01)
    records: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = logging.handlers.QueueHandler(records)
    log = logging.Logger("streams.somewhere")  # noqa: LOG001 - known to this test alone
    handler.addFilter(OutageFilter(log=log))
    log.addHandler(handler)

    log.warning("going on: %s", REDIS)

    lines = [records.get(timeout=PATIENCE_S).getMessage() for _ in range(2)]
    assert lines[1].startswith("redis: no failure for")


def test_a_traceback_of_an_outage_is_there_once():
    log = Log()
    for _ in range(3):
        try:
            raise REDIS
        except DependencyError:
            log.logger.exception("the task %s failed", "follow")

    assert sum("Traceback" in each for each in log.lines) == 1


def test_what_the_client_of_kafka_warns_of_is_thinned_and_nothing_else_of_it():
    log = Log("aiokafka.client")
    for _ in range(3):
        log.logger.warning("Unable connect to node with id %s", 0)
        log.logger.info("Joined group %s", "workers")

    assert [each.split()[0] for each in log.lines] == ["Unable", "Joined", "Joined", "Joined"]


OUTAGE_TYPES = {
    "ApiError",
    "DependencyError",
    "EngineError",
    "KafkaError",
    "KafkaException",
    "LogError",
    "RedisError",
}


def _handlers(tree: ast.AST) -> Iterator[ast.ExceptHandler]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            caught = {each.id for each in ast.walk(node.type) if isinstance(each, ast.Name)}
            if caught & OUTAGE_TYPES:
                yield node


def _log_calls(handler: ast.ExceptHandler) -> Iterator[ast.Call]:
    for node in ast.walk(handler):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("logger" | "_log"), attr=level)):
                if level in {"warning", "error"}:
                    yield node


def _shows_the_error(call: ast.Call, handler: ast.ExceptHandler) -> bool:
    """Return whether the filter can see what it is about."""
    quoted = {each.id for each in call.args if isinstance(each, ast.Name)}
    return handler.name in quoted or any(each.arg == "extra" for each in call.keywords)


@pytest.mark.parametrize("package", ["api", "client", "dashboard", "streams"])
def test_the_log_of_an_outage_quotes_the_error_itself(package):
    """Not its text, of which the filter of the log would see nothing."""
    hidden = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for handler in _handlers(ast.parse(path.read_text()))
        for call in _log_calls(handler)
        if not _shows_the_error(call, handler)
    ]
    assert hidden == []
