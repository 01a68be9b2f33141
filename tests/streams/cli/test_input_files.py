"""Files that arguments name: a file that cannot be read is one line, by any command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from streams.cli.input_files import read_text
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
