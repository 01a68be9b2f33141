"""Dashboards and alert rules are consistent with each other and with what processes export."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from tests.deploy.queries import DEPLOY, of_alerts, of_dashboards, panels, rules
from tests.documents import ROOT

MEASURES = (
    "Variant assignments per second",
    "Observation recording latency",
    "Experiment conclusion rate",
    "Winner confidence distribution",
    "API error rate",
)


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        reason = "promtool checks alert rules; install Debian's package prometheus"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return str(found)


def test_the_first_row_has_the_measures_of_the_product():
    shown = [panel for name, panel in panels() if name == "experiments"]

    assert shown[0]["type"] == "row"
    first = [panel for panel in shown[1:] if panel["gridPos"]["y"] == shown[1]["gridPos"]["y"]]
    assert tuple(panel["title"] for panel in first) == MEASURES


def test_panels_fit_their_grid_and_name_the_provisioned_source():
    sources = (DEPLOY / "grafana" / "datasources.yml").read_text()
    [uid] = re.findall(r"uid: (\w+)", sources)
    for name, panel in panels():
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24, (name, panel["title"])
        for target in panel.get("targets", ()):
            assert target["datasource"] == {"type": "prometheus", "uid": uid}, panel["title"]
    for file in (DEPLOY / "grafana" / "dashboards").glob("*.json"):
        ids = [panel["id"] for panel in json.loads(file.read_text())["panels"]]
        assert len(ids) == len(set(ids))


def test_queries_name_only_metrics_that_processes_export():
    sources = "\n".join(
        file.read_text()
        for file in (ROOT / "streams/worker/metrics.py", ROOT / "api/monitoring/prometheus.py")
    )
    webhooks = (ROOT / "streams/webhooks/metrics.py").read_text()
    exported = set(re.findall(r'"(experiment_[a-z_]+)"', sources))
    exported |= {f"experiment_engine_{name}" for name in re.findall(r'_PREFIX}([a-z_]+)"', sources)}
    exported |= {
        f"experiment_webhooks_{name}" for name in re.findall(r'_PREFIX}([a-z_]+)"', webhooks)
    }
    for query in (*of_dashboards("1m"), *of_alerts()):
        for name in re.findall(r"\b(experiment_[a-z_]+)", query.text):
            plain = re.sub(r"_(total|bucket|count|sum)$", "", name)
            # As the pattern of names in EventLoopLags.
            assert plain in exported or query.text.find(f'"{name}') >= 0, (query.place, name)


def test_every_alert_says_what_is_wrong_and_is_explained():
    page = (ROOT / "docs" / "how-to" / "monitor.md").read_text()
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert f"`{rule['alert']}`" in page, rule["alert"]


def test_promtool_accepts_configuration_and_rules(promtool: str):
    for command in (("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml")):
        done = subprocess.run(
            (promtool, *command),
            cwd=DEPLOY / "prometheus",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not():
    cases = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yml").read_text())["tests"]
    checks = [check for case in cases for check in case.get("alert_rule_test", ())]
    fires = {check["alertname"] for check in checks if check["exp_alerts"]}
    rests = {check["alertname"] for check in checks if not check["exp_alerts"]}
    alerts = {rule["alert"] for rule in rules()}

    assert alerts - fires == set()
    assert alerts - rests == set()


def test_alerts_fire_when_they_must_and_not_before(promtool: str):
    done = subprocess.run(
        (promtool, "test", "rules", "alerts_test.yml"),
        cwd=DEPLOY / "prometheus",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
