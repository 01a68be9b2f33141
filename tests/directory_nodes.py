"""One node of pytest for each directory, whatever is asked for in one call.

pytest 9.1 looks through a directory again for every file of it that the call names, and makes new
nodes of the directories in it. A conftest's fixtures are bound to the first such node, so they were
not found by what is named after such a file, as by the last of `a/test_1.py test_2.py a/test_3.py`.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

_NODES = pytest.StashKey[dict[Path, pytest.Collector | None]]()


@pytest.hookimpl(wrapper=True)
def pytest_collect_directory(
    path: Path, parent: pytest.Collector
) -> Generator[None, pytest.Collector | None, pytest.Collector | None]:
    """Return the node that the directory already has, if any."""
    made = yield
    return parent.session.stash.setdefault(_NODES, {}).setdefault(path, made)
