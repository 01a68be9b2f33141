"""Experiments, keys and the clock that a process which assigns locally reads from the API."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, cast

import pytest

from api.snapshots.feed import FORMAT, PROOF
from experiment_streams_client.clients import ExperimentClient
from experiment_streams_client.local.snapshots import LocalExperiments
from streams.model.errors import ConfigurationError
from streams.model.receipts import Keyring
from streams.wire.snapshots import serving_state
from tests.api.memory import KEYRING, NOW_MS
from tests.streams.experiments.test_assignment import snapshot

AHEAD_MS, BEHIND_MS = 600_000, -3_600_000


def keys_of(keyring: Keyring) -> list[str]:
    """Return what an API with these keys proves them by."""
    return [keyring.tag(PROOF + b"p", key_id=each).hex() for each in keyring.ids]


class Answers:
    """A client whose API has one experiment."""

    def __init__(self) -> None:
        state = serving_state(snapshot(key="home", receiptKey=KEYRING.ids[0]))
        self.body = {
            "format": FORMAT,
            "position": "p",
            "nowMs": NOW_MS,
            "keys": keys_of(KEYRING),
            "isWhole": True,
            "partitions": 4,
            "askedFor": [],
            "refused": [],
            "gone": [],
            "states": [state],
        }

    def send(self, _: object) -> dict[str, Any]:
        return self.body


def warnings_of(
    caplog: pytest.LogCaptureFixture, *skews_ms: int
) -> tuple[list[str], LocalExperiments]:
    """Return what is logged when the clocks differ by this much at one reading after another."""
    left = iter(skews_ms)
    client = cast("ExperimentClient", Answers())
    followed = LocalExperiments(client, KEYRING, lambda: NOW_MS + next(left))
    with caplog.at_level(logging.WARNING):
        for _ in skews_ms:
            followed.read(0.0)
    return [record.getMessage() for record in caplog.records], followed


@pytest.mark.parametrize("skew_ms", [0, 5_000, -5_000])
def test_small_differences_are_normal(caplog: pytest.LogCaptureFixture, skew_ms: int) -> None:
    said, followed = warnings_of(caplog, skew_ms)

    assert (said, followed.clock_skew_ms) == ([], skew_ms)


@pytest.mark.parametrize(
    ("skew_ms", "side"), [(AHEAD_MS, "600 s ahead of"), (BEHIND_MS, "3,600 s behind")]
)
def test_a_clock_that_is_wrong_is_warned_of_with_its_side(
    caplog: pytest.LogCaptureFixture, skew_ms: int, side: str
) -> None:
    [said], followed = warnings_of(caplog, skew_ms)

    assert f"the clock of this machine is {side} the API's" in said
    assert followed.clock_skew_ms == skew_ms


def test_a_warning_is_given_once_until_the_clock_was_right(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said, _ = warnings_of(caplog, AHEAD_MS, AHEAD_MS, 0, BEHIND_MS, BEHIND_MS)

    assert [each.split()[8:10] for each in said] == [["ahead", "of"], ["behind", "the"]]


def test_an_api_that_does_not_send_its_clock_is_not_compared() -> None:
    client = Answers()
    del client.body["nowMs"]
    followed = LocalExperiments(cast("ExperimentClient", client), KEYRING, lambda: 0)

    followed.read(0.0)

    assert followed.clock_skew_ms is None


def test_a_key_that_the_api_has_no_longer_signs_nothing() -> None:
    """All that it signs would be refused, so the API is asked, until it has the key again."""
    client = Answers()
    followed = LocalExperiments(cast("ExperimentClient", client), KEYRING, lambda: NOW_MS)
    signed: list[bool] = []
    for keyring in (KEYRING, Keyring({9: bytes(32)}), KEYRING):
        client.body |= {"keys": keys_of(keyring), "isWhole": not signed}
        with suppress(ConfigurationError):
            followed.read(0.0)
        signed.append(followed.by_name["home"].is_signed_here)

    assert signed == [True, False, True]
