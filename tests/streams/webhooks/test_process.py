"""The process of webhooks ends soon after a signal, whatever does not answer it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.patience import PATIENCE_S

PROGRAM = """
import asyncio, sys, threading
from functools import partial
from streams.settings import Settings
from streams.webhooks import process

never = threading.Event()

class Delivery:
    def __init__(self, _settings, _seals, _framing, sender, _rules):
        self.sender = sender

    async def run(self):
        # A name server that does not answer, and a thread that waits for Kafka.
        self.sender._resolvers.submit(never.wait)
        waiting = asyncio.create_task(asyncio.to_thread(never.wait))
        print("up", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            print("stopping", flush=True)
            if sys.argv[1] == "never":
                await asyncio.shield(waiting)

process.WebhookDelivery = Delivery
process.end_within = partial(process.end_within, 1.0)
asyncio.run(process._run(Settings()))
"""


@pytest.mark.parametrize("progress", ["written", "never"])
def test_it_ends_although_threads_wait_and_although_it_is_asked_twice(progress):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, progress], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGTERM)

        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.communicate()
