"""An archive as a replay reads it, and what `verify` finds in a damaged one."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalogue import DAY_MS
from streams.kafka.records import LogError, OffsetRange
from streams.ops.archive import container
from streams.ops.archive.errors import ArchiveError
from streams.ops.archive.joined import JoinedSource
from streams.ops.archive.layout import files_of
from streams.ops.archive.source import ArchiveSource
from streams.ops.archive.verification import verify
from tests.streams.ops.archive.conftest import TOPIC, Archive, log_of, records

N = 100


@pytest.fixture
def source(kept, monkeypatch):
    """Ten files of ten records, offsets 50 to 149, in blocks of a few."""
    monkeypatch.setattr(container, "BLOCK_BYTES", 20)
    days = [index // 10 * DAY_MS for index in range(N)]
    kept.hold(records(days, first=50))
    kept.hold([], partition=3)
    kept.run()
    return ArchiveSource(kept.directory)


def offsets(source, begin, end):
    return [record.offset for piece in source.read(TOPIC, 0, begin, end) for record in piece]


def files(source):
    return [file.path for file in files_of(source.directory, TOPIC, 0)]


def problems(source):
    (report,) = verify(source.directory)
    return [(problem.path, problem.message) for problem in report.problems]


def test_spans_are_those_of_every_partition(source):
    assert source.spans(TOPIC) == {0: OffsetRange(50, 150), 3: OffsetRange(0, 0)}
    assert source.spans("commands") == {}


@pytest.mark.parametrize(
    ("begin", "end"), [(50, 150), (59, 61), (60, 70), (99, 100), (70, 70), (149, 150)]
)
def test_any_part_is_read_exactly(source, begin, end):
    assert offsets(source, begin, end) == list(range(begin, end))


def test_a_file_that_is_gone_is_not_passed_by(source):
    files(source)[4].unlink()

    with pytest.raises(LogError, match="from offset 90 to 100"):
        offsets(source, 50, 150)
    assert problems(source) == [(str(files(source)[4]), "it begins at offset 100, must be 90")]


def test_a_file_cut_off_or_overwritten_is_named(source):
    _, cut, noise, *_ = files(source)
    cut.write_bytes(cut.read_bytes()[:-30])
    noise.write_bytes(b"Obj\x01 and noise")

    with pytest.raises(ArchiveError) as refusal:
        offsets(source, 50, 150)

    assert (refusal.value.code, refusal.value.path) == ("ARCHIVE_UNREADABLE", str(cut))
    assert [path for path, _ in problems(source)] == [str(cut), str(noise)]


def test_a_file_under_another_name_is_named(source):
    first = files(source)[0]
    other = first.with_name("1970-01-01-00000000000000000007.avro")
    first.rename(other)

    assert problems(source) == [(str(other), "it is of observations/0 from offset 50 on")]


def test_verify_counts_what_is_there(source):
    (report,) = verify(source.directory)

    assert (report.partitions, report.files, report.records) == (2, 10, N)
    assert report.bytes == sum(path.stat().st_size for path in files(source))
    assert (report.first_at_ms, report.last_at_ms) == (0, 9 * DAY_MS)


@given(st.data())
def test_any_changed_bit_is_found(data):
    with tempfile.TemporaryDirectory() as directory:
        kept = Archive(Path(directory), log_of(records(range(50))))
        kept.run()
        (file,) = files_of(Path(directory), TOPIC, 0)
        whole = bytearray(file.path.read_bytes())
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        file.path.write_bytes(whole)

        (report,) = verify(Path(directory))

        assert [problem.path for problem in report.problems] == [str(file.path)]


def test_checksums_are_read_by_the_usual_program(source):
    directory = source.directory / TOPIC / "0"

    checked = subprocess.run(
        ["sha256sum", "--check", *sorted(path.name for path in directory.glob("*.sha256"))],
        cwd=directory,
        capture_output=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr


@given(
    size=st.integers(1, 30),
    archived=st.integers(0, 30),
    deleted=st.integers(0, 30),
    data=st.data(),
)
def test_an_archive_and_its_kafka_are_one_log(size, archived, deleted, data):
    whole = records(range(size))
    archived, deleted = min(archived, size), min(deleted, archived, size)
    with tempfile.TemporaryDirectory() as directory:
        Archive(Path(directory), log_of(whole[:archived])).run()
        kafka = log_of(whole[deleted:] or whole[-1:])
        joined = JoinedSource(ArchiveSource(Path(directory)), kafka)
        begin = data.draw(st.integers(0, size))
        end = data.draw(st.integers(begin, size))

        read = [each for piece in joined.read(TOPIC, 0, begin, end) for each in piece]

        assert read == whole[begin:end]
        assert joined.spans(TOPIC)[0] == OffsetRange(0, size)
