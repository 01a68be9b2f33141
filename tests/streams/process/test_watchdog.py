"""A hung event loop ends its process; a stopped process does not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from streams.process.watchdog import BEAT_S, LoopWatchdog
from tests.patience import PATIENCE_S

PROGRAM = """
import asyncio, logging, sys, time
from streams.process import watchdog
from streams.process.logs import configure_logging
from streams.process.watchdog import LoopWatchdog

watchdog.GIL_FACTOR = 1_000  # or a machine that stops while the process is stopped would end it

def stuck_in_nan():
    low = float("nan")
    while not low > 1.0:
        low = low + 1.0

async def main():
    with LoopWatchdog(2.0):
        print("up", flush=True)
        await asyncio.sleep(float(sys.argv[1]))
        if sys.argv[2] == "hang":
            stuck_in_nan()
        elif sys.argv[2] == "work":
            for _ in range(3):
                time.sleep(0.8)
                await asyncio.sleep(0.5)
        elif sys.argv[2] == "log":
            while True:
                logging.info("x" * 10_000)

configure_logging("INFO")
asyncio.run(main())
"""


def start(sleep_s: float, then: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(sleep_s), then],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_a_loop_stuck_in_nan_is_ended_with_its_place_in_the_log() -> None:
    process = start(1.0, "hang")
    _, said = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 70
    assert "in stuck_in_nan" in said
    assert "the event loop has not turned for 2 s" in said


def test_a_loop_that_hangs_in_its_log_is_ended_although_the_log_is_not_read() -> None:
    process = start(0.2, "log")

    assert process.wait(timeout=PATIENCE_S) == 70


def test_work_shorter_than_the_limit_ends_nothing() -> None:
    process = start(0.5, "work")
    process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 0


def test_a_process_that_was_stopped_for_longer_than_the_limit_goes_on() -> None:
    process = start(7.0, "end")
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(4.5)
    os.kill(process.pid, signal.SIGCONT)
    process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 0


async def test_the_lag_of_the_loop_is_measured() -> None:
    began_s = time.monotonic()
    with LoopWatchdog(60.0, pytest.fail) as watchdog:
        await asyncio.sleep(BEAT_S / 5)
        time.sleep(2 * BEAT_S)  # noqa: ASYNC251 - what is measured
        await asyncio.sleep(0.05)

        # The heartbeat was due within the sleep, or before it on a machine that had stopped.
        assert BEAT_S < watchdog.lag_s < time.monotonic() - began_s
