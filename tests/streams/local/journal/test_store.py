"""A journal: every record once and in order; all or nothing of a call, whatever ends it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.local.journal.store import FORMAT, Journal, JournalError, JournalRecord
from streams.model.errors import ConfigurationError
from tests.patience import PATIENCE_S

TOPICS = ("commands", "observations")
TOPIC = ("commands", 0)


def record(offset: int, topic: str = "commands", partition: int = 0) -> JournalRecord:
    return JournalRecord(topic, partition, offset, 1_000 + offset, b"key", b"value %d" % offset)


def test_records_come_back_as_they_were_and_in_their_order(tmp_path):
    records = [
        JournalRecord("commands", 3, 0, 5, None, b"\x00\xff"),
        JournalRecord("observations", 0, 0, 2**41, b"", None),
        JournalRecord("commands", 3, 1, 4, b"k", b"", (("from", b"\xff"), ("none", None))),
    ]
    with Journal(tmp_path / "j") as journal:
        journal.append(records, {"workers": {("commands", 3): 1}})
    with Journal(tmp_path / "j") as journal:
        assert [*journal.records()] == records
        assert journal.ends == {("commands", 3): 2, ("observations", 0): 1}
        assert journal.positions == {"workers": {("commands", 3): 1}}
        assert journal.n_records == 3
    assert (tmp_path / "j").stat().st_mode & 0o077 == 0


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(TOPICS), st.integers(0, 1), st.integers(0, 6)), max_size=6
        ),
        max_size=6,
    )
)
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_record_that_comes_again_is_kept_once(tmp_path, batches):
    """A reader that starts again reads what it had read: offsets only grow within a partition."""
    path = tmp_path / f"j{len(list(tmp_path.iterdir()))}"
    expected: list[JournalRecord] = []
    ends: dict[tuple[str, int], int] = {}
    for batch in batches:
        found = [record(offset, topic, partition) for topic, partition, offset in batch]
        with Journal(path) as journal:
            journal.append(found)
        for each in found:
            if each.offset >= ends.get(each[:2], 0):
                expected.append(each)
                ends[each[:2]] = each.offset + 1
    with Journal(path) as journal:
        assert [*journal.records()] == expected
        assert journal.ends == ends


KILLED = """
import os, signal, sys
from pathlib import Path
from streams.local.journal.store import Journal, JournalRecord
with Journal(Path(sys.argv[1])) as journal:
    for batch in range(1_000_000):
        offsets = range(3 * batch, 3 * batch + 3)
        journal.append([JournalRecord("commands", 0, each, 0, None, b"x" * 99) for each in offsets])
        print(batch, flush=True)
"""


def test_what_was_appended_is_there_after_sigkill_and_no_call_is_there_in_part(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "j")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(20):
        appended = int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    child.wait(timeout=PATIENCE_S)
    appended = max([appended, *map(int, child.stdout.read().split())])
    with Journal(tmp_path / "j") as journal:
        kept = [each.offset for each in journal.records()]
        assert kept == [*range(len(kept))]
        assert len(kept) % 3 == 0
        assert len(kept) >= 3 * (appended + 1)
        assert journal.ends == {("commands", 0): len(kept)}


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7, 0.999])
def test_a_write_ahead_file_that_was_cut_off_leaves_whole_calls(tmp_path, kept):
    """After a power loss the last pages may be missing: then what was before them is there."""
    path = tmp_path / "j"
    journal = Journal(path)
    for batch in range(5):
        journal.append([record(3 * batch + index) for index in range(3)])
    ahead = path.with_name("j-wal").read_bytes()
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    copy.with_name("copy-wal").write_bytes(ahead[: int(kept * len(ahead))])
    journal.close()
    with Journal(copy) as after:
        offsets = [each.offset for each in after.records()]
        assert offsets == [*range(len(offsets))]
        assert len(offsets) % 3 == 0
        assert after.ends.get(("commands", 0), 0) == len(offsets)


def test_a_failed_call_leaves_nothing_and_the_next_one_succeeds(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.append([record(0)])
        journal._connection.execute("PRAGMA max_page_count = 12")  # as a full disk does
        with pytest.raises(JournalError, match="full") as caught:
            journal.append([record(1), record(2)._replace(value=b"x" * 100_000)], {"a": {TOPIC: 2}})
        assert caught.value.code == "JOURNAL_UNWRITABLE"
        assert journal.ends == {TOPIC: 1}
        assert journal.positions == {}
        journal._connection.execute("PRAGMA max_page_count = 1000000")
        journal.append([record(1), record(2)])
        assert journal.n_records == 3


def test_a_file_of_a_newer_release_is_not_opened(tmp_path):
    Journal(tmp_path / "j").close()
    connection = sqlite3.connect(tmp_path / "j")
    connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()
    with pytest.raises(ConfigurationError, match="newer release"):
        Journal(tmp_path / "j")


def test_the_number_of_partitions_is_kept(tmp_path):
    with Journal(tmp_path / "j") as journal:
        assert journal.partitions is None
        journal.keep_partitions(4)
        journal.keep_partitions(2)
    with Journal(tmp_path / "j") as journal:
        assert journal.partitions == 2


def test_a_file_of_format_2_is_changed_to_this_one_and_keeps_its_records(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.append([record(0)], {"a": {TOPIC: 1}})
    connection = sqlite3.connect(tmp_path / "j", isolation_level=None)
    connection.execute("DROP TABLE log")
    connection.execute("PRAGMA user_version = 2")
    connection.close()

    for _ in range(2):
        with Journal(tmp_path / "j") as journal:
            assert journal.partitions is None
            assert [*journal.records()] == [record(0)]
            assert journal.positions == {"a": {TOPIC: 1}}
    with Journal(tmp_path / "j") as journal:
        journal.keep_partitions(4)
        assert journal.partitions == 4


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append([record(offset)._replace(value=b"v" * 900) for offset in range(200)])
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size // 3))
    with pytest.raises(JournalError, match=str(path)) as caught, Journal(path) as journal:
        [*journal.records()]
    assert caught.value.code == "JOURNAL_UNREADABLE"
    path.write_text("no journal at all, but a note from another program\n" * 30)
    with pytest.raises(JournalError, match="not a database"):
        Journal(path)


def test_a_directory_that_is_not_there_is_an_error_of_the_journal(tmp_path):
    with pytest.raises(JournalError) as caught:
        Journal(Path(tmp_path / "none" / "j"))
    assert caught.value.code == "JOURNAL_UNREADABLE"


def test_offsets_move_as_a_whole(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.append([record(0), record(5)], {"a": {TOPIC: 6}, "b": {TOPIC: 1}})
        journal.move({TOPIC: 2}, {"b": {TOPIC: 1}})
        assert (journal.ends, journal.positions) == ({TOPIC: 2}, {"b": {TOPIC: 1}})
        journal.append([record(2)])
        assert [each.offset for each in journal.records()] == [0, 5, 2]
