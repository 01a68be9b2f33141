"""Exports to a real PostgreSQL and to files: killed, resumed, refused, and asked."""

from __future__ import annotations

import multiprocessing
import time
from functools import partial
from pathlib import Path
from random import Random

import duckdb
import psycopg
import pytest

from streams.local.children import free_port
from streams.model.errors import ConfigurationError, DependencyError
from streams.warehouse import postgresql
from streams.warehouse.opening import opened
from streams.warehouse.sql import warehouse_sql
from streams.warehouse.tables import OBSERVATIONS, TABLES
from streams.warehouse.target import WarehouseError
from tests.documents import executed
from tests.patience import until
from tests.streams.warehouse.expected import METRIC_TOTALS, VARIANT_TOTALS, totals
from tests.streams.warehouse.postgres import postgres, schema_of
from tests.streams.warehouse.runs import commits_of, export, export_file
from tests.streams.warehouse.worlds import save, world

QUERIES = "docs/how-to/export-to-a-warehouse.md"
KILLS = 20
MOST_COMMITS = 6  # waited for; one more may be made before the kill


@pytest.fixture(scope="module")
def server():
    with postgres() as address:
        yield address


@pytest.fixture(params=["parquet", "postgresql"])
def to(request, tmp_path):
    if request.param == "parquet":
        return f"parquet:{tmp_path / 'export'}"
    return schema_of(request.getfixturevalue("server"), "export")


def asked(to, query):
    """Return the rows that a query gives, on the target or on its files."""
    if to.startswith("parquet:"):
        with duckdb.connect() as connection:
            script = Path(to.removeprefix("parquet:"), "warehouse.sql").read_text()
            connection.execute(script)
            return connection.execute(query).fetchall()
    with psycopg.connect(to) as database:
        return database.execute(query.encode()).fetchall()


def found(to):
    return tuple(set(asked(to, query)) for query in (VARIANT_TOTALS, METRIC_TOTALS))


def test_the_sums_of_the_rows_are_those_of_the_statistics(to):
    made = world(1)

    export(made.log, to)

    assert found(to) == totals(made.log)


def has_begun(commits, wanted):
    return commits.value >= wanted


def test_killed_twenty_times_each_row_is_there_once(to, tmp_path):
    made = world(5, 120, piece=5)
    path, random = tmp_path / "log", Random(5)
    assert commits_of(made.log, to) > KILLS * (MOST_COMMITS + 1)  # or none would be left
    save(made, path)
    context = multiprocessing.get_context("forkserver")
    preloaded = [f"streams.warehouse.{name}" for name in ("parquet", "postgresql")]
    context.set_forkserver_preload([export_file.__module__, *preloaded])
    commits = context.Value("i", lock=False)
    for _ in range(KILLS):
        commits.value, wanted = 0, random.randint(1, MOST_COMMITS)
        child = context.Process(target=export_file, args=(path, to, commits, wanted + 1))
        child.start()
        until(partial(has_begun, commits, wanted))
        time.sleep(random.uniform(0.0, 0.03))  # before, within or after the commit
        assert child.is_alive()
        child.kill()
        child.join()

    assert export(made.log, to) > 0
    assert found(to) == totals(made.log)
    for table in TABLES:
        key = ", ".join(table.key)
        query = f"SELECT {key} FROM {table.name} GROUP BY {key} HAVING count(*) > 1"
        assert asked(to, query) == []


def test_each_query_of_the_documents_is_answered(to):
    made = world(6, publish=True)
    export(made.log, to)

    answers = [asked(to, block.text) for block in executed(QUERIES, "sql")]

    assert len(answers) == 10
    reconciled, others = answers[:2], answers[2:]
    assert reconciled == [[], []]
    assert all(others)


@pytest.mark.parametrize(
    ("change", "path", "says"),
    [
        ("DROP COLUMN value", "value", "has no column value, which must be numeric(19,6)"),
        (
            "ALTER COLUMN value TYPE DOUBLE PRECISION",
            "value",
            "column value of type double precision, which must be numeric(19,6)",
        ),
        ("ALTER COLUMN value TYPE NUMERIC(10,2)", "value", "type numeric(10,2), which must be"),
        ("ALTER COLUMN event_id SET NOT NULL", "event_id", "text NOT NULL, which must be text"),
        ("ADD COLUMN own INTEGER NOT NULL", "own", "column own that is not of this schema"),
    ],
)
def test_tables_of_another_schema_name_the_column(server, change, path, says):
    address = schema_of(server, "other")
    with psycopg.connect(address, autocommit=True) as database:
        database.execute(warehouse_sql().encode())
        database.execute("DROP VIEW counted_observations CASCADE")
        database.execute(f"ALTER TABLE {OBSERVATIONS.name} {change}".encode())

    with pytest.raises(WarehouseError) as refused, opened(address):
        pass

    assert refused.value.code == "WAREHOUSE_SCHEMA_MISMATCH"
    assert refused.value.path == f"experiment_observations.{path}"
    assert says in refused.value.message


def test_a_table_of_another_application_is_not_touched(server):
    address = schema_of(server, "theirs")
    with psycopg.connect(address, autocommit=True) as database:
        database.execute("CREATE TABLE experiments (id SERIAL PRIMARY KEY, title TEXT)")

    with pytest.raises(WarehouseError) as refused, opened(address):
        pass

    assert refused.value.path == "experiments.experiment_id"
    assert asked(address, "SELECT tablename FROM pg_tables WHERE schemaname = 'theirs'") == [
        ("experiments",)
    ]


def test_tables_of_another_version_are_left_alone(server):
    address = schema_of(server, "newer")
    with psycopg.connect(address, autocommit=True) as database:
        database.execute(warehouse_sql().encode())
        database.execute("UPDATE warehouse_schema SET version = 2")

    with pytest.raises(WarehouseError) as refused, opened(address):
        pass

    assert refused.value.code == "WAREHOUSE_SCHEMA_VERSION"


def test_one_export_at_a_time(server, monkeypatch):
    monkeypatch.setattr(postgresql, "LOCK_WAIT_S", 0.0)
    address = schema_of(server, "busy")

    with (
        opened(address),
        pytest.raises(WarehouseError, match="another export writes the schema 'busy'"),
        opened(address),
    ):
        pass


def test_what_is_refused_leaves_nothing_of_its_commit(server):
    address = schema_of(server, "refusing")
    made = world(7, 12)
    with opened(address), psycopg.connect(address, autocommit=True) as database:
        database.execute("ALTER TABLE experiment_voids ADD CHECK (reason <> 'ivt')")

    with pytest.raises(WarehouseError) as refused:
        export(made.log, address, commit_rows=10_000)

    assert refused.value.code == "WAREHOUSE_REFUSED"
    assert asked(address, "SELECT count(*) FROM experiment_observations") == [(0,)]
    assert asked(address, "SELECT count(*) FROM warehouse_positions") == [(0,)]


def test_columns_of_ones_own_are_allowed(server):
    address = schema_of(server, "extended")
    made = world(7, 12)
    with opened(address), psycopg.connect(address, autocommit=True) as database:
        database.execute("ALTER TABLE experiment_assignments ADD COLUMN loaded_by TEXT")

    export(made.log, address)

    assert found(address) == totals(made.log)


def test_a_server_that_is_not_there_is_a_dependency_that_is_missing():
    with (
        pytest.raises(DependencyError) as refused,
        opened(f"postgresql://me:secret@127.0.0.1:{free_port()}/none"),
    ):
        pass

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", [f"postgresql://{'a' * 64}/d", "postgresql://a..b/d", f"postgresql://h:{'9' * 5_000}/d"]
)
def test_a_host_or_port_that_no_address_has_is_a_wrong_setting(url):
    with pytest.raises(ConfigurationError, match="not an address of a PostgreSQL"), opened(url):
        pass
