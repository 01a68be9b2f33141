from __future__ import annotations

import json

import pytest

from streams.cli.definition_files import read_definition
from streams.model.errors import InputError
from tests.streams.cli.conftest import EXPERIMENT_ID

DEFINITION = {
    "config": {"name": "Hero", "type": "ucb", "primaryMetric": "click"},
    "variants": [{"name": "A", "isControl": True}, {"name": "B", "isControl": False}],
}
YAML = """
config:
  name: Hero
  type: ucb
  primaryMetric: click
variants:
  - {name: A, isControl: true}
  - {name: B, isControl: false}
"""


@pytest.mark.parametrize("text", [json.dumps(DEFINITION), YAML])
def test_create_takes_json_and_yaml_from_a_file_and_prints_the_id(api, experiment, tmp_path, text):
    api.answers["POST /experiments"] = (201, experiment)
    file = tmp_path / "hero"
    file.write_text(text)

    result = api.run("create", str(file))

    assert (result.exit_code, result.stdout) == (0, f"{EXPERIMENT_ID}\n")
    assert api.requests == [("POST /experiments", DEFINITION)]


def test_create_reads_standard_input_and_starts_at_once(api, experiment):
    api.answers["POST /experiments"] = (201, experiment)
    api.answers[f"POST /experiments/{EXPERIMENT_ID}/start"] = (200, experiment)

    result = api.run("create", "-", "--start", stdin=YAML)

    assert result.exit_code == 0
    assert [line for line, _ in api.requests] == [
        "POST /experiments",
        f"POST /experiments/{EXPERIMENT_ID}/start",
    ]


def test_create_takes_a_simple_experiment_from_options(api, experiment):
    api.answers["POST /experiments"] = (201, experiment)

    options = ["--name", "Hero", "--type", "ucb", "--variant", "A", "--variant", "B"]
    result = api.run("create", *options)

    assert result.exit_code == 0
    assert api.requests == [("POST /experiments", DEFINITION)]


def test_create_without_anything_says_what_it_needs(api):
    result = api.run("create")

    assert result.exit_code == 1
    assert "MISSING_FIELD at --name" in result.stderr
    assert api.requests == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "UNREADABLE_FILE"),
        ("[]", "WRONG_TYPE"),
        ("{config: {}}", "WRONG_TYPE"),
        ("{config: [], variants: []}", "WRONG_TYPE"),
        ("{config: {}, variants: [1]}", "WRONG_TYPE"),
        ("{config: {}, variants: [], more: 1}", "WRONG_TYPE"),
        ("[" * 100_000, "UNREADABLE_FILE"),
        ('{"config": {"minSampleSize": ' + "9" * 6_000 + '}, "variants": []}', "UNREADABLE_FILE"),
        ("{config: {begin: 2020-13-45}, variants: []}", "UNREADABLE_FILE"),
        ("{config: {begin: 2020-01-02}, variants: []}", "WRONG_TYPE"),
        ("{config: {minSampleSize: .nan}, variants: []}", "WRONG_TYPE"),
        ("{config: {1: 2}, variants: []}", "WRONG_TYPE"),
        ("{config: {a: !!set {b}}, variants: []}", "WRONG_TYPE"),
        ("{config: &all {a: *all}, variants: []}", "DEFINITION_TOO_LARGE"),
        (
            "config:\n  a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"  a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
            + "variants: []\n",
            "DEFINITION_TOO_LARGE",
        ),
    ],
)
def test_a_file_that_is_no_definition_is_refused(tmp_path, text, code):
    file = tmp_path / "definition"
    file.write_text(text)

    with pytest.raises(InputError) as caught:
        read_definition(file)

    assert (caught.value.code, caught.value.path) == (code, str(file))


def test_numbers_of_json_stay_numbers(tmp_path):
    """YAML 1.1 would take 1e-3 for a string."""
    file = tmp_path / "definition.json"
    file.write_text('{"config": {"trafficAllocation": 1e-3}, "variants": []}')

    assert read_definition(file)["config"] == {"trafficAllocation": 0.001}


def test_a_refusal_is_one_line_with_code_and_path_and_exit_code_1(api):
    refusal = {"code": "OUT_OF_RANGE", "message": "too much", "path": "config.trafficAllocation"}
    api.answers["POST /experiments"] = (422, {"error": refusal})

    result = api.run("create", "-", stdin=YAML)

    assert result.exit_code == 1
    assert result.stderr == ("experiment: OUT_OF_RANGE at config.trafficAllocation: too much\n")


def test_an_api_that_cannot_be_an_address_is_exit_code_2(api):
    api.url = "127.0.0.1:8080"

    result = api.run("list")

    assert result.exit_code == 2
    assert "is not an address" in result.stderr


def test_the_address_comes_from_the_environment(api, monkeypatch):
    from typer.testing import CliRunner  # noqa: PLC0415

    from streams.cli.main import app  # noqa: PLC0415

    api.answers["GET /experiments"] = (200, {"experiments": []})
    monkeypatch.setenv("EXPERIMENT_API_URL", api.url)

    result = CliRunner().invoke(app, ["list"])

    assert (result.exit_code, result.stdout) == (0, "")
    assert "There is no experiment yet" in result.stderr


def test_list_shows_every_experiment(api, experiment):
    api.answers["GET /experiments"] = (200, {"experiments": [experiment]})

    table = api.run("list")
    machine = api.run("list", "--json")

    for part in (EXPERIMENT_ID, "Hero", "ucb", "draft", "2023-11-14 22:13:20"):
        assert part in table.stdout
    assert json.loads(machine.stdout)["experiments"][0]["id"] == EXPERIMENT_ID


@pytest.mark.parametrize("verb", ["start", "pause", "resume", "conclude", "rollback", "archive"])
def test_verbs_say_where_the_experiment_is_now(api, experiment, verb):
    api.answers[f"POST /experiments/{EXPERIMENT_ID}/{verb}"] = (
        200,
        experiment | {"status": "somewhere"},
    )

    result = api.run(verb, EXPERIMENT_ID)

    assert (result.exit_code, result.stdout) == (0, f"{EXPERIMENT_ID} is somewhere\n")


@pytest.mark.parametrize("winner", ["B", f"{EXPERIMENT_ID}_v1"])
def test_conclude_takes_a_winner_by_name_or_id(api, experiment, winner):
    api.answers[f"GET /experiments/{EXPERIMENT_ID}"] = (200, experiment)
    api.answers[f"POST /experiments/{EXPERIMENT_ID}/conclude"] = (200, experiment)

    result = api.run("conclude", EXPERIMENT_ID, "--winner", winner)

    assert result.exit_code == 0
    assert api.requests[-1][1] == {"winnerVariantId": f"{EXPERIMENT_ID}_v1"}


def test_conclude_takes_a_share_for_the_control(api, experiment):
    api.answers[f"GET /experiments/{EXPERIMENT_ID}"] = (200, experiment)
    api.answers[f"POST /experiments/{EXPERIMENT_ID}/conclude"] = (200, experiment)

    api.run("conclude", EXPERIMENT_ID, "--winner", "B", "--control-share", "0.1")

    assert api.requests[-1][1] == {
        "winnerVariantId": f"{EXPERIMENT_ID}_v1",
        "controlShare": 0.1,
    }


def test_conclude_says_what_all_users_get_and_shows_it(api, experiment):
    served = {"variantId": f"{EXPERIMENT_ID}_v0", "since": 5}
    concluded = experiment | {"status": "concluded", "served": served}
    api.answers[f"POST /experiments/{EXPERIMENT_ID}/conclude"] = (200, concluded)

    result = api.run("conclude", EXPERIMENT_ID, "--serve", "control")

    assert api.requests[-1][1] == {"serve": "control"}
    assert "is concluded and serves A to all users" in result.stdout


def test_create_takes_a_key_beside_options(api, experiment):
    api.answers["POST /experiments"] = (201, experiment | {"key": "hero"})

    result = api.run(
        "create", "--name", "Hero", "--variant", "A", "--variant", "B", "--key", "hero"
    )

    assert result.exit_code == 0, result.output
    assert api.requests[0][1]["config"]["key"] == "hero"


def test_the_list_shows_keys(api, experiment):
    page = {"experiments": [experiment | {"key": "hero"}], "nextCursor": None}
    api.answers["GET /experiments"] = (200, page)

    assert "hero" in api.run("list").stdout
