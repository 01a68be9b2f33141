"""Processes that are forked from one that assigns or publishes: they change nothing of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from experiment_streams_client.forks import ForkedError, unwatch_forks, watch_forks
from experiment_streams_client.impressions import ImpressionPublisher
from experiment_streams_client.outbox import Outbox
from experiment_streams_client.publisher import ObservationPublisher
from tests.api.http_server import served
from tests.client.test_local_assigner import (
    FIXED,
    MemorySink,
    assigning,
    counted,
    journal,
    logged,
    row,
)
from tests.client.test_publisher import KEYRING, NOWHERE, receipt

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no forks")

REFUSED, DONE, FAILED = range(3)


def result_in_child(call: Callable[[], object]) -> int:
    """Return what a call comes to in a forked process."""
    child = os.fork()
    if not child:
        result = FAILED
        with suppress(BaseException):
            try:
                call()
                result = DONE
            except ForkedError:
                result = REFUSED
        os._exit(result)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


async def test_a_child_neither_assigns_nor_touches_what_its_parent_has_logged(
    tmp_path: Path,
) -> None:
    sink = MemorySink()
    async with served(tmp_path / "api") as server:
        name = await server.api.run(FIXED)
        options = {"sink": sink, "every_s": 60.0}
        async with assigning(server, tmp_path / "local", **options) as call:
            assigner = call.assigner
            await call("assign", name, "before")

            assert result_in_child(lambda: assigner.assign(name, "in the child")) == REFUSED
            assert result_in_child(assigner.close) == DONE

            await call("assign", name, "after")
    assert sum(counted(sink.taken).values()) == 2


def test_what_a_process_leaves_is_adopted_while_a_child_of_it_lives(tmp_path: Path) -> None:
    left = journal(tmp_path, 1)
    reading, writing = os.pipe()
    started, starting = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.close(starting)  # which the parent waits for
        os.read(reading, 1)  # until the parent has closed it
        os._exit(0)
    os.close(starting)
    os.read(started, 1)
    try:
        left.append(*logged(row(0)))
        left.close()
        adopting = journal(tmp_path, 2)
        rows = [adopting.read(segment).n_rows for segment in adopting.sealed()]
        adopting.close()
    finally:
        os.close(writing)
        os.close(reading)
        os.close(started)
        os.waitpid(child, 0)

    assert sum(rows) == 1


def test_a_child_publishes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "count_partitions", lambda *_: 4)
    observations = ObservationPublisher(NOWHERE)
    impressions = ImpressionPublisher(NOWHERE, KEYRING)

    assert result_in_child(lambda: observations.publish(receipt(), "click", 1)) == REFUSED
    assert result_in_child(lambda: impressions.publish("k", 0, 0.5)) == REFUSED
    assert result_in_child(observations.flush) == REFUSED


class Held:
    """Something that is shared with a parent, and may fail to let go of it."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.has_let_go = False

    def after_fork(self) -> None:
        self.has_let_go = True
        if self.fails:
            raise OSError("it is closed")


def test_one_object_that_fails_after_a_fork_keeps_no_other_from_letting_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    held = [Held(fails=number % 2 == 0) for number in range(8)]
    for each in held:
        watch_forks(each)
    try:

        def all_have_let_go() -> None:
            assert all(each.has_let_go for each in held)
            [each] = reported
            assert len(each.exc_value.exceptions) == 4

        assert result_in_child(all_have_let_go) == DONE
    finally:
        for each in held:
            unwatch_forks(each)
