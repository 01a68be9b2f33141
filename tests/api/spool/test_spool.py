"""The spool: what was appended comes out again, whatever happened to the process in between."""

from __future__ import annotations

import errno
import os
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.spool.entries import SpoolRecord
from api.spool.spool import DamagedRecordError, Spool, SpoolFullError
from streams.model.errors import ConfigurationError

records = st.lists(
    st.builds(
        SpoolRecord, st.integers(0, 255), st.integers(0, 65_535), st.binary(min_size=1, max_size=99)
    ),
    max_size=30,
)
MIB = 2**20


@given(batches=st.lists(records, max_size=6))
def test_records_come_out_as_they_went_in(tmp_path_factory, batches) -> None:
    root = tmp_path_factory.mktemp("spool")
    with Spool(root, "a", MIB) as spool:
        for batch in batches:
            positions = spool.append(batch)
            assert [spool.read(position) for position in positions] == batch

        assert [record for _, record in spool.records_from(spool.start)] == list(chain(*batches))


@given(batch=records, cut=st.integers(0, 4_000))
def test_what_a_killed_process_left_is_found_up_to_where_it_was_cut(
    tmp_path_factory, batch, cut: int
) -> None:
    root = tmp_path_factory.mktemp("spool")
    dead = Spool(root, "dead", MIB)
    dead.append(batch)
    [file] = (root / "dead").glob("*.segment")
    ends, end = [], 0
    for record in batch:
        end += 11 + len(record.payload)
        ends.append(end)
    os.truncate(file, min(cut, end))
    kill(dead)

    with Spool(root, "living", MIB) as spool:
        found = [record for _, record in spool.records_from(spool.start)]

    assert found == [record for record, end in zip(batch, ends, strict=True) if end <= cut]


@pytest.mark.parametrize("at", [0, 3, 5, 8, 11, 14], ids=str)
def test_a_damaged_entry_is_passed_by_and_its_file_is_kept(tmp_path: Path, at: int) -> None:
    """Whichever of its bytes: of the length, the checksum, the address or the payload."""
    dead = Spool(tmp_path, "dead", MIB)
    good = [SpoolRecord(0, 0, b"first"), SpoolRecord(1, 2, b"later"), SpoolRecord(0, 1, b"last")]
    dead.append([good[0], SpoolRecord(0, 0, b"damaged"), *good[1:]])
    [file] = (tmp_path / "dead").glob("*.segment")
    content = bytearray(file.read_bytes())
    content[16 + at] ^= 0x55
    file.write_bytes(content)
    kill(dead)

    with Spool(tmp_path, "living", MIB) as spool:
        assert [record for _, record in spool.records_from(spool.start)] == good
        assert spool.quarantined == 1

    assert [path.name for path in (tmp_path / "dead").glob("*.damaged")] == [
        "000000000001.segment.damaged"
    ]


@given(
    batch=st.lists(
        st.builds(
            SpoolRecord, st.integers(0, 1), st.integers(0, 9), st.binary(min_size=1, max_size=60)
        ),
        min_size=1,
        max_size=8,
    ),
    data=st.data(),
)
def test_any_damage_to_one_entry_loses_that_entry_alone(tmp_path_factory, batch, data) -> None:
    root = tmp_path_factory.mktemp("spool")
    dead = Spool(root, "dead", MIB)
    positions = dead.append(batch)
    index = data.draw(st.integers(0, len(batch) - 1))
    start = positions[index].offset
    end = positions[index + 1].offset if index + 1 < len(batch) else dead.size_bytes
    [file] = (root / "dead").glob("*.segment")
    content = bytearray(file.read_bytes())
    noise = data.draw(st.binary(min_size=end - start, max_size=end - start))
    changed = bytes(content[start:end]) != noise
    content[start:end] = noise
    file.write_bytes(content)
    kill(dead)

    with Spool(root, "living", MIB) as spool:
        found = [record for _, record in spool.records_from(spool.start)]

    expected = batch if not changed else batch[:index] + batch[index + 1 :]
    assert found == expected


def test_a_file_that_is_gone_or_cut_is_an_error_of_its_records_alone(tmp_path: Path) -> None:
    with Spool(tmp_path, "a", MIB) as spool:
        position, later = spool.append([SpoolRecord(0, 0, b"x" * 50), SpoolRecord(0, 0, b"y")])
        os.truncate(position.segment.path, 20)
        for each in (position, later):
            with pytest.raises(DamagedRecordError):
                spool.read(each)
        position.segment.path.unlink()
        with pytest.raises(DamagedRecordError):
            spool.read(position)
        assert list(spool.records_from(spool.start)) == []
        assert spool.quarantined == 1


def test_the_directory_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    with Spool(tmp_path, "one", MIB) as one:
        one.append([SpoolRecord(0, 0, b"mine")])
        with Spool(tmp_path, "two", MIB) as two:
            assert list(two.records_from(two.start)) == []
        assert [record.payload for _, record in one.records_from(one.start)] == [b"mine"]


def test_what_is_acknowledged_is_deleted_and_an_empty_directory_disappears(tmp_path: Path) -> None:
    with Spool(tmp_path, "a", MIB) as spool:
        big = SpoolRecord(0, 0, bytes(MIB // 16))
        first = spool.append([big])[0].segment
        assert spool.end.segment is not first
        first.is_handed_out = True
        spool.trim(first)
        assert not first.path.exists()
        spool.append([SpoolRecord(0, 0, b"small")])
        spool.empty_active()
        assert spool.size_bytes == 0

    assert list(tmp_path.iterdir()) == []


def test_what_is_not_acknowledged_stays(tmp_path: Path) -> None:
    with Spool(tmp_path, "a", MIB) as spool:
        [position] = spool.append([SpoolRecord(0, 0, bytes(MIB // 16))])
        position.segment.unacknowledged += 1
        position.segment.is_handed_out = True
        spool.trim(position.segment)
    with Spool(tmp_path, "b", MIB) as spool:
        assert len(list(spool.records_from(spool.start))) == 1


def test_a_full_spool_takes_all_of_a_flush_or_nothing(tmp_path: Path) -> None:
    with Spool(tmp_path, "a", 100) as spool:
        spool.append([SpoolRecord(0, 0, bytes(40))])
        with pytest.raises(SpoolFullError) as caught:
            spool.append([SpoolRecord(0, 0, b"fits"), SpoolRecord(0, 0, bytes(60))])

        assert (caught.value.code, spool.size_bytes) == ("SPOOL_FULL", 51)
        assert len(list(spool.records_from(spool.start))) == 1


def test_a_full_disk_leaves_no_half_entry(tmp_path: Path, monkeypatch) -> None:
    write = os.write

    def half_then_full(file: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[: len(data) // 2])

    with Spool(tmp_path, "a", MIB) as spool:
        spool.append([SpoolRecord(0, 0, b"before")])
        monkeypatch.setattr(os, "write", half_then_full)
        with pytest.raises(SpoolFullError):
            spool.append([SpoolRecord(0, 0, bytes(150))])
        monkeypatch.setattr(os, "write", write)
        spool.append([SpoolRecord(0, 0, b"after")])

        found = [record.payload for _, record in spool.records_from(spool.start)]
    assert found == [b"before", b"after"]


def test_a_spool_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")

    with pytest.raises(ConfigurationError):
        Spool(tmp_path / "file", "a", MIB)


def kill(spool: Spool) -> None:
    """Let go of the locks, as the kernel does when a process dies, and of nothing else."""
    for _, lock in spool._locks:
        os.close(lock)
    os.close(spool._file)
