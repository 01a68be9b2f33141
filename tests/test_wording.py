"""Plain technical English: idioms that a reader would have to decode do not return.

Checked are docstrings, comments, messages and names of functions and classes of Python, the text of
templates, scripts, schemas and configuration, and the prose of the documents.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "benchmarks", "client", "dashboard", "schemas", "scripts", "streams", "tests")
PLAIN_FILES = frozenset(
    {".avsc", ".css", ".html", ".js", ".sh", ".sql", ".toml", ".yaml", ".yml", ""}
)
CONFIGURATION = (
    ".env.example",
    "Dockerfile",
    "Makefile",
    "docker-compose.yml",
    "pyproject.toml",
    "client/pyproject.toml",
)
VENDORED = frozenset({"corpus", "node_modules", "vendor"})

IDIOMS = {
    "whoever": r"\bwhoever\b",
    "nobody, everybody": r"\b(no|some|any|every)body\b",
    "tell": r"\b(tell|tells|telling|told)\b(?![.\w]*[=(\[])",
    "by itself": r"\bby itself\b",
    "rests on": r"\brests? on\b",
    "what came of": r"\bwhat (came|comes) of\b",
    "is none": r"\b(is|are|was|were) none\b",
    "lives through": r"\bliv(e|es|ed) through\b",
    "stands in the way": r"\b(stand|stands|stood) in the way\b",
    "of its own": r"\bof (its|their) own\b",
}
_FENCED = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
_IDIOM = re.compile("|".join(IDIOMS.values()), re.IGNORECASE)
_NONE = re.compile(r"\b(is|are|was|were) None\b")
_JOINTS = re.compile(r'"\s*f?"|[\s#_]+')


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring, message, comment and defined name of a file."""
    source = path.read_text()
    if not _idioms(_JOINTS.sub(" ", source)):
        return  # without the cost of parsing
    if path.suffix == ".md":
        prose = _FENCED.sub(lambda block: "\n" * block[0].count("\n"), source)
        for paragraph in re.finditer(r"(?:.+\n?)+", prose):
            yield prose.count("\n", 0, paragraph.start()) + 1, paragraph[0]
        return
    if path.suffix != ".py":
        yield from enumerate(source.splitlines(), 1)
        return
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)) if " " in text.strip():
                yield node.lineno, text
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name.replace("_", " ")
    comments: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line = token.start[0]
            # The lines of one comment are read together: a phrase may span two of them.
            start, text = comments.pop(line - 1, ""), token.string.lstrip("# ")
            comments[line] = f"{start} {text}" if start else text
    yield from comments.items()


def _idioms(text: str) -> list[str]:
    plain = _NONE.sub("", " ".join(text.split()))
    return [found[0] for found in _IDIOM.finditer(plain)]


def _around(idiom: str, text: str) -> str:
    plain = " ".join(text.split())
    start = max(plain.find(idiom) - 80, 0)
    return plain[start : start + 200]


def _files(package: str) -> list[Path]:
    return [
        path
        for path in sorted((ROOT / package).rglob("*"))
        if path.is_file() and (path.suffix == ".py" or path.suffix in PLAIN_FILES)
    ]


def _configuration() -> list[Path]:
    manifests = (path for path in sorted((ROOT / "deploy").rglob("*")) if path.is_file())
    return [*(ROOT / name for name in CONFIGURATION), *manifests]


def _documents() -> list[Path]:
    return [
        *ROOT.glob("*.md"),
        *(path for folder in ("docs", *PACKAGES) for path in sorted((ROOT / folder).rglob("*.md"))),
    ]


def _found(paths: Iterable[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {idiom!r} in {_around(idiom, text)!r}"
        for path in paths
        if path != Path(__file__) and not VENDORED & set(path.parts)
        for line, text in _prose(path)
        for idiom in _idioms(text)
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_prose_has_no_idioms(package: str) -> None:
    found = _found(_files(package))

    assert found == [], "\n".join(["say it in plain technical English:", *found])


def test_configuration_has_no_idioms() -> None:
    found = _found(_configuration())

    assert found == [], "\n".join(["say it in plain technical English:", *found])


def test_documents_have_no_idioms() -> None:
    found = _found(_documents())

    assert found == [], "\n".join(["say it in plain technical English:", *found])


@pytest.mark.parametrize(
    ("text", "idioms"),
    [
        ("Whoever asks is told what came of it.", ["Whoever", "told", "what came of"]),
        ("the cursor is none", ["is none"]),
        ("a queue of its\n    own", ["of its own"]),
        ("return 0 if entry is None else entry", []),
        ("None without a metric; its own queue", []),
        ("offset = file.tell()", []),
    ],
)
def test_idioms_are_found_in_prose_and_not_in_code(text: str, idioms: list[str]) -> None:
    assert _idioms(text) == idioms
