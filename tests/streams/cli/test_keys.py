"""`experiment keys` makes the file that the API reads, and the secrets that compose asks for."""

from __future__ import annotations

import os
import re
import stat
from base64 import urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.auth import api_key_auth
from streams.api_keys import Scope, add_key, read_keys
from streams.cli.keys import cluster_id
from streams.cli.main import app
from streams.model.errors import ConfigurationError
from tests.documents import ROOT


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    return result.exit_code, result.stdout


def test_a_key_that_was_added_is_admitted_with_its_scopes(tmp_path):
    file = tmp_path / "keys.json"
    code, first = run("keys", "add", "ads", "assign", "observe", "--file", file)
    _, second = run("keys", "add", "ops", "read", "--file", file)
    auth = api_key_auth("0.0.0.0", file)

    assert code == 0
    assert auth.check([(b"x-api-key", first.strip().encode())], Scope.OBSERVE) == "ads"
    assert auth.check([(b"x-api-key", second.strip().encode())], Scope.READ) == "ops"
    assert first.strip() not in file.read_text()


def test_a_file_is_extended_in_place_since_a_container_may_have_mounted_it(tmp_path):
    file = tmp_path / "keys.json"
    add_key(file, "ads", [Scope.ASSIGN])
    file.chmod(0o640)
    before = file.stat()
    add_key(file, "ops", [Scope.READ])

    assert (file.stat().st_ino, file.stat().st_mode) == (before.st_ino, before.st_mode)


def test_another_user_may_read_a_new_file(tmp_path):
    umask = os.umask(0o022)
    try:
        add_key(tmp_path / "keys.json", "ads", [Scope.ASSIGN])
    finally:
        os.umask(umask)

    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o644


def test_keys_added_at_the_same_time_are_all_kept(tmp_path):
    file = tmp_path / "keys.json"
    names = [f"caller-{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: add_key(file, name, [Scope.READ]), names))

    assert sorted(key.name for key in read_keys(file)) == sorted(names)


@pytest.mark.parametrize("content", ["{", "[]", '{"keys": []}', '{"keys": [{"name": "a"}]}'])
def test_a_file_of_something_else_stays_as_it_is(tmp_path, content):
    file = tmp_path / "keys.json"
    file.write_text(content)

    with pytest.raises(ConfigurationError, match=r"keys\.json"):
        add_key(file, "ads", [Scope.ASSIGN])
    assert file.read_text() == content


def test_a_file_that_may_not_be_read_names_the_user_and_both_remedies(tmp_path, monkeypatch):
    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 10001)

    with pytest.raises(ConfigurationError) as caught:
        read_keys(tmp_path / "keys.json")
    for part in ("user id 10001", "chown 10001", "chmod a+r"):
        assert part in str(caught.value)


def test_the_secrets_are_those_that_compose_asks_for():
    _, output = run("keys", "env")
    given = dict(line.split("=", 1) for line in output.splitlines())
    compose = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / ".env.example").read_text()

    assert set(given) == set(re.findall(r"\$\{([A-Z_]+):\?", compose))
    assert set(given) == set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))
    assert run("keys", "env")[1] != output


def test_a_cluster_id_is_sixteen_bytes_and_no_option():
    for _ in range(200):
        drawn = cluster_id()
        assert len(urlsafe_b64decode(f"{drawn}==")) == 16
        assert len(drawn) == 22
        assert not drawn.startswith("-")


def test_a_file_without_an_end_is_refused():
    for words in (("add", "ads", "assign"), ("list",)):
        result = CliRunner().invoke(app, ["keys", *words, "--file", "/dev/zero"])

        assert result.exit_code == 2
        assert "/dev/zero" in result.stderr
        assert "bytes" in result.stderr
