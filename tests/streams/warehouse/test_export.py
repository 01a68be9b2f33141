"""Exports to files, interrupted at every step, and what they are refused for."""

from __future__ import annotations

import os
import resource
import signal

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from streams.kafka.records import LogError
from streams.model.errors import ConfigurationError, DependencyError
from streams.tallies.cell import Source
from streams.warehouse.columns import texts, times, values
from streams.warehouse.opening import opened
from streams.warehouse.parquet import ParquetTarget
from streams.warehouse.sql import warehouse_sql, with_tables
from streams.warehouse.tables import LOG_TABLES, OBSERVATIONS
from streams.warehouse.target import WarehouseError
from streams.wire.experiment_ends import encode_experiment_end
from tests.streams.replay.memory import KEYRING, NOW_MS, PARTITIONS
from tests.streams.warehouse.runs import FEW_ROWS, export
from tests.streams.warehouse.worlds import world


class KilledError(BaseException):
    """The process is gone."""


def rows_of(directory, table):
    """Return all rows of a table, in order of their places."""
    found = parquet.ParquetDataset(directory / table.name).read()
    return found.sort_by([(name, "ascending") for name in table.key]).to_pylist()


def logged(directory):
    return {table.name: rows_of(directory, table) for table in LOG_TABLES}


class Counter:
    """Raises at the n-th step."""

    def __init__(self, at: int) -> None:
        self.left = at

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KilledError


def with_steps(monkeypatch, counter):
    """Let every step of a commit count: before it, with its files written, with it made, after."""
    commit, move, written = ParquetTarget.commit, ParquetTarget.move, ParquetTarget._written

    def counted_commit(self, found):
        counter.step()
        commit(self, found)
        counter.step()

    def counted_written(self, number, found):
        moves = written(self, number, found)
        counter.step()
        return moves

    def counted_move(self):
        counter.step()
        move(self)

    monkeypatch.setattr(ParquetTarget, "commit", counted_commit)
    monkeypatch.setattr(ParquetTarget, "_written", counted_written)
    monkeypatch.setattr(ParquetTarget, "move", counted_move)


def test_interrupted_at_every_step_the_rows_are_those_of_one_run(tmp_path, monkeypatch):
    made = world(3, 24, piece=5)
    export(made.log, f"parquet:{tmp_path / 'whole'}")
    whole = logged(tmp_path / "whole")
    to = f"parquet:{tmp_path / 'parts'}"
    kills = 0

    while True:
        with monkeypatch.context() as patched:
            # The first steps are those of opening, so every run gets a little further.
            with_steps(patched, Counter(3 + kills % 7))
            try:
                export(made.log, to, commit_rows=8)
            except KilledError:
                kills += 1
            else:
                break

    assert kills >= 14
    assert logged(tmp_path / "parts") == whole


def test_a_later_run_adds_what_has_come_since(tmp_path):
    made = world(4, 24)
    to = f"parquet:{tmp_path}"
    export(made.log, to)
    before = logged(tmp_path)

    assert export(made.log, to) == 0
    made.assign(5)
    made.observe(40)
    added = export(made.log, to)

    after = logged(tmp_path)
    assert added == sum(len(after[name]) - len(before[name]) for name in after) > 0
    assert all(row in after[name] for name, rows in before.items() for row in rows)


def test_nothing_is_exported_of_an_experiment_after_its_end(tmp_path):
    made = world(4, 24)
    export(made.log, f"parquet:{tmp_path}")
    before = logged(tmp_path)
    for source in Source:
        for partition in range(PARTITIONS):
            end = encode_experiment_end(2, NOW_MS, KEYRING, source.value, partition)
            made.log.append(source.value, partition, end)
    made.observe(200)
    export(made.log, f"parquet:{tmp_path}")

    name = "exp_0000000000002"
    for table, rows in logged(tmp_path).items():
        of_it = [row for row in rows if row["experiment_id"] == name]
        assert of_it == [row for row in before[table] if row["experiment_id"] == name]


def test_a_log_that_was_begun_anew_is_refused(tmp_path):
    export(world(1, 12).log, f"parquet:{tmp_path}")
    before = logged(tmp_path)

    with pytest.raises(WarehouseError) as refused:
        export(world(2, 12).log, f"parquet:{tmp_path}")

    assert refused.value.code == "WAREHOUSE_OTHER_LOG"
    assert logged(tmp_path) == before


def test_records_that_the_log_has_no_more_are_missed_only_when_that_is_accepted(tmp_path):
    made = world(1, 12)
    place = "observations", 0
    made.log.replace(*place, made.log.topics[place][10:])

    with pytest.raises(LogError) as refused:
        export(made.log, f"parquet:{tmp_path}")
    export(made.log, f"parquet:{tmp_path}", accept_gap=True)

    assert refused.value.code == "LOG_TRUNCATED"
    offsets = [
        row["source_offset"]
        for row in rows_of(tmp_path, OBSERVATIONS)
        if row["source_partition"] == 0
    ]
    assert min(offsets) >= 10


@pytest.mark.parametrize(
    ("column", "changed", "says"),
    [
        ("value", None, "has no column value, which must be decimal128(19, 6)"),
        ("value", pa.float64(), "column value of type double, which must be decimal128(19, 6)"),
        ("extra", pa.int64(), "has a column extra that is not of this schema"),
    ],
)
def test_files_of_another_schema_name_the_column(tmp_path, column, changed, says):
    fields = [each for each in OBSERVATIONS.schema if each.name != column]
    fields += [] if changed is None else [pa.field(column, changed)]
    (tmp_path / OBSERVATIONS.name).mkdir()
    path = tmp_path / OBSERVATIONS.name / "part-0.parquet"
    parquet.write_table(pa.schema(fields).empty_table(), path)

    with pytest.raises(WarehouseError) as refused, opened(f"parquet:{tmp_path}"):
        pass

    assert refused.value.code == "WAREHOUSE_SCHEMA_MISMATCH"
    assert refused.value.path == f"experiment_observations.{column}"
    assert says in refused.value.message
    assert [each.name for each in tmp_path.glob("*/*")] == ["part-0.parquet"]


def test_files_without_a_manifest_are_not_added_to(tmp_path):
    (tmp_path / OBSERVATIONS.name).mkdir()
    path = tmp_path / OBSERVATIONS.name / "part-0.parquet"
    parquet.write_table(OBSERVATIONS.schema.empty_table(), path)

    with pytest.raises(WarehouseError) as refused, opened(f"parquet:{tmp_path}"):
        pass

    assert refused.value.code == "WAREHOUSE_NOT_EMPTY"


def damaged(manifest):
    kept = manifest.read_bytes()
    manifest.write_bytes(kept[: len(kept) // 2])


def overwritten(manifest):
    manifest.write_bytes(b"x" * 5_000)


def emptied(manifest):
    manifest.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (damaged, "WAREHOUSE_DAMAGED"),
        (overwritten, "WAREHOUSE_DAMAGED"),
        (emptied, "WAREHOUSE_NOT_EMPTY"),
    ],
)
def test_with_a_manifest_that_is_damaged_nothing_is_exported(tmp_path, damage, code):
    made = world(1)
    export(made.log, f"parquet:{tmp_path}")
    before = logged(tmp_path)
    damage(tmp_path / "_export" / "manifest.sqlite")

    with pytest.raises(WarehouseError) as refused:
        export(made.log, f"parquet:{tmp_path}")

    assert refused.value.code == code
    assert logged(tmp_path) == before


def removed(part):
    part.unlink()


def cut(part):
    part.write_bytes(part.read_bytes()[:-1])


@pytest.mark.parametrize(("harm", "index"), [(removed, 0), (removed, -1), (cut, 0)])
def test_a_part_that_is_not_there_any_more_is_named_and_nothing_is_exported(tmp_path, harm, index):
    made = world(1)
    export(made.log, f"parquet:{tmp_path}", commit_rows=FEW_ROWS)
    parts = sorted(tmp_path.glob("experiment_observations/part-*.parquet"))
    harm(parts[index])
    before = {each: each.read_bytes() for each in tmp_path.glob("*/*.parquet")}

    with pytest.raises(WarehouseError) as refused:
        export(made.log, f"parquet:{tmp_path}")

    assert refused.value.code == "WAREHOUSE_PART_MISSING"
    assert refused.value.path == f"experiment_observations/{parts[index].name}"
    assert {each: each.read_bytes() for each in tmp_path.glob("*/*.parquet")} == before


def test_what_fails_beside_the_files_is_no_failure_of_the_disk(tmp_path):
    with pytest.raises(ConnectionError), opened(f"parquet:{tmp_path}"):
        raise ConnectionError


def test_a_disk_without_room_is_a_dependency_and_loses_nothing(tmp_path):
    made, whole = world(1), tmp_path / "whole"
    export(made.log, f"parquet:{whole}")
    child = os.fork()
    if child == 0:  # a limit of this process alone stands for the disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))
        try:
            export(made.log, f"parquet:{tmp_path / 'full'}", commit_rows=50)
        except DependencyError:
            os._exit(69)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 69
    export(made.log, f"parquet:{tmp_path / 'full'}")
    assert logged(tmp_path / "full") == logged(whole)


def test_one_export_at_a_time(tmp_path):
    with (
        opened(f"parquet:{tmp_path}"),
        pytest.raises(WarehouseError, match=r"WAREHOUSE_BUSY.*written by another run"),
        opened(f"parquet:{tmp_path}"),
    ):
        pass


@pytest.mark.parametrize("name", ["it's", "a [1]", "**", "?", "\u00fc", "a;b --", "%20"])
def test_a_directory_of_any_name_is_read_as_its_sql_says(tmp_path, name):
    for each in (name, "a 1", "other"):  # which a pattern would match, too
        with opened(f"parquet:{tmp_path / each}"):
            pass

    with duckdb.connect() as connection:
        connection.execute((tmp_path / name / "warehouse.sql").read_text())

        assert connection.execute("SELECT count(*) FROM warehouse_schema").fetchall() == [(1,)]


def test_a_directory_whose_name_is_no_text_is_refused(tmp_path):
    to = f"parquet:{tmp_path / chr(0xDCFF)}"  # as Python has a byte that is not UTF-8

    with pytest.raises(ConfigurationError, match="not UTF-8"), opened(to):
        pass


@pytest.mark.parametrize("address", ["", "parquet:", "mysql://secret@host", "/tmp", "parquet"])
def test_addresses_of_no_target(address):
    with pytest.raises(ConfigurationError) as refused, opened(address):
        pass

    assert "secret" not in str(refused.value)
    assert refused.value.path == "--to"


def test_the_tables_of_the_file_are_those_that_are_declared():
    assert with_tables(warehouse_sql()) == warehouse_sql(), "python -m scripts.render_warehouse"


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_values_are_exact(micro):
    assert [int(each.scaleb(6)) for each in values(np.array(micro, np.int64)).to_pylist()] == micro


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_any_time_is_one_of_the_calendar(milliseconds):
    found = times(milliseconds)
    assert all(1 <= each.year <= 9999 for each in found.to_pylist())
    assert all(
        round(each.timestamp() * 1000) == time
        for each, time in zip(found.to_pylist(), milliseconds, strict=True)
        if 0 <= time < 10**13
    )


@given(st.lists(st.binary(max_size=20)))
def test_any_bytes_are_text_that_a_database_takes(found):
    for given_bytes, text in zip(found, texts(found).to_pylist(), strict=True):
        assert (text is None) == (not given_bytes)
        assert "\x00" not in (text or "")
        (text or "").encode()
