"""Exports to a PostgreSQL that cannot be reached, goes away, or cannot take rows for a while."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event

import psycopg
import pytest

from streams.kafka.records import LogSource, OffsetRange, StoredRecord
from streams.local.children import free_port
from streams.model.errors import ConfigurationError, DependencyError
from streams.tallies.cell import Source
from streams.warehouse import following, postgresql
from streams.warehouse.following import Export
from streams.warehouse.opening import opened
from streams.warehouse.tables import TABLES
from streams.warehouse.target import Commit, Place, StoredState, Warehouse, WarehouseError
from tests.streams.warehouse.expected import METRIC_TOTALS, VARIANT_TOTALS, totals
from tests.streams.warehouse.postgres import Server, schema_of, started_server
from tests.streams.warehouse.worlds import WORLD_INPUTS, world

LOOKS = 4
SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"

Fault = Callable[[Server, Warehouse, Commit], None]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with started_server() as started:
        yield started


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("postgresql://me@host:99999/db", "the port must be a number in 1..65535"),
        ("postgresql://me@host:0/db", "the port must be"),
        ("postgresql://me@host:5432,other:none/db", "the port must be"),
        ("postgresql://me:s3cr/et@host/db", "percent-encoded"),
        ("postgresql://me:100%s3cret@host/db", "invalid percent-encoded token"),
        ("postgresql://me:s3cret@[::1/db", "IPv6"),
        ("postgresql://me@host/db?nonsense=s3cret", "invalid URI query parameter"),
        ("postgresql://host:port:port/?nonsense=1", "not an address"),
        ("postgresql://127.0.0.1:1/db?sslmode=always", 'invalid sslmode value: "always"'),
        ("postgresql://127.0.0.1:1/db?keepalives=many", 'invalid integer value "many"'),
    ],
)
def test_what_is_no_address_is_a_wrong_setting_and_no_outage(address: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused, opened(address):
        pass

    assert says in str(refused.value)
    assert "s3cr" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_server_that_is_not_there_is_said_in_one_line_without_the_password() -> None:
    with (
        pytest.raises(DependencyError) as refused,
        opened(f"postgresql://me:secret@127.0.0.1:{free_port()}/none"),
    ):
        pass

    assert "secret" not in str(refused.value)
    assert "PostgreSQL cannot be reached: " in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


class Growing:
    """A log of which each look shows a piece more; one look later than the last it ends the export.

    Args:
        log: The whole of it.
        stop: Ends the export.
    """

    def __init__(self, log: LogSource, stop: Event) -> None:
        self._log = log
        self._stop = stop
        self._looks = 0

    def spans(self, topic: str) -> Mapping[int, OffsetRange]:
        whole = self._log.spans(topic)
        if topic == Source.IMPRESSIONS.value:
            self._looks += 1
        if topic not in set(Source):
            return whole
        if self._looks > LOOKS + 1:
            self._stop.set()
        share = min(self._looks, LOOKS) / LOOKS
        return {
            partition: OffsetRange(span.begin, span.begin + int(share * (span.end - span.begin)))
            for partition, span in whole.items()
        }

    def read(
        self, topic: str, partition: int, begin: int, end: int
    ) -> Iterator[Sequence[StoredRecord]]:
        return self._log.read(topic, partition, begin, end)


class Failing:
    """A target with which something happens before its second commit."""

    def __init__(self, server: Server, target: Warehouse, faults: list[Fault | None]) -> None:
        self._server = server
        self._target = target
        self._faults = faults

    def states(self) -> Mapping[Place, StoredState]:
        return self._target.states()

    def commit(self, commit: Commit) -> None:
        fault = self._faults.pop(0) if self._faults else None
        if fault is not None:
            fault(self._server, self._target, commit)
        self._target.commit(commit)


def own(target: Warehouse) -> psycopg.Connection:
    connection: psycopg.Connection = target._connection  # type: ignore[attr-defined]
    return connection


def terminated(server: Server, _target: Warehouse, _commit: Commit) -> None:
    with psycopg.connect(server.address, autocommit=True) as admin:
        admin.execute(SESSIONS, ["experiment export"])


def terminated_after_the_commit(server: Server, target: Warehouse, commit: Commit) -> None:
    target.commit(commit)
    terminated(server, target, commit)


def restarted(server: Server, _target: Warehouse, _commit: Commit) -> None:
    server.end(signal.SIGQUIT)
    server.start()


def gone(server: Server, target: Warehouse, commit: Commit) -> None:
    server.end(signal.SIGQUIT)
    try:
        target.commit(commit)
    finally:
        server.start()


def frozen(server: Server, target: Warehouse, commit: Commit) -> None:
    """Stop the server and the session of the export until the export has given up."""
    with server.stopped(own(target).info.backend_pid):
        target.commit(commit)


def read_only(_server: Server, target: Warehouse, _commit: Commit) -> None:
    own(target).execute("SET default_transaction_read_only = on")


def locked(server: Server, target: Warehouse, commit: Commit) -> None:
    own(target).execute("SET lock_timeout = '50ms'")
    with psycopg.connect(server.address) as other:
        other.execute("LOCK TABLE following.experiment_assignments IN ACCESS EXCLUSIVE MODE")
        target.commit(commit)


def disk_full(_server: Server, target: Warehouse, commit: Commit) -> None:
    connection = own(target)
    connection.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE 'could not extend file: No space left on device' "
        "USING ERRCODE = '53100'; END$$"
    )
    connection.execute(
        "CREATE TRIGGER full_disk BEFORE INSERT ON experiment_assignments "
        "EXECUTE FUNCTION full_disk()"
    )
    try:
        target.commit(commit)
    finally:
        connection.execute("DROP FUNCTION full_disk CASCADE")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (terminated, "terminating connection due to administrator command"),
        (terminated_after_the_commit, "terminating connection due to administrator command"),
        (restarted, "PostgreSQL cannot"),
        (gone, "PostgreSQL cannot be reached"),
        (read_only, "PostgreSQL cannot take the rows now: cannot execute"),
        (locked, "PostgreSQL cannot take the rows now: canceling statement due to lock timeout"),
        (disk_full, "PostgreSQL cannot take the rows now: could not extend file"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_an_outage_is_waited_out_and_each_row_is_there_once(
    server: Server,
    fault: Fault,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    follow_through(server, fault, says, monkeypatch, caplog)


def test_a_server_that_is_frozen_is_given_up_and_each_row_is_there_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(postgresql, "ANSWER_S", 2.0)

    follow_through(server, frozen, "PostgreSQL has not answered for 2 s", monkeypatch, caplog)


def follow_through(
    server: Server,
    fault: Fault,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Follow a log through a fault, and compare what is there afterwards with the log."""
    made, address, stop = world(11, 60, piece=5), schema_of(server.address, "following"), Event()
    faults = [None, fault]

    @contextmanager
    def failing(to: str) -> Iterator[Warehouse]:
        with opened(to) as target:
            yield Failing(server, target, faults)

    monkeypatch.setattr(following, "opened", failing)
    monkeypatch.setattr(following, "FIRST_PAUSE_S", 0.0)

    Export(Growing(made.log, stop), WORLD_INPUTS, address, lambda: 1).follow(stop, 0.0)

    assert not faults
    [said] = [each.getMessage() for each in caplog.records if "tries again" in each.getMessage()]
    assert says in said
    assert len(said.splitlines()) == 1
    with psycopg.connect(address) as database:
        found = [set(database.execute(q.encode())) for q in (VARIANT_TOTALS, METRIC_TOTALS)]
        assert tuple(found) == totals(made.log)
        for table in TABLES:
            key = ", ".join(table.key)
            query = f"SELECT {key} FROM {table.name} GROUP BY {key} HAVING count(*) > 1"
            assert database.execute(query.encode()).fetchall() == []


def test_an_outage_of_a_single_export_is_unavailability(server: Server) -> None:
    made, address = world(11, 60), schema_of(server.address, "once")
    with psycopg.connect(server.address, autocommit=True) as database:
        database.execute("ALTER ROLE warehouse SET default_transaction_read_only = on")
    try:
        with pytest.raises(DependencyError, match=r"cannot execute .* in a read-only transaction"):
            Export(made.log, WORLD_INPUTS, address, lambda: 1).once(Event())
    finally:
        with psycopg.connect(server.address, autocommit=True) as database:
            database.execute("SET default_transaction_read_only = off")
            database.execute("ALTER ROLE warehouse RESET default_transaction_read_only")


def test_a_lock_that_an_outage_has_left_behind_is_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, address, stop = world(11, 60, piece=5), schema_of(server.address, "left"), Event()
    busy = [None, WarehouseError("WAREHOUSE_BUSY", "another export writes the schema", "--to")]
    losses: list[Fault | None] = [None, terminated]

    @contextmanager
    def failing(to: str) -> Iterator[Warehouse]:
        error = busy.pop(0) if busy else None
        if error is not None:
            raise error
        with opened(to) as target:
            yield Failing(server, target, losses)

    monkeypatch.setattr(following, "opened", failing)
    monkeypatch.setattr(following, "FIRST_PAUSE_S", 0.0)

    Export(Growing(made.log, stop), WORLD_INPUTS, address, lambda: 1).follow(stop, 0.0)

    assert not busy
    with psycopg.connect(address) as database:
        found = [set(database.execute(q.encode())) for q in (VARIANT_TOTALS, METRIC_TOTALS)]
    assert tuple(found) == totals(made.log)
