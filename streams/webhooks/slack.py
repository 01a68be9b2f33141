"""Bodies for Slack's incoming webhooks and compatible receivers: one plain sentence each.

Source: https://docs.slack.dev/messaging/formatting-message-text (escaping of &, < and >)
"""

from __future__ import annotations

from typing import Any

import orjson

from streams.webhooks.event_types import EventType
from streams.webhooks.events import Event

MAX_NAME = 200
"""Characters of a name in a sentence; Slack cuts messages of more than 40,000."""

_STATUS_SENTENCES = {
    EventType.CREATED: "was created.",
    EventType.EDITED: "was edited.",
    EventType.STARTED: "was started.",
    EventType.PAUSED: "was paused: it assigns no units until it is resumed.",
    EventType.RESUMED: "was resumed.",
    EventType.UPDATED: "was changed.",
    EventType.VARIANT_ADDED: "has another variant.",
    EventType.VARIANT_CHANGED: "has a changed variant.",
    EventType.ROLLED_BACK: "was rolled back: all users get the control.",
    EventType.ARCHIVED: "was archived.",
    EventType.REPORTED: "has its final report.",
}

_ACTIONS = {
    "continue": "Go on: nothing is decided yet.",
    "conclude_winner": "Conclude it with the winner {winner}.",
    "conclude_no_difference": "Conclude it: there is no difference that matters.",
    "stop_guardrail": "Stop it: a variant harms a guardrail metric.",
    "investigate": "Investigate: the data are faulty, and nothing is concluded from them.",
}


def slack_body(event: Event) -> bytes:
    """Return the body of an event for Slack. Markup in names is shown and has no effect."""
    return orjson.dumps({"text": escaped(sentence(event)), "mrkdwn": False})


def escaped(text: str) -> str:
    """Return a text with the characters escaped that Slack acts on.

    >>> escaped("<!channel> & co")
    '&lt;!channel&gt; &amp; co'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def sentence(event: Event) -> str:
    """Return an event as plain sentences."""
    if event.type is EventType.TEST:
        return f"Test of the webhook {event.data['webhookId']}: it works."
    return f"{_subject(event.data['experiment'])} {_predicate(event)}"


def _subject(experiment: dict[str, Any]) -> str:
    holdout = experiment.get("holdout")
    if holdout is not None:
        return f"Holdout {_short(holdout)}"
    name, key = experiment.get("name"), experiment.get("key")
    if not name:
        return f"Experiment {experiment['id']}"
    return f"Experiment “{_short(name)}” ({_short(key or experiment['id'])})"


def _predicate(event: Event) -> str:
    data = event.data
    match event.type:
        case EventType.CONCLUDED | EventType.PROMOTED:
            by = " automatically" if data.get("isAutomatic") else ""
            winner = data.get("winner")
            end = "without a winner" if winner is None else f"with the winner {_variant(winner)}"
            return f"was concluded{by} {end}."
        case EventType.SCHEDULE_APPLIED:
            return f"follows its schedule: it is {data.get('status')} now."
        case EventType.COMMAND_REFUSED:
            return f"refused the command {data.get('command')}: {data.get('code')}."
        case EventType.RECOMMENDATION_CHANGED:
            return f"has another recommendation. {_recommendation(data)}"
        case _:
            return _STATUS_SENTENCES[event.type]


def _recommendation(data: Any) -> str:
    action = str(data.get("action"))
    known = _ACTIONS.get(action)
    # A newer engine may recommend what has no text here, and its name is no text to fill in.
    winner = _variant(data.get("winner") or {})
    text = f"{action}." if known is None else known.format(winner=winner)
    confidence = data.get("confidence")
    if action == "conclude_winner" and isinstance(confidence, int | float):
        text += f" Confidence {confidence:.1%}."
    reason = data.get("reasonCode")
    return f"{text} Reason: {reason}." if reason else text


def _variant(variant: dict[str, Any]) -> str:
    return f"“{_short(variant.get('name') or variant.get('id') or '?')}”"


def _short(text: str) -> str:
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"
