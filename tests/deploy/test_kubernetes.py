"""deploy/kubernetes: valid objects that fit together; `make test-kubernetes` renders them."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml
from starlette.testclient import TestClient

from dashboard.app import dashboard_app
from streams.process.exits import LOG_PATIENCE_S, STOP_S
from streams.settings import ENVIRONMENT_PREFIX, Settings
from tests.deploy.queries import DEPLOY

FOLDER = DEPLOY / "kubernetes"
VERSION = "1.34"
COMPONENT = "app.kubernetes.io/component"

KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS: list[dict[str, Any]] = [
    found
    for name in KUSTOMIZATION["resources"]
    for found in yaml.safe_load_all((FOLDER / name).read_text())
]


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [found for found in OBJECTS if found["kind"] in kinds]


def name(found: dict[str, Any]) -> str:
    return f"{found['kind']}-{found['metadata']['name']}"


def component(found: dict[str, Any]) -> str:
    return str(found["spec"]["template"]["metadata"]["labels"][COMPONENT])


WORKLOADS = of_kind("Deployment", "StatefulSet", "Job")


@pytest.mark.parametrize(
    "found", OBJECTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}"
)
def test_every_object_is_valid_with_no_field_that_kubernetes_does_not_know(found: dict[str, Any]):
    kubernetes_validate.validate(found, VERSION, strict=True)


@pytest.mark.parametrize("found", WORKLOADS, ids=component)
def test_no_process_is_root_or_may_write_its_image(found: dict[str, Any]):
    pod = found["spec"]["template"]["spec"]
    [container] = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("found", of_kind("Deployment", "StatefulSet"), ids=component)
def test_what_runs_on_has_probes_a_budget_and_an_autoscaler(found: dict[str, Any]):
    [container] = found["spec"]["template"]["spec"]["containers"]
    labels = {COMPONENT: component(found)}
    budgets = [each["spec"] for each in of_kind("PodDisruptionBudget")]
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in of_kind("HorizontalPodAutoscaler")}

    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
    assert [each for each in budgets if each["selector"]["matchLabels"] == labels]
    # One process delivers, whatever there is to deliver; one dashboard has all sessions.
    fixed = {"webhooks": 2, "dashboard": 1}
    if component(found) in fixed:
        assert found["spec"]["replicas"] == fixed[component(found)]
    else:
        assert found["metadata"]["name"] in scaled
        assert "replicas" not in found["spec"]  # it would undo what the autoscaler has done
    assert found["spec"]["selector"]["matchLabels"] == labels


@pytest.mark.parametrize("found", of_kind("Deployment", "StatefulSet"), ids=component)
def test_a_pod_gets_longer_than_its_process_takes_to_end(found: dict[str, Any]):
    grace_s = found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]

    assert grace_s >= STOP_S + LOG_PATIENCE_S


def test_workers_scale_by_their_lag_up_to_their_partitions():
    [scaler] = [
        each["spec"]
        for each in of_kind("HorizontalPodAutoscaler")
        if each["metadata"]["name"] == "experiment-worker"
    ]
    [pods] = [metric["pods"] for metric in scaler["metrics"] if metric["type"] == "Pods"]
    [served] = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    [given] = KUSTOMIZATION["configMapGenerator"]

    assert pods["metric"]["name"] == served["name"]["matches"] == "experiment_engine_lag_records"
    assert f"EXPERIMENT_PARTITIONS={scaler['maxReplicas']}" in given["literals"]


def test_the_dashboard_has_no_secret_and_answers_its_probes_behind_a_public_address():
    [found] = [each for each in WORKLOADS if component(each) == "dashboard"]
    pod = found["spec"]["template"]["spec"]
    [container] = pod["containers"]
    app = dashboard_app(
        "http://experiment-api",
        host="0.0.0.0",
        public_url="https://exp.example",
        session_s=60,
        now_s=lambda: 0.0,
    )

    assert "secret" not in str(pod).lower()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        headers = {each["name"]: each["value"] for each in asked["httpHeaders"]}
        answer = TestClient(app, base_url="http://10.0.0.7:8090").get(
            asked["path"], headers=headers
        )
        assert answer.status_code == 200


def test_only_settings_that_exist_are_set():
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in Settings.model_fields}
    [given] = KUSTOMIZATION["configMapGenerator"]
    names = {literal.partition("=")[0] for literal in given["literals"]}
    for found in WORKLOADS:
        [container] = found["spec"]["template"]["spec"]["containers"]
        names |= {variable["name"] for variable in container["env"]}

    assert names <= known


def test_secrets_are_those_that_the_document_makes():
    page = (DEPLOY.parent / "docs" / "how-to" / "run-on-kubernetes.md").read_text()
    for key in ("redis-url", "receipt-keys", "webhook-keys", "api-keys"):
        assert f"--from-literal={key}=" in page or f"--from-file={key}=" in page
