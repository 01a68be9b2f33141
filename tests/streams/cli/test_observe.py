"""Observations by unit from lines of JSON and from a topic."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from experiment_streams_client import ApiError
from streams.cli import observe
from streams.model.events import DeadLetter
from streams.ops.unit_observations import Refused, UnitObservationResolver

CLICK = {"userId": "u1", "metric": "click", "value": 1}


@dataclass
class Record:
    body: bytes | None
    place: int = 0
    at_ms: int = 1_700_000_000_000

    def topic(self) -> str:
        return "clicks"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return self.place

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at_ms

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return self.body

    def error(self) -> None:
        return None


@dataclass
class Consumed:
    """Records that are read until their offsets are committed."""

    records: list[Record]
    commits: int = 0

    def consume(self, _: int, __: float) -> list[Record]:
        return self.records

    def commit(self, *, asynchronous: bool) -> None:
        assert not asynchronous
        self.commits += 1


@dataclass
class Resolved:
    """Posted and refused observations of a resolver."""

    posted: list[Any] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    failures: int = 0

    def post(self, fields: Any) -> list[Refused]:
        if self.failures:
            self.failures -= 1
            raise ApiError("DEPENDENCY_UNAVAILABLE", "no Redis", status=503)
        self.posted += fields
        return [
            Refused(index, "UNKNOWN_UNIT", "userId", "unknown")
            for index, each in enumerate(fields)
            if each.get("userId") == "stranger"
        ]

    @property
    def resolver(self) -> UnitObservationResolver:
        return UnitObservationResolver(self.post, self.letters.append)


def test_a_record_has_an_event_id_and_a_time_that_are_the_same_when_it_is_read_again() -> None:
    found = Resolved()
    records = [Record(json.dumps(CLICK).encode()), Record(json.dumps([CLICK] * 2).encode(), 1)]

    assert found.resolver.resolve(records) == 3
    once = [*found.posted]
    assert found.resolver.resolve(records) == 3

    assert found.posted == once * 2
    assert [each["eventId"] for each in once] == ["clicks:3:0:0", "clicks:3:1:0", "clicks:3:1:1"]
    assert {each["timestamp"] for each in once} == {1_700_000_000_000}
    own = {**CLICK, "eventId": "mine", "timestamp": 5}
    found.resolver.resolve([Record(json.dumps(own).encode())])
    assert found.posted[-1] == own


def test_what_is_refused_is_a_dead_letter_and_the_others_are_taken() -> None:
    found = Resolved()
    stranger = json.dumps([CLICK, {**CLICK, "userId": "stranger"}]).encode()

    taken = found.resolver.resolve([Record(b"{", 7), Record(None, 8), Record(stranger, 9)])

    assert taken == 1
    places = [(each.code, each.offset, each.index) for each in found.letters]
    assert places == [("INVALID_JSON", 7, 0), ("INVALID_JSON", 8, 0), ("UNKNOWN_UNIT", 9, 1)]
    assert found.letters[-1].value == stranger


def test_offsets_are_committed_once_all_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "PAUSE_S", 0.0)
    found = Resolved(failures=2)
    consumer = Consumed([Record(json.dumps(CLICK).encode())])

    observe.resolve_next(consumer, found.resolver, lambda _: 0)  # type: ignore[arg-type]

    assert len(found.posted) == consumer.commits == 1


def test_lines_of_a_file_are_posted_and_the_refused_ones_printed(api: Any, tmp_path: Any) -> None:
    rejected = {"index": 1, "code": "UNKNOWN_UNIT", "path": "[1].userId", "message": "unknown"}
    answer = {"accepted": 1, "rejected": [rejected], "rejectedCount": 1}
    api.answers["POST /observations"] = (202, answer)
    file = tmp_path / "clicks.jsonl"
    file.write_text(json.dumps(CLICK) + "\n\n" + json.dumps({**CLICK, "userId": "x"}) + "\n")

    result = api.run("observe", str(file))

    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "line": 2,
        "code": "UNKNOWN_UNIT",
        "path": "userId",
        "message": "unknown",
    }
    assert api.requests == [("POST /observations", [CLICK, {**CLICK, "userId": "x"}])]


def test_of_a_call_that_is_refused_each_one_is_found(api: Any, tmp_path: Any) -> None:
    error = {"code": "UNKNOWN_UNIT", "message": "unknown", "path": "[0].userId"}
    api.answers["POST /observations"] = (422, {"error": error})
    file = tmp_path / "clicks.jsonl"
    file.write_text("\n".join([json.dumps(CLICK)] * 3))

    result = api.run("observe", str(file))

    assert [json.loads(line)["line"] for line in result.stdout.splitlines()] == [1, 2, 3]


def test_a_file_or_a_topic_must_be_named(api: Any) -> None:
    assert api.run("observe").exit_code != 0
