"""Samples of schemas: what was written by hand, and values of the fields that came since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas import library
from scripts import schema_samples
from scripts.schema_samples import sample_of

INNER = {"type": "record", "name": "Inner", "fields": [{"name": "a", "type": "long"}]}
ADDED: list[dict[str, Any]] = [
    {"name": "b", "type": "boolean", "default": True},
    {"name": "c", "type": ["null", {"type": "array", "items": "Inner"}], "default": None},
    {"name": "d", "type": {"type": "map", "values": "double"}, "default": {}},
    {"name": "e", "type": "bytes", "default": "\x01"},
    {"name": "f", "type": ["null", "Inner"], "default": None},
]


def schema_of(fields: list[dict[str, Any]], version: int = 1) -> library.Schema:
    text = json.dumps({"type": "record", "name": "Outer", "namespace": "n", "fields": fields})
    return library._schema("outer", version, text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(schema_samples, "GOLDEN", tmp_path)
    return tmp_path


@pytest.fixture
def versions(monkeypatch):
    found: list[library.Schema] = []
    monkeypatch.setattr(library, "versions", lambda _: tuple(found))
    return found


def test_fields_that_were_added_have_a_value_that_is_not_the_default(folder, versions):
    """By hand: of each type the first value of its two that is not the default."""
    first = schema_of([{"name": "x", "type": {"type": "array", "items": INNER}}])
    inner = INNER | {"fields": [*INNER["fields"], {"name": "g", "type": "string", "default": "a"}]}
    second = schema_of([{"name": "x", "type": {"type": "array", "items": inner}}, *ADDED], 2)
    versions += [first, second]
    (folder / "outer.1.json").write_text(json.dumps({"decoded": {"x": [{"a": 7}]}}))

    assert sample_of(first).record == {"x": [{"a": 7}]}
    assert sample_of(second).record == {
        "x": [{"a": 7, "g": "b"}],
        "b": False,
        "c": [{"a": 1, "g": "b"}],
        "d": {"a": 0.5},
        "e": b"\x02",
        "f": {"a": 1, "g": "b"},
    }
    assert not sample_of(second).is_golden


def test_what_a_release_has_written_down_is_never_completed(folder, versions):
    schema = schema_of([{"name": "x", "type": "long"}])
    versions.append(schema)
    golden = {"decoded": {"x": 3}, "structure": "of then", "encoded": "c301ff"}
    (folder / "outer.1.json").write_text(json.dumps(golden))

    found = sample_of(schema)

    assert (found.record, found.structure, found.encoded) == ({"x": 3}, "of then", b"\xc3\1\xff")
    assert found.is_golden


def test_a_schema_without_a_sample_by_hand_has_none(folder, versions):
    versions.append(schema_of([{"name": "x", "type": "long"}]))

    with pytest.raises(FileNotFoundError):
        sample_of(versions[0])
