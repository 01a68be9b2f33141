"""An API without servers for every test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.memory import Api, memory_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with memory_api(tmp_path) as running:
        yield running
