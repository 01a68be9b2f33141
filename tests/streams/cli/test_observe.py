"""Observations by unit from lines of JSON and from a topic."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import httpx
import pytest
import typer

from experiment_streams_client import ApiError, ExperimentClient
from streams.cli import observe
from streams.cli.posting import members_of_file, post_members, post_with
from streams.model.errors import DependencyError
from streams.model.events import LETTER_KEY_BYTES, LETTER_VALUE_BYTES, DeadLetter
from streams.ops.unit_observations import RefusedObservation, UnitObservationResolver
from streams.wire.dead_letters import encode_dead_letter

CLICK = {"userId": "u1", "metric": "click", "value": 1}


@dataclass
class Record:
    body: bytes | None
    place: int = 0
    at_ms: int = 1_700_000_000_000
    name: bytes | None = None

    def topic(self) -> str:
        return "clicks"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return self.place

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at_ms

    def key(self) -> bytes | None:
        return self.name

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
    status: int = 503

    def post(self, fields: Any) -> list[RefusedObservation]:
        if self.failures:
            self.failures -= 1
            raise ApiError("CODE", "why", status=self.status)
        self.posted += fields
        return [
            RefusedObservation(index, "UNKNOWN_UNIT", "userId", "unknown")
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


@pytest.mark.parametrize("status", [0, 408, 429, 500, 503])
def test_what_passes_is_waited_for(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "PAUSE_S", 0.0)
    found = Resolved(failures=2, status=status)
    consumer = Consumed([Record(json.dumps(CLICK).encode())])

    observe.resolve_next(consumer, found.resolver, lambda _: 0)  # type: ignore[arg-type]

    assert consumer.commits == 1


@pytest.mark.parametrize("status", [200, 301, 401, 403, 404, 405])
def test_what_does_not_pass_ends_the_process_and_commits_nothing(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key, or the address of another server."""
    monkeypatch.setattr(observe, "PAUSE_S", 0.0)
    found = Resolved(failures=2, status=status)
    consumer = Consumed([Record(json.dumps(CLICK).encode())])

    with pytest.raises(ApiError):
        observe.resolve_next(consumer, found.resolver, lambda _: 0)  # type: ignore[arg-type]

    assert consumer.commits == 0


def test_letters_that_are_not_durable_commit_nothing() -> None:
    consumer = Consumed([Record(b"{")])

    with pytest.raises(DependencyError):
        observe.resolve_next(consumer, Resolved().resolver, lambda _: 1)  # type: ignore[arg-type]

    assert consumer.commits == 0


class Bounded(httpx.BaseTransport):
    """An API that takes bodies of up to `limit` bytes, and refuses others with `status`."""

    def __init__(self, limit: int, status: int = 413, code: str = "BODY_TOO_LARGE") -> None:
        self.limit, self.status, self.code = limit, status, code
        self.taken: list[Any] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        if len(body) > self.limit:
            error = {"code": self.code, "message": "no", "path": ""}
            return httpx.Response(self.status, json={"error": error})
        self.taken += json.loads(body)
        return httpx.Response(202, json={"accepted": len(json.loads(body))})


@pytest.mark.parametrize(
    ("status", "code"), [(413, "BODY_TOO_LARGE"), (413, "HTTP_413"), (400, "MALFORMED_REQUEST")]
)
def test_a_call_that_is_too_large_is_halved_and_a_record_that_is_too_large_a_dead_letter(
    status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "PAUSE_S", 0.0)
    transport = Bounded(1 << 20, status, code)
    letters: list[DeadLetter] = []
    records = [
        Record(json.dumps({**CLICK, "metadata": "x" * (12_000 if n != 7 else 1 << 20)}).encode(), n)
        for n in range(100)
    ]
    consumer = Consumed(records)
    with ExperimentClient("http://api", transport=transport) as client:
        resolver = UnitObservationResolver(
            lambda fields: post_with(client, "/observations", fields), letters.append
        )
        observe.resolve_next(consumer, resolver, lambda _: 0)  # type: ignore[arg-type]

    assert [(each.code, each.offset) for each in letters] == [(code, 7)]
    places = [each["eventId"] for each in transport.taken]
    assert places == [f"clicks:3:{n}:0" for n in range(100) if n != 7]
    assert consumer.commits == 1


def test_of_one_record_there_is_one_letter_for_each_code_and_the_first_has_the_value() -> None:
    found = Resolved()
    stranger = {**CLICK, "userId": "stranger"}
    body = json.dumps([stranger] * 4_999 + [CLICK] + [stranger] * 4_999 + [{"x": [[]]}]).encode()

    taken = found.resolver.resolve([Record(body, 5, name=b"k" * 900_000)])

    assert taken == 2
    [letter] = found.letters
    assert (letter.count, letter.ranges) == (9_998, ((0, 4_998), (5_000, 9_998)))
    assert (len(letter.key or b""), letter.key_bytes) == (LETTER_KEY_BYTES, 900_000)
    assert letter.value == body[:LETTER_VALUE_BYTES]
    assert letter.value_bytes == len(body)
    assert letter.value_sha256 == sha256(body).digest()
    assert len(encode_dead_letter(letter)) < 120_000


def test_letters_are_made_once_however_often_the_api_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observe, "PAUSE_S", 0.0)
    found = Resolved(failures=5)
    consumer = Consumed([Record(b"{", 1), Record(json.dumps(CLICK).encode(), 2)])

    observe.resolve_next(consumer, found.resolver, lambda _: 0)  # type: ignore[arg-type]

    assert [(each.code, each.offset) for each in found.letters] == [("INVALID_JSON", 1)]


def test_two_codes_of_one_record_are_two_letters() -> None:
    def post(fields: Any) -> list[RefusedObservation]:
        return [RefusedObservation(i, "AB"[i % 2], "metric", "no") for i in range(len(fields))]

    letters: list[DeadLetter] = []
    body = json.dumps([CLICK] * 201).encode()
    UnitObservationResolver(post, letters.append).resolve([Record(body)])

    assert [(each.code, each.index, each.count) for each in letters] == [
        ("A", 0, 101),
        ("B", 1, 100),
    ]
    assert [each.value for each in letters] == [body, None]


@pytest.mark.parametrize("depth", [255, 1_000, 1_024])
def test_a_record_that_no_call_can_hold_is_a_dead_letter(depth: int) -> None:
    """The recursion of an encoder is bounded below that of the decoder."""
    found = Resolved()

    found.resolver.resolve([Record(b"[" * depth + b"]" * depth)])

    assert [each.code for each in found.letters] == ["TOO_DEEP"]
    assert not found.posted


def test_lines_of_a_file_are_posted_and_the_refused_ones_printed(api: Any, tmp_path: Any) -> None:
    rejected = {"index": 1, "code": "UNKNOWN_UNIT", "path": "[1].userId", "message": "unknown"}
    answer = {"accepted": 1, "rejected": [rejected], "rejectedCount": 1}
    api.answers["POST /observations"] = (202, answer)
    file = tmp_path / "clicks.jsonl"
    file.write_text(json.dumps(CLICK) + "\n\n" + json.dumps({**CLICK, "userId": "x"}) + "\n")

    result = api.run("observe", str(file), "--json")

    assert result.exit_code == 1
    refused, numbers = map(json.loads, result.stdout.splitlines())
    assert refused == {"line": 3, "code": "UNKNOWN_UNIT", "path": "userId", "message": "unknown"}
    assert numbers == {"accepted": 1, "rejectedCount": 1}
    assert api.requests == [("POST /observations", [CLICK, {**CLICK, "userId": "x"}])]


def test_of_a_call_that_is_refused_each_one_is_found(api: Any, tmp_path: Any) -> None:
    error = {"code": "UNKNOWN_UNIT", "message": "unknown", "path": "[0].userId"}
    api.answers["POST /observations"] = (422, {"error": error})
    file = tmp_path / "clicks.jsonl"
    file.write_text("\n".join([json.dumps(CLICK)] * 3))

    result = api.run("observe", str(file))

    *refused, numbers = result.stdout.splitlines()
    assert refused == [f"line {n}: UNKNOWN_UNIT at userId: unknown" for n in (1, 2, 3)]
    assert numbers == "0 taken, 3 refused"


def test_a_line_that_is_too_large_or_too_deep_is_printed(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clicks.jsonl"
    large = json.dumps({**CLICK, "metadata": "x" * (1 << 20)})
    file.write_text("\n".join([json.dumps(CLICK), large, "[" * 1_000 + "]" * 1_000]))
    transport = Bounded(1 << 20)

    members = members_of_file(file)
    with ExperimentClient("http://api", transport=transport) as client, pytest.raises(typer.Exit):
        post_members(client, "/observations", members, as_json=True)

    printed, numbers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (printed["line"], printed["code"]) == (2, "BODY_TOO_LARGE")
    assert numbers == {"accepted": 2, "rejectedCount": 1}
    assert transport.taken == [CLICK, None]  # which the API refuses as any line that is not JSON


@pytest.mark.parametrize("status", [401, 403])
def test_a_file_with_a_wrong_key_is_reported_once(status: int, api: Any, tmp_path: Any) -> None:
    error = {"code": "UNAUTHENTICATED", "message": "no key", "path": ""}
    api.answers["POST /observations"] = (status, {"error": error})
    file = tmp_path / "clicks.jsonl"
    file.write_text(json.dumps(CLICK) + "\n" + json.dumps(CLICK))

    result = api.run("observe", str(file))

    assert result.exit_code == 1
    assert "UNAUTHENTICATED: no key" in result.stderr
    assert len(api.requests) == 1


def test_a_file_or_a_topic_must_be_named(api: Any) -> None:
    assert api.run("observe").exit_code != 0
