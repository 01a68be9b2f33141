"""Lists of a body, however many of their members are bad: they are read up to the first one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import pytest
from pydantic import StringConstraints, ValidationError

from api.http.models.operation import ResendRequest
from api.http.models.requests import (
    AssignmentContext,
    AssignmentsRequest,
    HoldoutRequest,
    ImpressionsRequest,
)
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.update import ExperimentUpdate
from streams.experiments.variant_changes import AddedVariant, DraftEdit, VariantUpdate
from streams.model.errors import InputError
from streams.model.validation import InputModel, JsonList, JsonObject, parse
from streams.planning.planned import PlanQuestion
from streams.policies.registry import POLICIES
from streams.webhooks.definition import WebhookRequest, WebhookUpdate

BODIES = (
    AddedVariant,
    AssignmentContext,
    AssignmentsRequest,
    DraftEdit,
    ExperimentDefinition,
    ExperimentUpdate,
    HoldoutRequest,
    ImpressionsRequest,
    PlanQuestion,
    ResendRequest,
    VariantUpdate,
    WebhookRequest,
    WebhookUpdate,
    *POLICIES.values(),
)


class Mapped(InputModel):
    names: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=3)]], JsonObject(max_length=4)
    ]


class Listed(InputModel):
    names: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=3)], ...],
        JsonList(min_length=1, max_length=4),
    ]


def lists(schema: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the schema of every list of any length below a schema of pydantic's core."""
    if isinstance(schema, Mapping):
        kind = schema.get("type")
        if kind in ("list", "set", "frozenset") or "variadic_item_index" in schema:
            yield path, schema
        for name, each in schema.items():
            yield from lists(each, f"{path}.{name}")
    elif isinstance(schema, list | tuple):
        for each in schema:
            yield from lists(each, path)


def mappings(schema: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the schema of every mapping with checked members below a schema of pydantic's core."""
    if isinstance(schema, Mapping):
        if schema.get("type") == "dict" and schema.get("values_schema", {}).get("type") != "any":
            yield path, schema
        for name, each in schema.items():
            yield from mappings(each, f"{path}.{name}")
    elif isinstance(schema, list | tuple):
        for each in schema:
            yield from mappings(each, path)


@pytest.mark.parametrize("model", BODIES, ids=lambda model: model.__name__)
def test_every_list_of_a_body_is_bounded_and_read_up_to_its_first_bad_member(model):
    for path, schema in lists(model.__pydantic_core_schema__):
        assert schema.get("fail_fast"), path
        assert schema.get("max_length"), path


@pytest.mark.parametrize("model", BODIES, ids=lambda model: model.__name__)
def test_every_mapping_of_a_body_whose_members_are_checked_is_bounded(model):
    for path, schema in mappings(model.__pydantic_core_schema__):
        assert schema.get("max_length"), path


def test_there_are_such_mappings():
    assert len(list(mappings(ExperimentUpdate.__pydantic_core_schema__))) > 0


@pytest.mark.parametrize("bad", [0, "long", None, {}])
def test_members_of_a_mapping_are_counted_before_they_are_checked(bad):
    names = {f"{number}": bad for number in range(10_000)}

    with pytest.raises(ValidationError) as caught:
        Mapped.model_validate({"names": names})

    assert caught.value.error_count() == 1


@pytest.mark.parametrize(
    ("names", "path", "message"),
    [
        (dict.fromkeys("abcde", "a"), "names", "at most 4 items, not 5"),
        ({"a": "long"}, "names.a", "at most 3 characters"),
        ([], "names", "valid object"),
    ],
)
def test_the_length_of_a_mapping_or_its_first_bad_member_is_named(names, path, message):
    with pytest.raises(InputError, match=message) as caught:
        parse(Mapped, {"names": names})

    assert caught.value.path == path


def test_there_are_such_lists():
    assert len(list(lists(ExperimentDefinition.__pydantic_core_schema__))) > 8


@pytest.mark.parametrize("bad", [0, "long", None, {}])
def test_of_many_bad_members_one_is_found(bad):
    """Besides it may be said that the list, as far as it was read, is too short."""
    with pytest.raises(ValidationError) as caught:
        Listed.model_validate({"names": [bad] * 10_000})

    assert caught.value.error_count() <= 2


@pytest.mark.parametrize(
    ("names", "path"),
    [([], "names"), (["a"] * 5, "names"), (["a", "long", 0], "names[1]"), (["a"] * 9_999, "names")],
)
def test_the_first_bad_member_or_the_length_is_named(names, path):
    with pytest.raises(InputError) as caught:
        parse(Listed, {"names": names})

    assert (caught.value.code, caught.value.path) == ("OUT_OF_RANGE", path)


def test_a_list_within_its_bounds_is_taken():
    assert parse(Listed, {"names": ["a", "b"]}).names == ("a", "b")
