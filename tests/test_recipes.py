"""Recipes of CONTRIBUTING.md, followed on a copy of the tree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from tests.documents import ROOT

RECIPE = r"^## {}\n(.*?)(?=^## |\Z)"
FOLDERS = [
    "api",
    "benchmarks",
    "client",
    "dashboard",
    "docs",
    "schemas",
    "scripts",
    "streams",
    "tests",
]
STEP = re.compile(
    r"^   `(?P<path>[^`\n]+)`\n\n```(?P<language>\w+) executed\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def steps(title: str) -> list[tuple[str, str, str]]:
    """Return path, language and text of every block of a recipe."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    [recipe] = re.findall(RECIPE.format(title), page, re.MULTILINE | re.DOTALL)
    found = STEP.findall(recipe)
    assert len(found) == recipe.count(" executed\n")
    return found


def edited(text: str, edit: str) -> str:
    """Return a text after an edit: hunks of lines that stay, go (-) and come (+)."""
    for hunk in edit.split("@@\n"):
        lines = hunk.removesuffix("\n").split("\n")
        before = "\n".join(line[1:] for line in lines if line[0] != "+")
        after = "\n".join(line[1:] for line in lines if line[0] != "-")
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of all that the checks of the recipes need."""
    ignored = ignore_patterns("__pycache__", "corpus", "results")
    for folder in FOLDERS:
        copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def follow(title: str, tree: Path) -> set[str]:
    """Apply the blocks of a recipe, and return the paths of the files they touch."""
    for path, language, text in steps(title):
        file = tree / path
        file.write_text(edited(file.read_text(), text) if language == "diff" else text)
    return {path for path, _, _ in steps(title)}


def run(tree: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def run_tests(tree: Path, *arguments: str) -> None:
    run(tree, "pytest", "-q", "-p", "no:cacheprovider", *arguments)


def test_a_policy_is_four_files(tree):
    touched = follow("Adding a policy", tree)

    assert len(touched) == 4
    tests = [
        f"tests/streams/policies/test_{name}.py" for name in ("softmax", "registry", "direction")
    ]
    run_tests(tree, *tests, "-k", "softmax or Softmax or every_policy")
    run_tests(tree, "tests/dashboard/test_create.py", "-k", "choice_of_the_form")


def test_a_metric_kind_is_five_files(tree):
    touched = follow("Adding a metric kind", tree)

    assert len(touched) == 5
    run_tests(tree, "tests/streams/stats/test_change.py", "tests/streams/stats/test_families.py")
    run_tests(
        tree, "tests/benchmarks/test_combinations.py", "-k", "every_combination or change-plain"
    )
    run_tests(tree, "tests/dashboard/test_create.py", "-k", "choice_of_the_form")


def test_a_statistics_field_is_five_files(tree):
    touched = follow("Adding a statistics field", tree)

    assert len(touched) == 5
    run_tests(tree, "tests/streams/analysis/test_total_units.py")
    run_tests(tree, "tests/schemas/test_golden.py", "-k", "snapshot")
    run_tests(tree, "tests/streams/wire/test_snapshots.py", "-k", "a_snapshot_returns")


def test_a_configuration_field_is_five_files(tree):
    touched = follow("Adding a configuration field", tree)

    assert len(touched) == 5
    run_tests(tree, "tests/api/http/test_hypothesis_search.py")
    run_tests(tree, "tests/dashboard/test_create.py", "-k", "every_field")
    run_tests(tree, "tests/streams/experiments/test_definition_of_anything.py")


def test_a_command_is_four_files(tree):
    touched = follow("Adding a command to the command line", tree)
    run(tree, "scripts.render_cli")

    assert len(touched) == 3  # and the reference
    assert "## `experiment health`" in (tree / "docs/reference/cli.md").read_text()
    tests = [f"tests/streams/cli/test_{name}.py" for name in ("health", "reference")]
    run_tests(tree, *tests)
