"""A topic that a worker may not read on is noticed while it runs."""

from __future__ import annotations

import asyncio

import pytest

from streams.kafka.topics import TopicDescriptions, TopicState
from streams.model.errors import ConfigurationError, DependencyError, EngineError
from streams.settings import Settings
from streams.worker import identities as module
from streams.worker.identities import TopicIdentities
from tests.patience import until_true

SETTINGS = Settings(partitions=4)
NAME = "observations"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, TopicState | Exception]:
    """Answers of the cluster about the topic; an error is raised once."""
    found: dict[str, TopicState | Exception] = {NAME: TopicState(NAME, "first", 4, 1)}

    def describe(_: object, names: set[str]) -> TopicDescriptions:
        assert NAME in names
        state = found[NAME]
        if isinstance(state, Exception):
            found[NAME] = TopicState(NAME, "first", 4, 1)
            raise state
        return TopicDescriptions({NAME: state})

    monkeypatch.setattr(module, "describe", describe)
    monkeypatch.setattr(module, "LOOK_S", 0.001)
    return found


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (TopicState(NAME, "second", 4, 1), "TOPIC_MADE_ANEW"),
        (TopicState(NAME, "first", 6, 1), "PARTITIONS_DIFFER"),
        (TopicState(NAME, None, 6, 1), "PARTITIONS_DIFFER"),  # of a broker without ids
    ],
)
async def test_a_topic_that_becomes_another_is_refused(cluster, state, code):
    identities = TopicIdentities(SETTINGS, [NAME])
    identities.look()
    refused: list[EngineError] = []

    async def refuse(error: EngineError) -> None:
        refused.append(error)

    watching = asyncio.create_task(identities.watch(refuse))
    cluster[NAME] = DependencyError("kafka", "away")
    await until_true(lambda: not isinstance(cluster[NAME], Exception))
    assert not refused
    cluster[NAME] = state
    await until_true(lambda: bool(refused))
    watching.cancel()

    assert {each.code for each in refused} == {code}
    with pytest.raises(ConfigurationError):
        identities.look()
