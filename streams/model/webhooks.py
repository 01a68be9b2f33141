"""Records of webhooks in the log, as frozen values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ID = re.compile(r"wh_[a-z2-7]{26}")


def is_webhook_id(text: str) -> bool:
    """Return whether a text is the id of a webhook.

    >>> is_webhook_id("wh_" + "a" * 26), is_webhook_id("wh_A")
    (True, False)
    """
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """A webhook in the log.

    Attributes:
        webhook_id: Its id.
        definition: What is no secret, as JSON values.
        sealed: Address and secrets, encrypted.
    """

    webhook_id: str
    definition: Mapping[str, Any]
    sealed: bytes


@dataclass(frozen=True, slots=True)
class WebhookProgressRecord:
    """Progress of a webhook in the log.

    Attributes:
        webhook_id: Its id.
        progress: Positions, events that wait and state, as JSON values.
    """

    webhook_id: str
    progress: Mapping[str, Any]
