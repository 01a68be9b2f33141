"""Files that arguments name: a file that cannot be read is one line, by any command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from streams.cli.input_files import MAX_BYTES, MAX_LINE_BYTES, read_text
from streams.model.errors import InputError

COMMANDS: Sequence[Sequence[str]] = (
    ("create", "{file}"),
    ("edit", "exp_1", "{file}"),
    ("variant", "add", "exp_1", "C", "--config", "@{file}"),
    ("observe", "{file}"),
    ("webhooks", "create", "https://receiver.example/x", "--secret-file", "{file}"),
    ("webhooks", "update", "wh_aaaaaaaaaaaaaaaaaaaaaaaaaa", "--secret-file", "{file}"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_a_file_that_cannot_be_read_is_named(api, tmp_path: Path, command: Sequence[str]):
    for file in (tmp_path / "missing", tmp_path):
        done = api.run(*(word.format(file=file) for word in command))

        assert done.exit_code == 1, done.output
        assert done.stderr.startswith(f"experiment: UNREADABLE_FILE at {file}: ")
        assert done.stderr.count("\n") == 1
    assert api.requests == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_a_file_without_an_end_is_refused(api, command: Sequence[str]):
    done = api.run(*(word.format(file="/dev/zero") for word in command))

    assert done.exit_code == 1, done.output
    assert " at /dev/zero: " in done.stderr
    assert " bytes" in done.stderr
    assert done.stderr.count("\n") == 1
    assert api.requests == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_a_file_that_is_larger_than_what_it_can_hold_is_refused(
    api, tmp_path: Path, command: Sequence[str]
):
    file = tmp_path / "large"
    file.write_bytes(b"x" * (MAX_BYTES + 1))

    done = api.run(*(word.format(file=file) for word in command))

    assert done.exit_code == 1, done.output
    assert api.requests == []


def test_lines_are_read_as_they_come_and_before_a_bad_one_are_posted(api, tmp_path: Path):
    api.answers["POST /exposures"] = (202, {"accepted": 3})
    file = tmp_path / "lines"
    file.write_bytes(b"A1\nA2\n\nA3\n" + b"x" * (MAX_LINE_BYTES + 1))

    done = api.run("expose", "--file", str(file))

    assert done.exit_code == 1
    assert [len(members) for _, members in api.requests] == [3]
    assert done.stderr.splitlines() == [
        "3 taken, 0 refused",
        f"experiment: LINE_TOO_LONG at {file}: line 5 has more than {MAX_LINE_BYTES:,} bytes",
    ]


def test_a_list_of_any_size_is_posted(api, tmp_path: Path):
    """The file is longer than one that is read whole."""
    api.answers["POST /exposures"] = (202, {"accepted": 100})
    line = b" " * (MAX_LINE_BYTES - 3) + b"A1\n"
    file = tmp_path / "lines"
    file.write_bytes(line * 5)
    assert file.stat().st_size > MAX_BYTES

    done = api.run("expose", "--file", str(file))

    assert (done.exit_code, done.stdout) == (0, "5 taken, 0 refused\n")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"caf\xe9"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes):
    file = tmp_path / "file"
    file.write_bytes(content)

    with pytest.raises(InputError, match="UNREADABLE_FILE"):
        read_text(file)


@pytest.mark.parametrize("command", [("conclude",), ("assign",), ("dead-letters", "show")])
def test_an_argument_that_is_no_text_is_refused(api, command: Sequence[str]):
    done = api.run(*command, "\udcff")

    assert done.exit_code == 2
    assert r"'\udcff' is not UTF-8" in done.stderr
    assert api.requests == []
