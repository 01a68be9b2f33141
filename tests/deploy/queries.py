"""Queries of the dashboards and alert rules of `deploy/`, and what a Prometheus answers to them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import yaml

from tests.documents import ROOT

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"

RATE_INTERVAL = "$__rate_interval"
"""Grafana puts four scrape intervals in its place."""

_COMPARISON = re.compile(r"(?P<value>.*\S)\s*(?:[<>]=?|[!=]=)\s*-?[0-9.]+\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Query:
    """A query of PromQL.

    Attributes:
        place: Where it is written.
    """

    place: str
    text: str


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every panel of every dashboard, with the name of its file."""
    for file in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            yield file.stem, panel


def of_dashboards(rate_interval: str) -> list[Query]:
    """Return the queries of the panels."""
    return [
        Query(f"{name}: {panel['title']}", target["expr"].replace(RATE_INTERVAL, rate_interval))
        for name, panel in panels()
        for target in panel.get("targets", ())
    ]


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def of_alerts() -> list[Query]:
    """Return what each alert rule compares with a number: that must always have a value.

    Raises:
        AssertionError: a rule is no comparison with a number.
    """
    found = []
    for rule in rules():
        comparison = _COMPARISON.fullmatch(rule["expr"])
        assert comparison, f"{rule['alert']} does not end with a comparison with a number"
        found.append(Query(rule["alert"], comparison["value"]))
    return found


def answer(prometheus: httpx.Client, query: str) -> list[Any]:
    """Return the series that a query finds.

    Raises:
        AssertionError: Prometheus refuses it.
    """
    response = prometheus.get("/api/v1/query", params={"query": query})
    assert response.is_success, f"{query}: {response.text}"
    result = response.json()["data"]["result"]
    assert isinstance(result, list)
    return result


def without_data(prometheus: httpx.Client, queries: list[Query]) -> list[str]:
    """Return the places of the queries that find nothing."""
    return [each.place for each in queries if not answer(prometheus, each.text)]


def alarms(prometheus: httpx.Client) -> list[str]:
    """Return the rules whose condition holds now."""
    return [rule["alert"] for rule in rules() if answer(prometheus, rule["expr"])]
