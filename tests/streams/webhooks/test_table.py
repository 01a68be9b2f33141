"""Records of the topic `webhooks`, whatever they are: the others stand, and the process goes on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.webhooks import WebhookProgressRecord, WebhookRecord
from streams.webhooks.definition import WebhookDefinition
from streams.webhooks.progress import DispatchProgress
from streams.webhooks.table import PROGRESS, Webhook, WebhookTable, encoded_progress
from streams.wire.webhooks import encode_webhook, encode_webhook_progress

NAME, OTHER = "wh_" + "a" * 26, "wh_" + "b" * 26

longs = st.integers(-(2**63), 2**63 - 1)
scalars = st.none() | st.booleans() | longs | st.floats() | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)
progresses = st.fixed_dictionaries(
    {},
    optional={
        "positions": st.dictionaries(st.text(max_size=4) | st.just("0"), longs) | values,
        "waiting": st.lists(st.lists(longs, min_size=4, max_size=6)) | values,
        "state": st.fixed_dictionaries({}, optional={"delivered": values, "test": values}) | values,
    },
)
definitions = st.fixed_dictionaries(
    {}, optional={"host": st.text(), "events": values, "sinceMs": values, "format": values}
)


def table() -> WebhookTable:
    found = WebhookTable()
    webhook = Webhook(NAME, WebhookDefinition(host="https://a.example", since_ms=5), b"sealed")
    found.take(*webhook.encoded(), 7)
    progress = DispatchProgress()
    progress.activate(1, {0: 9})
    found.take(*encoded_progress(NAME, progress), 8)
    return found


def logged(progress: Any) -> tuple[bytes, bytes]:
    record = WebhookProgressRecord(NAME, progress)
    return (NAME + PROGRESS).encode(), encode_webhook_progress(record)


@pytest.mark.parametrize("name", ["x", "", "-1", "1.5", "\u0661", "9" * 5_000, " 1"])
def test_a_position_of_no_partition_is_refused_and_the_progress_before_it_stands(name):
    found = table()

    found.take(*logged({"positions": {name: 3}}), 9)

    assert found.progress_of(NAME).positions == {0: 9}


@given(progress=progresses)
def test_no_progress_ends_the_process(progress):
    found = table()

    found.take(*logged(progress), 9)

    positions = found.progress_of(NAME).positions
    assert all(isinstance(each, int) for each in (*positions, *positions.values()))


@given(definition=definitions, key=st.binary(max_size=40) | st.just(NAME.encode()))
def test_no_definition_ends_the_process(definition, key):
    found = table()
    record = encode_webhook(WebhookRecord(OTHER, definition, b"sealed"))

    found.take(key, record, 9)
    found.take(key, b"noise", 9)

    assert found.webhooks[NAME].sealed == b"sealed"


def test_one_that_is_created_again_has_nothing_of_the_one_that_was_deleted():
    found = table()

    found.take(NAME.encode(), None, 9)
    found.take(*Webhook(NAME, WebhookDefinition(host="https://a.example"), b"sealed").encoded(), 9)

    assert found.progress_of(NAME) == DispatchProgress()
    assert found.drop_orphans() == [NAME]
    assert found.drop_orphans() == []
