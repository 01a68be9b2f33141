"""Signatures, as the package of Standard Webhooks makes and verifies them."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from streams.webhooks.signing import PREFIX, new_secret, secret_bytes, signature

NOW = datetime.now(UTC)
SECRETS = st.binary(min_size=24, max_size=64).map(
    lambda key: PREFIX + base64.b64encode(key).decode()
)


@given(SECRETS, st.uuids().map(str), st.text(max_size=200))
def test_a_signature_is_that_of_the_standard(secret, message_id, body):
    at_s = int(NOW.timestamp())

    ours = signature([secret], message_id, at_s, body.encode())

    assert ours == Webhook(secret).sign(message_id, NOW, body)


def test_a_receiver_verifies_by_either_secret_while_they_rotate():
    old, new, other = new_secret(), new_secret(), new_secret()
    at_s = int(time.time())  # a receiver refuses what is older than five minutes
    body = b'{"type":"experiment.started"}'
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(at_s),
        "webhook-signature": signature([new, old], "msg_1", at_s, body),
    }

    assert Webhook(old).verify(body, headers) == Webhook(new).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(body + b" ", headers)


@pytest.mark.parametrize(
    "secret",
    ["", "secret", "whsec_", "whsec_!!", "whsec_" + "A" * 30, "whsec_" + "A" * 31 + "\n",
     "whsec_" + base64.b64encode(bytes(23)).decode(),
     "whsec_" + base64.b64encode(bytes(65)).decode()],
)  # fmt: skip
def test_what_is_no_secret_is_refused_without_being_shown(secret):
    with pytest.raises(ValueError, match="must") as refused:
        secret_bytes(secret)

    assert len(secret) < 10 or secret not in str(refused.value)
