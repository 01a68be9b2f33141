"""Fixtures of a conftest are found in whatever order a call names the tests."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests import directory_nodes

TEST = "def test_it(given): assert given == 1\n"
FILES = {
    "inner/conftest.py": "import pytest\n@pytest.fixture\ndef given(): return 1\n",
    "inner/test_1.py": TEST,
    "inner/deep/test_2.py": TEST,
    "test_outer.py": "def test_it(): pass\n",
}
NAMED = [name for name in FILES if "test_" in name]


@pytest.mark.parametrize("named", itertools.permutations(NAMED), ids=", ".join)
def test_fixtures_are_found_in_any_order(named: tuple[str, ...], tmp_path: Path) -> None:
    for name, content in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
        "--rootdir",
        str(tmp_path),
    ]

    code = pytest.main(
        ["-c", "/dev/null", *options, *(str(tmp_path / name) for name in named)],
        plugins=[directory_nodes],
    )

    assert code == pytest.ExitCode.OK
