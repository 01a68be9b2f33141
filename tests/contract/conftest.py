"""Contracts, tested with twins in memory, and with real servers as integration tests."""

from __future__ import annotations

import pytest

from streams.settings import Settings


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.integration)])
def real(request: pytest.FixtureRequest) -> Settings | None:
    """Return an installation on real servers, or None for the twin in memory."""
    if request.param == "memory":
        return None
    settings: Settings = request.getfixturevalue("settings")
    return settings
