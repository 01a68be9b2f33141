"""A journal that the disk has damaged says so, or is read as it was written; never otherwise."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.local.journal.store import Journal, JournalError, JournalRecord
from streams.local.journal.write_ahead import damaged_at, write_ahead_of

SECTOR = 512
STEP = 5_171
"""Bytes between damages of a write-ahead file: a prime, so that every part of a page has some."""

N_CALLS = 12
POSITIONS = {"workers": {("observations", 0): 7, ("commands", 1): 2}}

Damage = Callable[[bytearray, int], None]


def zeros(content: bytearray, at: int) -> None:
    content[at : at + SECTOR] = bytes(len(content[at : at + SECTOR]))


def noise(content: bytearray, at: int) -> None:
    content[at : at + 64] = random.Random(at).randbytes(len(content[at : at + 64]))


def one_bit(content: bytearray, at: int) -> None:
    content[at] ^= 1 << (at % 8)


def record(number: int) -> JournalRecord:
    """A record; every sixth is longer than a page."""
    size = 9_000 if number % 6 == 0 else 150
    value = random.Random(number).randbytes(size)
    return JournalRecord("observations", number % 2, number, 1_000, b"u%d" % number, value)


def calls() -> list[list[JournalRecord]]:
    return [[record(3 * call + index) for index in range(3)] for call in range(N_CALLS)]


def written(path: Path) -> tuple[bytes, bytes]:
    """Return the file and the write-ahead file of a journal whose process was killed."""
    journal = Journal(path)
    journal.keep_partitions(2)
    for call in calls():
        journal.append(call, POSITIONS)
    found = path.read_bytes(), write_ahead_of(path).read_bytes()
    journal.close()
    return found


def found_in(path: Path) -> tuple[list[JournalRecord], object, object, object]:
    with Journal(path) as journal:
        return [*journal.records()], journal.ends, journal.positions, journal.partitions


def found_or_error(path: Path) -> object:
    try:
        return found_in(path)
    except JournalError as error:
        return error


@pytest.mark.parametrize("damage", [zeros, noise, one_bit])
def test_a_damaged_file_is_named_or_read_as_it_was_written(tmp_path, damage: Damage):
    path = tmp_path / "j"
    written(path)
    assert not write_ahead_of(path).exists()
    original, expected = path.read_bytes(), found_in(path)
    n_named = 0
    for at in range(0, len(original), SECTOR):
        content = bytearray(original)
        damage(content, at)
        path.write_bytes(content)
        found = found_or_error(path)
        if isinstance(found, JournalError):
            assert found.code == "JOURNAL_UNREADABLE", at
            assert str(path) in str(found)
            n_named += 1
        else:
            assert found == expected, at
        for left in (write_ahead_of(path), path.with_name("j-shm")):
            left.unlink(missing_ok=True)
    assert n_named > len(original) / SECTOR / 4  # SQLite alone finds fewer than one in five


def test_a_file_that_lost_its_end_is_named(tmp_path):
    path = tmp_path / "j"
    written(path)
    os.truncate(path, path.stat().st_size - 4096)
    with pytest.raises(JournalError) as caught:
        found_in(path)
    assert caught.value.code == "JOURNAL_UNREADABLE"


@pytest.mark.parametrize("damage", [zeros, noise, one_bit])
def test_transactions_behind_damage_of_the_write_ahead_file_are_not_given_up_silently(
    tmp_path, damage: Damage
):
    """SQLite would end at the damage, and delete what is behind it."""
    content, ahead = written(tmp_path / "j")
    ends = ends_of_transactions(ahead)
    path = tmp_path / "copy"
    for at in range(0, ends[-3], STEP):
        damaged = bytearray(ahead)
        damage(damaged, at)
        if damaged == ahead:  # there were zeros before
            continue
        path.write_bytes(content)
        write_ahead_of(path).write_bytes(damaged)
        with pytest.raises(JournalError, match="copy-wal is damaged at byte") as caught:
            found_in(path)
        assert caught.value.code == "JOURNAL_UNREADABLE"
        assert write_ahead_of(path).read_bytes() == damaged  # to be looked at
        place = damaged_at(write_ahead_of(path))
        assert place is not None
        assert f"truncate --size={place} {write_ahead_of(path)}" in str(caught.value)
        os.truncate(write_ahead_of(path), place)
        if place > ends[1]:  # else the tables were not there yet
            kept, *_ = found_in(path)
            expected = [each for call in calls() for each in call]
            assert kept == expected[: len(kept)]
            assert len(kept) % 3 == 0


def test_a_write_ahead_file_that_was_cut_off_anywhere_or_ends_in_zeros_leaves_whole_calls(tmp_path):
    content, ahead = written(tmp_path / "j")
    expected = [each for call in calls() for each in call]
    path = tmp_path / "copy"
    for size in range(0, len(ahead), 2 * STEP):
        for tail in (b"", bytes(len(ahead) - size)):
            path.write_bytes(content)
            write_ahead_of(path).write_bytes(ahead[:size] + tail)
            kept, *_ = found_in(path)
            assert kept == expected[: len(kept)]
            assert len(kept) % 3 == 0


def test_a_transaction_of_which_pages_are_missing_is_the_last_one(tmp_path):
    """A power loss writes the pages of what was not synced in any order."""
    content, ahead = written(tmp_path / "j")
    [*_, before, last] = ends_of_transactions(ahead)
    path = tmp_path / "copy"
    for at in range(before, last, SECTOR):
        torn = bytearray(ahead)
        zeros(torn, at)
        if torn == ahead:  # there were zeros before
            continue
        path.write_bytes(content)
        write_ahead_of(path).write_bytes(torn)
        kept, *_ = found_in(path)
        assert len(kept) == 3 * (N_CALLS - 1)


def test_frames_from_before_the_write_ahead_file_began_anew_are_no_damage(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path)
    for call in calls():
        journal.append(call)
    journal._connection.execute("PRAGMA wal_checkpoint(RESTART)")
    journal.append([record(3 * N_CALLS)])
    assert damaged_at(write_ahead_of(path)) is None
    assert len(ends_of_transactions(write_ahead_of(path).read_bytes())) > 2
    journal.close()


def test_without_a_write_ahead_file_nothing_is_damaged(tmp_path):
    assert damaged_at(tmp_path / "none") is None
    for content in (b"", b"\x37", bytes(20_000)):
        (tmp_path / "wal").write_bytes(content)
        assert damaged_at(tmp_path / "wal") is None


def test_a_file_of_the_first_version_is_read_and_has_checksums_afterwards(tmp_path):
    path = tmp_path / "j"
    connection = sqlite3.connect(path)
    connection.executescript("""
        CREATE TABLE records (topic TEXT NOT NULL, partition INTEGER NOT NULL,
            offset INTEGER NOT NULL, timestamp INTEGER NOT NULL, key BLOB, value BLOB,
            headers BLOB);
        CREATE TABLE ends (topic TEXT NOT NULL, partition INTEGER NOT NULL,
            offset INTEGER NOT NULL, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
        CREATE TABLE positions (reader TEXT NOT NULL, topic TEXT NOT NULL,
            partition INTEGER NOT NULL, offset INTEGER NOT NULL,
            PRIMARY KEY (reader, topic, partition)) WITHOUT ROWID;
        INSERT INTO records VALUES ('commands', 1, 4, 99, x'6b', NULL, '[["from","ff"]]');
        INSERT INTO ends VALUES ('commands', 1, 5);
        INSERT INTO positions VALUES ('workers', 'commands', 1, 3);
        PRAGMA user_version = 1;
    """)
    connection.close()
    kept = JournalRecord("commands", 1, 4, 99, b"k", None, (("from", b"\xff"),))
    added = JournalRecord("commands", 1, 5, 100, None, b"v")
    with Journal(path) as journal:
        journal.append([added], {"workers": {("commands", 1): 5}})
    for _ in range(2):
        assert found_in(path) == (
            [kept, added],
            {("commands", 1): 6},
            {"workers": {("commands", 1): 5}},
            None,
        )


def ends_of_transactions(ahead: bytes) -> list[int]:
    """Return where transactions end in a write-ahead file, by the format's description."""
    size = 24 + int.from_bytes(ahead[8:12])
    places = range(32, len(ahead), size)
    return [at + size for at in places if int.from_bytes(ahead[at + 4 : at + 8])]
