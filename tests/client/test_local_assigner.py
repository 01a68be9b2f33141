"""Assignment in process: the answers of the API, and impressions that count once."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.outbox import ImpressionRow, groups_of
from api.spool.entries import intact_entries
from experiment_streams_client.errors import ApiError
from experiment_streams_client.local import LocalAssigner, LocalAssignment, LocalRequest
from experiment_streams_client.local.delivery import Delivery, RefusedError, SealedBatch
from experiment_streams_client.local.journal import Journal
from streams.fold.impressions import ImpressionFolding
from streams.model.errors import ConfigurationError, EngineError
from streams.model.events import OutsideRequests
from streams.model.receipts import Keyring, Receipt
from streams.tallies.plan import plain
from streams.wire.impressions import decode_impression_batch
from streams.wire.records import SINGLE_OBJECT
from tests.api.http_server import Served, served
from tests.api.memory import KEYRING, NOW_MS, Api
from tests.patience import until_found, until_true

PARTITIONS = 4


@dataclass
class Call:
    """Calls methods of an assigner in a thread."""

    assigner: LocalAssigner

    async def __call__(self, name: str, *arguments: Any, **fields: Any) -> Any:
        return await asyncio.to_thread(getattr(self.assigner, name), *arguments, **fields)


class MemorySink:
    """Takes batches, and fails as configured: before it has taken them, or after."""

    def __init__(self) -> None:
        self.taken: list[SealedBatch] = []
        self.failures: list[str] = []

    def send(self, batches: Any) -> None:
        failure = self.failures.pop() if self.failures else ""
        if failure == "before":
            raise ConnectionError
        if failure == "refused":
            raise RefusedError("no")
        self.taken += batches
        if failure == "after":
            raise ConnectionError

    def close(self) -> None:
        pass


@asynccontextmanager
async def assigning(server: Served, directory: Path, **options: Any) -> AsyncIterator[Call]:
    """Yield what calls an assigner of the API in a thread."""
    url = f"http://127.0.0.1:{server.port}"
    keyring = options.pop("keyring", KEYRING)
    settings = {"every_s": 0.02, "now_ms": lambda: NOW_MS, **options}
    assigner = await asyncio.to_thread(LocalAssigner, url, keyring, directory, **settings)

    try:
        yield Call(assigner)
    finally:
        await asyncio.to_thread(assigner.close)


async def answer_of(api: Api, name: str, **context: Any) -> dict[str, Any]:
    answer = await api.http.post(f"/experiments/{name}/assign", json=context)
    assert answer.is_success, answer.text
    return dict(answer.json())


def as_json(found: LocalAssignment) -> dict[str, Any]:
    return {
        "id": found.id,
        "experimentId": found.experiment_id,
        "variantId": found.variant_id,
        "variantName": found.variant_name,
        "config": found.config,
        "enrolled": found.enrolled,
        "reason": found.reason,
        "propensity": found.propensity,
    }


FIXED = {"type": "bayesian_ab", "unit": "user"}


@pytest.mark.parametrize(
    "config",
    [
        FIXED,
        {**FIXED, "trafficAllocation": 0.4},
        {**FIXED, "layer": {"key": "l", "range": [0.2, 0.7]}},
        {**FIXED, "targeting": {"==": [{"var": "device"}, "mobile"]}},
        {**FIXED, "overrides": {"user_3": "B"}},
        {**FIXED, "ignoredUnits": ["user_5"]},
        {"type": "thompson_sampling", "unit": "user"},
        {**FIXED, "attributionWindow": 86_400},
    ],
    ids="-".join,
)
async def test_answers_are_those_of_the_api(tmp_path: Path, config: Any) -> None:
    async with served(tmp_path / "api") as server:
        name = await server.api.run({"key": "home", **config})
        async with assigning(server, tmp_path / "local") as call:
            for n in range(20):
                user, device = f"user_{n}", ("mobile", "tv")[n % 2]
                mine = await call("assign", "home", user, device=device)
                theirs = await answer_of(server.api, name, userId=user, device=device)
                assert {**as_json(mine), "reason": ""} == {**theirs, "reason": ""}
                assert mine.reason == theirs["reason"] or theirs["reason"] == "STICKY"


async def test_of_experiments_with_a_holdout_the_api_is_asked(tmp_path: Path) -> None:
    """The API logs who counts for the holdout, on both sides."""
    async with served(tmp_path / "api") as server:
        name = await server.api.run(FIXED)
        other = await server.api.run(FIXED)
        body = {"key": "h", "share": 0.3, "experiments": [name]}
        assert (await server.api.http.post("/holdouts", json=body)).status_code == 201
        async with assigning(server, tmp_path / "local") as call:
            answers = [await call("assign", name, f"user_{n}") for n in range(20)]
            assert {each.reason for each in answers} == {"ASSIGNED", "HOLDOUT"}
            assert all(each.id is not None for each in answers)
            assert (call.assigner.asked, call.assigner.decided) == (20, 0)
            await call("assign", other, "u")
            assert (call.assigner.asked, call.assigner.decided) == (20, 1)
            assert (await server.api.http.delete("/holdouts/h")).status_code == 200
            known = call.assigner.experiments
            await until_true(lambda: not known.by_name[name].is_covered)


async def test_one_whose_units_another_one_of_its_layer_had_decides_here_again(
    tmp_path: Path,
) -> None:
    """Two API processes have started them in the same moment; then the first one ends."""
    async with served(tmp_path / "api") as server:
        first, second = await server.api.run_overlapping(FIXED)
        async with assigning(server, tmp_path / "local") as call:
            with pytest.raises(EngineError) as refusal:
                await call("assign", second, "u")
            assert refusal.value.code == "LAYER_OVERLAP"
            await server.api.http.post(f"/experiments/{first}/conclude", json={"serve": "none"})
            experiments = call.assigner.experiments
            await until_true(lambda: first not in experiments.by_name)

            assert (await call("assign", second, "u")).reason in {"ASSIGNED", "NOT_IN_LAYER"}
            assert (call.assigner.asked, call.assigner.decided) == (0, 1)


async def test_a_paused_experiment_has_its_part_of_the_layer_here_as_at_the_api(
    tmp_path: Path,
) -> None:
    """It is not sent, since it assigns nothing: what it has must be said otherwise."""
    async with served(tmp_path / "api") as server:
        first, second = await server.api.run_overlapping(FIXED)
        await server.api.http.post(f"/experiments/{first}/pause")
        async with assigning(server, tmp_path / "local") as call:
            with pytest.raises(EngineError) as refusal:
                await call("assign", second, "u")
            await server.api.http.post(f"/experiments/{first}/conclude", json={"serve": "none"})
            experiments = call.assigner.experiments
            await until_true(lambda: experiments.by_name[second].answering is not None)

            assert refusal.value.code == "LAYER_OVERLAP"
            assert (await call("assign", second, "u")).experiment_id == second
            assert (call.assigner.asked, call.assigner.decided) == (0, 1)


async def test_impressions_are_held_out_here_as_by_the_api(tmp_path: Path) -> None:
    async with served(tmp_path / "api") as server:
        name = await server.api.run({"type": "thompson_sampling", "key": "hero"})
        for key, unit in (("h", "user"), ("s", "session")):
            body = {"key": key, "share": 0.3, "unit": unit, "experiments": ["hero"]}
            assert (await server.api.http.post("/holdouts", json=body)).status_code == 201
        contexts = [
            *({"user_id": f"u{n}"} for n in range(10)),
            *({"user_id": f"u{n}", "session_id": f"s{n}"} for n in range(10)),
            *({"session_id": f"s{n}"} for n in range(10)),
            *({"user_id": f"x{n}", "fallback_unit_id": f"u{n}"} for n in range(10)),
            {},
        ]

        async def held_by_the_api(context: dict[str, str]) -> bool:
            names = {"user_id": "userId", "session_id": "sessionId"}
            body = {names.get(each, "fallbackUnitId"): value for each, value in context.items()}
            answer = await server.api.http.post(f"/experiments/{name}/assign", json=body)
            return bool(answer.json()["reason"] == "HOLDOUT")

        async with assigning(server, tmp_path / "local") as call:

            def is_shipped_here() -> bool:
                return call.assigner.experiments.by_name[name].experiment.shipped is not None

            for is_shipped in (False, True):
                for context in contexts:
                    found = await call("assign", name, **context)
                    assert (found.reason == "HOLDOUT") is await held_by_the_api(context), context
                assert (call.assigner.asked, call.assigner.decided) == (
                    0,
                    len(contexts) * (1 + is_shipped),
                )
                body = {"winnerVariantId": f"{name}_v1", "controlShare": 0}
                await server.api.http.post(f"/experiments/{name}/conclude", json=body)
                await until_true(is_shipped_here)


async def test_what_others_decide_is_asked_once_for_each_unit(tmp_path: Path) -> None:
    async with served(tmp_path / "api") as server:
        name = await server.api.run({"type": "thompson_sampling", "unit": "user"})
        async with assigning(server, tmp_path / "local") as call:
            first = await call("assign", name, "u")
            again = await call("assign", name, "u")
            assert (first.reason, again.reason, first.id) == ("ASSIGNED", "STICKY", again.id)
            assert (call.assigner.asked, call.assigner.decided) == (1, 0)
            both = await call("assign", name, "u", fallback_unit_id="before")
            assert (both.id, call.assigner.asked) == (first.id, 2)
        # The API has logged it each time it was asked.
        units = [unit for each in server.api.topics.impressions() for unit in each.groups[0].units]
        assert set(units) == {KEYRING.verify(first.id).unit}


async def test_a_variant_that_is_stopped_here_is_not_kept_by_the_answer_of_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path / "api") as server:
        variants = [{"name": "A", "isControl": True}, *({"name": each} for each in "BC")]
        name = await server.api.run({"type": "thompson_sampling", "unit": "user"}, variants)
        async with assigning(server, tmp_path / "local") as call:
            client = call.assigner._client
            users = [f"u{n}" for n in range(20)]
            stale = {each: await asyncio.to_thread(client.assign_variant, name, {"userId": each})
                     for each in users}  # fmt: skip
            [user, *_] = [each for each in users if stale[each].variant_name == "C"]
            for changed in ({"isActive": False}, {"name": "C2"}):
                await server.api.http.patch(f"/experiments/{name}/variants/{name}_v2", json=changed)
            known = call.assigner.experiments.by_name
            await until_true(lambda: call.assigner.experiments.by_name is not known
                             and call.assigner.experiments.by_name[name].version == 4)  # fmt: skip

            with monkeypatch.context() as patched:
                patched.setattr(client, "assign_variant", lambda *_: stale[user])
                assert (await call("assign", name, user)).variant_name == "C"
            after = await call("assign", name, user)

    assert (after.reason, after.id) == ("REDRAWN", stale[user].id)


async def test_changes_are_followed(tmp_path: Path) -> None:
    async with served(tmp_path / "api") as server:
        name = await server.api.run(FIXED)
        async with assigning(server, tmp_path / "local") as call:
            before = await call("assign", name, "u")
            body = {"winnerVariantId": f"{name}_v1"}
            await server.api.http.post(f"/experiments/{name}/conclude", json=body)

            async def changed() -> Any:
                after = await call("assign", name, "u")
                return after if after.reason != before.reason else None

            after = await until_found(changed)
            assert (after.reason, after.variant_id, after.id) == ("SHIPPED", f"{name}_v1", None)
            await server.api.http.post(f"/experiments/{name}/archive")
            code = await until_found(lambda: code_of(call, name))
            assert code == "EXPERIMENT_NOT_RUNNING"


async def code_of(call: Call, name: str, user: str = "u") -> str | None:
    try:
        await call("assign", name, user)
    except EngineError as error:
        return error.code
    return None


async def test_impressions_reach_the_topic_as_those_of_the_api_do(tmp_path: Path) -> None:
    async with served(tmp_path / "api") as server:
        name = await server.api.run(FIXED)
        async with assigning(server, tmp_path / "local") as call:
            receipts = [
                KEYRING.verify((await call("assign", name, f"u{n}", device="tv")).id)
                for n in range(50)
            ]
        mine = server.api.topics.impressions()
        rows = {
            (group.experiment, unit, variant, propensity, at_ms, context)
            for batch in mine
            for group in batch.groups
            for unit, variant, propensity, at_ms, context in zip(
                group.units, group.variants, group.propensities, group.assigned_at_ms,
                group.contexts, strict=True,
            )
        }  # fmt: skip
        assert rows == {
            (each.experiment, each.unit, each.variant, each.propensity, each.assigned_at_ms,
             '{"device":"tv"}')
            for each in receipts
        }  # fmt: skip
        places = {
            (unit, batch.partition)
            for batch in mine
            for group in batch.groups
            for unit in group.units
        }
        assert all(unit * PARTITIONS >> 64 == partition for unit, partition in places)
        assert call.assigner.waiting_bytes == 0


async def test_requests_that_take_no_part_are_counted_by_reason(tmp_path: Path) -> None:
    async with served(tmp_path / "api") as server:
        name = await server.api.run({**FIXED, "trafficAllocation": 0.5})
        async with assigning(server, tmp_path / "local") as call:
            for n in range(100):
                await call("assign", name, f"u{n}")
            await call("assign", name, "null")
        batches = server.api.topics.impressions()
        counts: Counter[str] = Counter()
        for each in (each for batch in batches for each in batch.outside):
            counts[each.reason] += each.requests
        units = sum(len(group.units) for batch in batches for group in batch.groups)
        assert counts["INVALID_UNIT"] == 1
        assert counts["NOT_ENROLLED"] == 100 - units > 20


async def test_an_experiment_of_another_key_is_asked_of_the_api(tmp_path: Path) -> None:
    async with served(tmp_path / "api") as server:
        name = await server.api.run(FIXED)
        snapshot = server.api.projection.snapshot(name).experiment.definition
        other = snapshot.config.model_copy(update={"receipt_key": 9})
        definition = snapshot.model_copy(update={"config": other})
        experiment = server.api.projection.snapshot(name).experiment
        changed = {"definition": definition}
        server.api.publish(name, experiment=type(experiment)(**{**_fields(experiment), **changed}))
        async with assigning(server, tmp_path / "local") as call:
            await call("assign", name, "u")
            assert (call.assigner.asked, call.assigner.decided) == (1, 0)


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


async def test_another_secret_is_found_before_anything_is_signed(tmp_path: Path) -> None:
    async with served(tmp_path / "api") as server:
        with pytest.raises(ConfigurationError):
            async with assigning(server, tmp_path / "local", keyring=Keyring({1: b"x" * 32})):
                pass


async def test_no_assignment_is_answered_without_room_for_its_impression(tmp_path: Path) -> None:
    sink = MemorySink()
    sink.failures = ["before"] * 10_000
    async with served(tmp_path / "api") as server:
        name = await server.api.run(FIXED)
        async with assigning(server, tmp_path / "local", sink=sink, max_bytes=4_096) as call:
            n = 0
            while n < 1_000 and await code_of(call, name, f"u{n}") is None:
                n += 1
            assert 10 < n < 1_000
            assert await code_of(call, name) == "SPOOL_FULL"
            assert 4_000 < call.assigner.waiting_bytes <= 4_096
            sink.failures.clear()
            await until_true(lambda: not call.assigner.waiting_bytes)
            assert await code_of(call, name) is None


HOSTILE = st.one_of(
    st.none(), st.text(max_size=300), st.integers(), st.just("\ud800"), st.just("a" * 257),
    st.lists(st.text(max_size=3), max_size=3), st.dictionaries(st.text(max_size=3), st.integers()),
)  # fmt: skip


async def test_hostile_requests_are_answered_or_refused_with_a_code(tmp_path: Path) -> None:
    async with served(tmp_path / "api") as server:
        rule = {"==": [{"var": "features.a"}, 1]}
        await server.api.run({**FIXED, "key": "home", "targeting": rule})
        async with assigning(server, tmp_path / "local") as call:
            decide = call.assigner._decide

            @settings(max_examples=150, deadline=None)
            @given(st.text(max_size=9) | st.just("home"), st.tuples(*[HOSTILE] * 8))
            def check(name: str, fields: tuple[Any, ...]) -> None:
                with suppress(EngineError):
                    decide(name, LocalRequest(*fields))

            await asyncio.to_thread(check)


async def test_an_api_that_is_away_is_an_error_of_what_it_has_to_decide(tmp_path: Path) -> None:
    async with served(tmp_path / "api") as server:
        fixed = await server.api.run(FIXED)
        adaptive = await server.api.run({"type": "thompson_sampling", "unit": "user"})
        sink = MemorySink()
        async with assigning(server, tmp_path / "local", sink=sink) as call:
            call.assigner._client = type(call.assigner._client)(
                "http://127.0.0.1:9", timeout_s=0.2, attempts=1
            )
            with pytest.raises(ApiError):
                await call("assign", adaptive, "u")
            assert (await call("assign", fixed, "u")).reason == "ASSIGNED"


# The journal.


def row(n: int, *, repeatable: bool = False) -> ImpressionRow:
    unit = (n + 1) * 0x9E3779B97F4A7C15 % 2**64
    context = '{"device":"é"}' if n % 3 == 0 else ""
    weights = b"\x10\x20\x20" if n % 5 == 0 else b""
    experiment = 7 if repeatable else 8  # units of one experiment are of one kind
    return ImpressionRow(
        experiment, repeatable, 0, 2**31, 1, NOW_MS + n, unit, context, b"", weights
    )


def logged(row: ImpressionRow) -> tuple[Receipt, str, bool]:
    """Return what is appended for a row."""
    experiment, repeatable, variant, propensity, version, at_ms, unit, context, *texts = row
    features, weights, dimensions = texts
    receipt = Receipt(
        experiment, variant, propensity, version, at_ms, unit, 60, weights, features, dimensions
    )
    return receipt, context, repeatable


class Record(NamedTuple):
    offset: int
    timestamp: int
    value: bytes


def counted(taken: list[SealedBatch]) -> Counter[tuple[int, str]]:
    """Return how often the workers count each impression: by time and context."""
    found: Counter[tuple[int, str]] = Counter()
    folding = ImpressionFolding(
        SINGLE_OBJECT, KEYRING, 10_000, plain,
        listener=lambda _offset, _index, group, is_new: found.update(
            (at_ms, context or "{}")
            for at_ms, context, new in zip(
                group.assigned_at_ms, group.contexts or [""] * len(is_new), is_new, strict=True
            )
            if new
        ),
    )  # fmt: skip
    folds = [folding.new_fold(partition) for partition in range(PARTITIONS)]
    for offset, (partition, value) in enumerate(taken):
        result = folding.fold(folds[partition], [Record(offset, NOW_MS + 10**9, value)])
        assert not result.refused, result.refused
    return found


def outside_of(taken: list[SealedBatch]) -> int:
    """Return the counted requests that did not take part, each batch once."""
    batches = [decode_impression_batch(value) for _, value in taken]
    by_number = {(each.incarnation, each.partition, each.sequence): each for each in batches}
    return sum(each.requests for batch in by_number.values() for each in batch.outside)


def expected(rows: list[ImpressionRow]) -> Counter[tuple[int, str]]:
    return Counter((each.assigned_at_ms, each.context or "{}") for each in rows)


def journal(root: Path, incarnation: int) -> Journal:
    return Journal(root, incarnation, 1, PARTITIONS, 2**24)


U64 = st.integers(0, 2**64 - 1)
ROWS = st.builds(
    ImpressionRow,
    experiment=st.just(7),
    repeatable=st.just(True),
    variant=st.integers(0, 2**16 - 1),
    propensity=st.integers(1, 2**32),
    allocation_version=st.integers(0, 2**48 - 1),
    assigned_at_ms=st.integers(0, 2**48 - 1),
    unit=U64,
    context=st.just("") | st.text().map(json.dumps),
    features=st.binary(max_size=96),
    weights=st.binary(max_size=32),
    dimensions=st.binary(max_size=4),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=9))
def test_what_is_appended_is_read_again(rows: list[ImpressionRow]) -> None:
    with TemporaryDirectory() as root:
        opened = Journal(Path(root), 1, 1, 1, 2**24)
        for each in rows:
            opened.append(*logged(each))

        [segment] = opened.sealed()
        [batch] = opened.read(segment).batches

        assert batch.groups == groups_of(rows)
        opened.close()


def test_the_bytes_of_entries(tmp_path: Path) -> None:
    """Files of an earlier release are adopted, so the bytes must not change."""
    experiment, unit = 0x0123456789ABCDEF, 0xFEDCBA9876543210
    plain = Receipt(experiment, 2, 2**30, 7, 1_700_000_000_123, unit, 60)
    extended = plain._replace(weights=b"\x10\x20\x20", features=b"\3\4\0", dimensions=b"\2\0")
    opened = Journal(tmp_path, 0, 1, PARTITIONS, 2**24)

    opened.append(plain, "", True)
    opened.append(extended, '{"device":"é"}', False)

    [segment] = opened.sealed()
    _, *found = intact_entries(segment.path.read_bytes())[0]
    fixed = "0123456789abcdef0002000000004000000000000000000000070000018bcfe5687bfedcba9876543210"
    assert [(each.partition, each.payload.hex()) for each in found] == [
        (3, f"01{fixed}03000000"),
        (1, f"00{fixed}030303020304001020200200" + '{"device":"é"}'.encode().hex()),
    ]
    assert segment.path.read_bytes().find(bytes.fromhex("0000002fbe656788060003")) > 0
    opened.close()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_impression_counts_once_wherever_the_process_dies(data: st.DataObject) -> None:
    """A crash is a copy of the directory at that moment, which another process adopts."""
    with TemporaryDirectory() as made:
        folder = Path(made)
        sink, root = MemorySink(), folder / "0"
        rows: list[ImpressionRow] = []
        n_outside = 0
        for life in range(data.draw(st.integers(1, 4))):
            opened = journal(root, life)
            delivery = Delivery(opened, KEYRING, sink, 1.0)
            steps = st.sampled_from(["row", "outside", "send", "before", "after"])
            for step in data.draw(st.lists(steps)):
                if step == "outside":
                    opened.append_outside([OutsideRequests(7, "HOLDOUT", 2)])
                    n_outside += 2
                    continue
                if step == "row":
                    rows.append(row(len(rows), repeatable=len(rows) % 2 == 0))
                    opened.append(*logged(rows[-1]))
                    continue
                sink.failures = [] if step == "send" else [step]
                with suppress(ConnectionError):
                    delivery.deliver()
            root = folder / str(life + 1)
            shutil.copytree(folder / str(life), root)
            if data.draw(st.booleans()) and (files := sorted(root.glob("*/*.segment"))):
                _tear(files[-1], data.draw(st.integers(1, 30)))
            opened.close()
        sink.failures = []
        last = journal(root, 99)
        Delivery(last, KEYRING, sink, 1.0).deliver()

        assert counted(sink.taken) == expected(rows)
        assert outside_of(sink.taken) == n_outside
        last.close()


def _tear(file: Path, n_bytes: int) -> None:
    """Write the beginning of a row that was never answered."""
    data = file.read_bytes()
    _, end = intact_entries(data)
    torn = (b"\0\0\0\x50" + b"\1" * 99)[:n_bytes]
    file.write_bytes(data[:end] + torn + data[end + n_bytes :])
