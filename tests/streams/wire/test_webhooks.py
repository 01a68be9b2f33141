"""Records of webhooks: what is encoded is decoded."""

from __future__ import annotations

import pytest
from hypothesis import given

from streams.model.errors import EventError
from streams.model.webhooks import WebhookProgressRecord, WebhookRecord
from streams.wire.webhooks import (
    decode_webhook,
    decode_webhook_progress,
    encode_webhook,
    encode_webhook_progress,
)
from tests.strategies import records


@given(records(WebhookRecord))
def test_a_webhook_is_read_as_it_was_written(record):
    assert decode_webhook(encode_webhook(record)) == record


@given(records(WebhookProgressRecord))
def test_progress_is_read_as_it_was_written(record):
    assert decode_webhook_progress(encode_webhook_progress(record)) == record


@pytest.mark.parametrize("name", ["", "wh_", "wh_" + "A" * 26, "wh_" + "a" * 27, "wh_" + "a" * 25])
def test_what_is_no_id_is_refused(name):
    with pytest.raises(EventError) as refused:
        decode_webhook(encode_webhook(WebhookRecord(name, {}, b"")))

    assert refused.value.code == "INVALID_NAME"
