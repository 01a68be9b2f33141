"""Status of a webhook, by hand: what comes first decides."""

from __future__ import annotations

import pytest

from streams.webhooks.definition import WebhookDefinition
from streams.webhooks.progress import DispatchProgress, State
from streams.webhooks.sealing import Confidential
from streams.webhooks.status import status_of
from streams.webhooks.table import Webhook

CONFIDENTIAL = Confidential("https://h", ("s",))


@pytest.mark.parametrize(
    ("confidential", "is_enabled", "state", "status"),
    [
        (None, False, State(disabled_at_ms=1), "unreadable"),
        (CONFIDENTIAL, False, State(disabled_at_ms=1), "off"),
        (CONFIDENTIAL, True, State(activation=7, disabled_at_ms=1, failing_since_ms=1), "disabled"),
        (CONFIDENTIAL, True, State(activation=6, disabled_at_ms=1), "active"),
        (CONFIDENTIAL, True, State(activation=7, failing_since_ms=1), "failing"),
        (CONFIDENTIAL, True, State(), "active"),
    ],
)
def test_status_by_hand(confidential, is_enabled, state, status):
    definition = WebhookDefinition(host="h", since_ms=0, is_enabled=is_enabled, activation=7)
    progress = DispatchProgress()
    progress.state = state

    assert status_of(Webhook("wh", definition, b""), confidential, progress) == status
