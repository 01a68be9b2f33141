"""Signatures of Standard Webhooks, version 1: HMAC-SHA256 with a symmetric secret.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets as random_secrets
from collections.abc import Iterable
from hashlib import sha256

PREFIX = "whsec_"

MIN_BYTES, MAX_BYTES = 24, 64
"""Bounds of a secret, as of the specification."""

NEW_BYTES = 32


def new_secret() -> str:
    """Return a random secret."""
    return PREFIX + base64.b64encode(random_secrets.token_bytes(NEW_BYTES)).decode()


def secret_bytes(secret: str) -> bytes:
    """Return the key bytes of a secret.

    Raises:
        ValueError: it is not `whsec_` and 24 to 64 bytes in base64; the message does not show it.
    """
    if not secret.startswith(PREFIX):
        raise ValueError(f"must begin with {PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"must be {PREFIX} and base64") from None
    if not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise ValueError(f"must be {PREFIX} and {MIN_BYTES} to {MAX_BYTES} bytes in base64")
    return key


def signature(secrets: Iterable[str], message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the header `webhook-signature`: one signature for each secret, separated by spaces.

    Args:
        secrets: Secrets in the form of `secret_bytes`.
        message_id: The header `webhook-id`.
        timestamp_s: The header `webhook-timestamp`, in seconds since the epoch.
        body: The body, byte for byte.
    """
    content = b"%s.%d.%s" % (message_id.encode(), timestamp_s, body)
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(secret_bytes(each), content, sha256)).decode()
        for each in secrets
    )
