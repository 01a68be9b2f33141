"""A file is there with all of its bytes on the disk, or as it was before."""

from __future__ import annotations

import os
import stat

import pytest

from streams.process.durable_files import write_durably


def test_a_file_has_its_bytes_and_its_mode_and_nothing_is_beside_it(tmp_path):
    path = tmp_path / "file"
    for content in (b"first", b"the second"):
        write_durably(path, content, 0o600)

        assert path.read_bytes() == content
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("before", [None, b"before"])
def test_a_disk_that_does_not_take_it_leaves_what_was_there(tmp_path, monkeypatch, before):
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, b"after", 0o600)

    assert [each.read_bytes() for each in tmp_path.iterdir()] == (
        [] if before is None else [before]
    )


def test_its_bytes_are_on_the_disk_before_its_name_is_there_and_the_name_before_the_return(
    tmp_path, monkeypatch
):
    path, seen = tmp_path / "file", []
    sync = os.fsync

    def synced(descriptor: int) -> None:
        sync(descriptor)
        seen.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))

    monkeypatch.setattr(os, "fsync", synced)
    write_durably(path, b"content", 0o600)

    assert seen == [(False, False), (True, True)]
