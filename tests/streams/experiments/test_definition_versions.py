"""A field of a later version is left out where it says nothing, and named where it is used."""

from __future__ import annotations

from pydantic import Field

from streams.experiments.definition import ExperimentDefinition, parse_definition
from streams.experiments.definition_versions import (
    DEFINITION_VERSION,
    SINCE,
    later_fields,
    unused,
    version_of,
)
from streams.model.validation import InputModel, parse


class Part(InputModel):
    name: str
    limit: int = Field(default=3, json_schema_extra={SINCE: 2})


class Whole(InputModel):
    title: str = "t"
    warm_up: int = Field(default=0, json_schema_extra={SINCE: 3})
    part: Part | None = None
    parts: list[Part] = Field(default_factory=list)
    by_name: dict[str, Part] = Field(default_factory=dict)


FULL = Whole(
    part=Part(name="x"),
    parts=[Part(name="a"), Part(name="b", limit=4)],
    by_name={"k": Part(name="y")},
)


def test_what_is_unused_is_left_out_and_comes_back_as_its_default():
    dumped = FULL.model_dump(by_alias=True, mode="json", exclude=unused(FULL))

    assert dumped == {
        "title": "t",
        "part": {"name": "x"},
        "parts": [{"name": "a"}, {"name": "b", "limit": 4}],
        "byName": {"k": {"name": "y"}},
    }
    assert parse(Whole, dumped) == FULL


def test_what_is_used_has_its_path_and_version():
    assert later_fields(FULL) == [("parts[1].limit", 2)]
    assert version_of(FULL) == 2
    assert later_fields(Whole(warm_up=1)) == [("warmUp", 3)]
    assert version_of(Whole()) == 1


def test_definitions_of_this_release_are_written_whole():
    definition = parse_definition(
        {"name": "n", "type": "thompson_sampling", "primaryMetric": "click"},
        [{"name": "a", "isControl": True}, {"name": "b"}],
    )

    assert version_of(definition) <= DEFINITION_VERSION
    dumped = definition.model_dump(by_alias=True, mode="json", exclude=unused(definition))
    assert parse(ExperimentDefinition, dumped) == definition
