"""Definition of a webhook: what is kept of it is read again, also what was kept before a field."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from streams.experiments.labels import MAX_TAG, MAX_TAGS
from streams.webhooks.definition import Format, WebhookDefinition, WebhookRequest

TAGS = st.lists(
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=MAX_TAG),
    unique=True,
    max_size=MAX_TAGS,
)


def test_a_record_of_before_there_were_tags_is_of_all_experiments():
    kept = WebhookDefinition.from_json({"host": "https://receiver.example", "events": ["*"]})

    assert (kept.tags, kept.experiments) == ((), ())


@given(TAGS)
def test_tags_are_kept_as_they_were_given(tags):
    asked = WebhookRequest(url="https://receiver.example", format=Format.SLACK, tags=tags)
    definition = WebhookDefinition(host="https://receiver.example", tags=asked.tags)

    kept = WebhookDefinition.from_json(json.loads(json.dumps(definition.to_json())))
    assert kept == definition
    assert list(kept.tags) == tags
