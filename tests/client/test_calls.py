"""Groups of calls: all are part of both clients, and together they reach every endpoint."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections import Counter
from typing import Any

import pytest

from api.http.endpoints import ENDPOINTS
from experiment_streams_client import AsyncExperimentClient, ExperimentClient, calls
from experiment_streams_client.calls.base import Call, Method
from experiment_streams_client.methods import Methods

BY_OTHERS = {
    ("GET", "/experiments/{experiment_id}/stream"): "stream_experiment_stats",
    ("GET", "/snapshots"): "LocalAssigner",
    ("POST", "/impressions"): "LocalAssigner",
    ("POST", "/ofrep/v1/evaluate/flags"): "OpenFeature",
    ("POST", "/ofrep/v1/evaluate/flags/{key}"): "OpenFeature",
    ("GET", "/ofrep/v1/events"): "OpenFeature",
    ("GET", "/metrics"): "Prometheus",
}
"""Endpoints that no described call reaches, and what does."""

REQUIRED: dict[str, Any] = {
    "str": "x",
    "float": 0.5,
    "Mapping[str, Any]": {},
    "Sequence[Mapping[str, Any]]": [],
    "Sequence[AssignmentContext | Mapping[str, Any]]": [],
    "Sequence[str]": [],
    "Iterable[str]": [],
    "Iterable[ExposureRequest]": [],
    "Iterable[ObservationRequest]": [],
    "Iterable[VoidRequest]": [],
    "Call[Any]": ExperimentClient.start_experiment("x"),
}
"""An argument for each type of parameters without a default."""

BESIDES = {"record_unit_observation": {"user_id": "u"}}
"""Arguments of which a call needs one, though each has a default."""


def groups() -> list[type]:
    """Return the classes with calls of the package, whether a client has them or not."""
    found = pkgutil.iter_modules(calls.__path__, f"{calls.__name__}.")
    modules = [importlib.import_module(each.name) for each in found]
    classes = [
        each for module in modules for each in vars(module).values() if inspect.isclass(each)
    ]
    return list(dict.fromkeys(each for each in classes if methods_of(each)))


def methods_of(group: type) -> list[str]:
    return [name for name, value in vars(group).items() if isinstance(value, Method)]


NAMES = [name for group in groups() for name in methods_of(group)]


def endpoint_of(call: Call[Any]) -> tuple[str, str]:
    """Return method and path of the endpoint that answers a call, as the API declares them."""
    path, _, _ = call.path.partition("?")
    [found] = [
        (each.method, each.path)
        for each in ENDPOINTS
        if each.method == call.method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", each.path), path)
    ]
    return found


def test_every_group_is_part_of_both_clients() -> None:
    assert set(groups()) == set(Methods.__bases__)


def test_no_group_hides_a_call_of_another() -> None:
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_both_clients_have_every_method_with_its_help_and_parameters(name: str) -> None:
    for client in (ExperimentClient, AsyncExperimentClient):
        described, bound = getattr(client, name), getattr(client(), name)

        assert described.__doc__
        assert bound.__doc__ == described.__doc__
        assert inspect.signature(described) == inspect.signature(bound)


def test_every_endpoint_is_reached_and_every_call_is_of_an_endpoint() -> None:
    reached = set()
    for name in NAMES:
        describe = getattr(ExperimentClient, name)
        required = [
            REQUIRED[parameter.annotation]
            for parameter in inspect.signature(describe).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind is not parameter.VAR_POSITIONAL
        ]
        reached.add(endpoint_of(describe(*required, **BESIDES.get(name, {}))))

    declared = {(each.method, each.path) for each in ENDPOINTS}
    assert reached == declared - BY_OTHERS.keys()
    assert declared >= BY_OTHERS.keys()
