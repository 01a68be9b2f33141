"""Runs of archiving, under any log, producer clocks and crashes."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalogue import DAY_MS
from streams.kafka.records import StoredRecord
from streams.model.errors import ConfigurationError, DependencyError
from streams.ops.archive.archiving import archive
from streams.ops.archive.container import SCHEMA, ContainerWriter
from streams.ops.archive.errors import ArchiveError
from streams.ops.archive.layout import files_of
from streams.ops.archive.lock import owned
from streams.ops.archive.verification import verify
from tests.streams.ops.archive.conftest import TOPIC, Archive, log_of, records

NOON = 20_000 * DAY_MS + DAY_MS // 2

bytes_or_none = st.none() | st.binary(max_size=50)
a_log = st.lists(
    st.tuples(
        st.integers(1, 3),  # offsets to the next record: transactions use some
        st.integers(-1, 4).map(lambda days: NOON + days * DAY_MS) | st.integers(-1, 2**63 - 1),
        bytes_or_none,
        bytes_or_none,
    ),
    max_size=30,
)


def stored(rows, first):
    offset, found = first, []
    for step, timestamp, key, value in rows:
        found.append(StoredRecord(offset, timestamp, key, value))
        offset += step
    return found


@given(rows=a_log, first=st.integers(0, 2**40), runs=st.lists(st.integers(0, 30), max_size=4))
def test_any_log_archived_in_any_runs_is_read_back_equal(rows, first, runs):
    whole = stored(rows, first)
    with tempfile.TemporaryDirectory() as directory:
        kept = Archive(Path(directory))
        for end in [*sorted(runs), len(whole)]:
            kept.hold(whole[:end])
            kept.run()

        assert kept.read() == whole
        (report,) = verify(Path(directory))
        assert (report.records, report.problems, report.missing) == (len(whole), [], 0)


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=20))
def test_days_of_a_runs_files_rise_and_no_record_is_of_a_later_day(days):
    with tempfile.TemporaryDirectory() as directory:
        kept = Archive(Path(directory), log_of(records([NOON + day * DAY_MS for day in days])))
        kept.run()

        files = files_of(Path(directory), TOPIC, 0)
        assert [file.day for file in files] == sorted({file.day for file in files})
        for file in files:
            with file.path.open("rb") as stream:
                reader: Any = fastavro.reader(stream)
                found = [record["timestamp_ms"] // DAY_MS for record in reader]
            assert found[0] == max(found) == file.day


def test_midnight_begins_a_file_and_a_late_record_does_not(kept):
    midnight = 20_001 * DAY_MS
    kept.hold(records([midnight - 1, midnight, midnight - 1, midnight + 1]))

    kept.run()

    names = sorted(path.name for path in (kept.directory / TOPIC / "0").glob("*.avro"))
    assert names == [
        "2024-10-04-00000000000000000000.avro",
        "2024-10-05-00000000000000000001.avro",
    ]
    assert kept.read() == kept.log.topics[TOPIC, 0]


def test_a_file_is_read_by_any_avro_reader(kept):
    kept.hold([StoredRecord(7, NOON, b"key", b"\xc3\x01value"), StoredRecord(8, NOON, None, None)])
    kept.run()
    (file,) = files_of(kept.directory, TOPIC, 0)

    with file.path.open("rb") as stream:
        reader = fastavro.reader(stream)
        found = list(reader)

    assert reader.codec == "deflate"
    assert found == [
        {"offset": 7, "timestamp_ms": NOON, "key": b"key", "value": b"\xc3\x01value"},
        {"offset": 8, "timestamp_ms": NOON, "key": None, "value": None},
    ]
    assert {
        name.removeprefix("experiment_streams."): value
        for name, value in reader.metadata.items()
        if name.startswith("experiment_streams.")
    } == {
        "topic": TOPIC,
        "partition": "0",
        "first_offset": "7",
        "begin": "7",
        "missing": "0",
    }


def test_every_field_of_the_schema_is_documented():
    schema: Any = SCHEMA

    assert schema["doc"]
    assert all(field["doc"] for field in schema["fields"])


def test_a_run_without_news_writes_nothing(kept):
    kept.hold(records([NOON] * 3))
    kept.run()
    before = sorted(kept.directory.rglob("*"))

    (again,) = kept.run()

    assert (again.records, again.files, again.end) == (0, 0, 3)
    assert sorted(kept.directory.rglob("*")) == before


def test_a_run_that_is_interrupted_keeps_finished_files_and_no_others(kept, monkeypatch):
    kept.hold(records([NOON, NOON, NOON + DAY_MS, NOON + DAY_MS]))
    read = kept.log.read

    def interrupted(*place):
        yield from itertools.islice(read(*place), 1)  # three records
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kept.log, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kept.run()
    finished = kept.read()
    kept.run()

    assert finished == kept.log.topics[TOPIC, 0][:2]
    assert kept.read() == kept.log.topics[TOPIC, 0]
    assert not list(kept.directory.rglob("*.partial"))


CRASH = """
import os, sys
from pathlib import Path
from streams.ops.archive.archiving import archive
from streams.ops.archive.container import ContainerWriter
from tests.streams.ops.archive.conftest import TOPIC, log_of, records

original = ContainerWriter.seal

def seal(self):
    if self.file.first_offset == 2:
        self._writer.flush()
        self._stream.flush()
        os._exit(9)
    original(self)

ContainerWriter.seal = seal
day = 86_400_000
archive(log_of(records([0, 0, day, day])), Path(sys.argv[1]), [TOPIC])
"""


def test_what_a_run_that_died_left_is_never_read_and_removed_by_the_next(kept):
    died = subprocess.run([sys.executable, "-c", CRASH, kept.directory], check=False)
    assert died.returncode == 9
    (left,) = kept.directory.rglob("*.partial")
    kept.hold(records([0, 0, DAY_MS, DAY_MS]))
    before = kept.read()

    kept.run()

    assert before == kept.log.topics[TOPIC, 0][:2]
    assert not left.exists()
    assert kept.read() == kept.log.topics[TOPIC, 0]


def test_a_file_is_synced_before_it_has_its_name(kept, monkeypatch):
    seen = []
    rename = Path.rename

    def renamed(self, to):
        seen.append("rename")
        return rename(self, to)

    monkeypatch.setattr("os.fsync", lambda descriptor: seen.append("sync"))
    monkeypatch.setattr(Path, "rename", renamed)
    kept.hold(records([NOON]))

    kept.run()

    assert seen[-3:] == ["sync", "rename", "sync"]


def test_two_runs_exclude_each_other(kept):
    with owned(kept.directory), pytest.raises(ConfigurationError, match="another run") as refusal:
        kept.run()

    assert refusal.value.path == "--to"


def test_deleted_records_stop_the_run_before_it_writes(kept):
    kept.hold(records([NOON] * 3))
    kept.hold(records([NOON]), partition=1)
    kept.run()
    kept.hold(records([NOON] * 2, first=5))
    kept.hold(records([NOON] * 2), partition=1)
    before = sorted(kept.directory.rglob("*"))

    with pytest.raises(ArchiveError, match="2 of observations/0") as refusal:
        kept.run()

    assert (refusal.value.code, refusal.value.path) == ("ARCHIVE_GAP", "observations/0")
    assert sorted(kept.directory.rglob("*")) == before


def test_an_accepted_gap_is_written_down_and_reading_begins_behind_it(kept):
    kept.hold(records([NOON] * 3))
    kept.run()
    kept.hold(records([NOON] * 2, first=5))

    (accepted,) = kept.run(accept_gap=True)

    assert (accepted.records, accepted.missing) == (2, 2)
    assert kept.read() == kept.log.topics[TOPIC, 0]
    (report,) = verify(kept.directory)
    assert (report.records, report.missing, report.problems) == (5, 2, [])


@pytest.mark.parametrize("other", [[], [NOON] * 2, [NOON + 1] * 9], ids=["empty", "short", "other"])
def test_a_log_without_the_last_archived_record_is_refused(kept, other):
    kept.hold(records([NOON] * 4))
    kept.run()
    kept.hold(records(other))

    with pytest.raises(ArchiveError) as refusal:
        kept.run(accept_gap=True)

    assert refusal.value.code == "ARCHIVE_MISMATCH"
    assert len(kept.read()) == 4


def test_a_log_whose_archived_records_are_all_deleted_goes_on(kept):
    kept.hold(records([NOON] * 3))
    kept.run()
    kept.hold(records([NOON] * 2, first=3))

    kept.run()

    assert [record.offset for record in kept.read()] == [0, 1, 2, 3, 4]


def test_a_disk_that_takes_no_more_leaves_the_archive_as_it_was(kept, monkeypatch):
    def full(self):
        raise OSError(28, "No space left on device", str(self.file.partial))

    kept.hold(records([NOON]))
    kept.run()
    kept.hold(records([NOON] * 3))
    monkeypatch.setattr(ContainerWriter, "seal", full)

    with pytest.raises(DependencyError, match="No space left") as failure:
        archive(kept.log, kept.directory, [TOPIC])

    assert failure.value.dependency == "disk"
    assert len(kept.read()) == 1
