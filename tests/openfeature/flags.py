"""Experiments that serve a flag of every type, and one for each way to get no value."""

from __future__ import annotations

from typing import Any

from tests.api.memory import Api

USER = "user-123"

VALUES: dict[str, Any] = {
    "is-new": True,
    "title": "Hello",
    "slots": 3,
    "price": 2.0,
    "layout": {"columns": 2},
    "order": ["a", "b"],
}
"""Values of both variants, by key."""


async def with_flags(api: Api) -> None:
    """Create experiments on users, as flags."""
    for key, value in VALUES.items():
        await api.run(_config(key), _variants(value, value))
    await api.run({**_config("closed"), "trafficAllocation": 0.0}, _variants("control", "other"))
    await api.create(_config("draft"), _variants("a", "b"))
    await api.run({**_config("by-impression"), "unit": "impression"}, _variants("a", "a"))


def _config(key: str) -> dict[str, Any]:
    return {"key": key, "type": "bayesian_ab", "valueField": "value"}


def _variants(*values: Any) -> list[dict[str, Any]]:
    return [
        {"name": name, "isControl": name == "A", "config": {"value": value}}
        for name, value in zip("AB", values, strict=True)
    ]
