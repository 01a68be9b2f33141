"""`experiment archive verify`: what it prints, and how it ends."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from streams.cli.main import app
from streams.ops.archive.archiving import archive
from tests.streams.cli.conftest import EXPERIMENT_ID
from tests.streams.ops.archive.conftest import TOPIC, log_of, records


def invoke(*arguments):
    return CliRunner().invoke(app, ["archive", *map(str, arguments)])


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "archive"
    archive(log_of(records([0, 2**62, 0])), made, [TOPIC])
    return made


def test_a_whole_archive_is_a_table_and_exits_0(directory):
    result = invoke("verify", directory)

    assert result.exit_code == 0, result.output
    assert "1970-01-01 00:00:00" in result.stdout
    assert str(2**62) in result.stdout  # no calendar has it


def test_a_broken_archive_exits_1_and_names_the_file(directory):
    file = min(directory.rglob("*.avro"))
    file.write_bytes(b"")

    result = invoke("verify", directory, "--json")

    assert result.exit_code == 1
    assert "ARCHIVE_BROKEN" in result.stderr
    (report,) = json.loads(result.stdout)
    assert [problem["path"] for problem in report["problems"]] == [str(file)]


def test_what_is_no_archive_exits_2(tmp_path):
    assert invoke("verify", tmp_path / "nothing").exit_code == 2
    assert "holds no archive" in invoke("verify", tmp_path).stderr


def test_a_compacted_topic_cannot_be_archived(tmp_path):
    assert invoke("run", "--to", tmp_path, "--topic", "tallies").exit_code == 2


@pytest.mark.parametrize(
    "arguments", [[EXPERIMENT_ID, "--api-key", "key"], ["--api-key", "key", EXPERIMENT_ID]]
)
def test_an_experiment_is_archived_by_its_id_as_ever(api, arguments):
    api.answers[f"POST /experiments/{EXPERIMENT_ID}/archive"] = (404, {})

    api.run("archive", *arguments)

    assert [line for line, _ in api.requests] == [f"POST /experiments/{EXPERIMENT_ID}/archive"]


def test_help_shows_both_meanings():
    shown = invoke("--help").stdout

    assert all(word in shown for word in ("run", "verify", "ID"))
