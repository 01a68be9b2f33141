"""Worker processes of one generation, kept running beside what this process does meanwhile."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from streams.local.child_groups import keep_all, stop_all
from streams.local.children import Child
from streams.settings import ENVIRONMENT_PREFIX, Settings, variables

GRACE_S = 6.0
"""Longest wait for a worker to end: what is folded by then is durable."""


@contextmanager
def running_workers(
    settings: Settings, count: int, report: Callable[[str], None]
) -> Iterator[Future[None]]:
    """Run workers with these settings, and stop them in the end.

    Yields a future that never completes; fails with a `ChildFailedError` when a worker cannot run
    at all. One that ends otherwise, as it does when Kafka fails it, is started again.

    Args:
        settings: Those of each worker.
        count: How many.
        report: Called when a worker has ended, from another thread.
    """
    directory = settings.data_dir / f"generation-{settings.generation}"
    # A page of metrics would need a port for each.
    own = {f"{ENVIRONMENT_PREFIX}WORKER_METRICS_PORT": "0"}
    command = (sys.executable, "-m", "streams.worker")
    children = [
        Child(f"worker-{index + 1}", command, os.environ | variables(settings) | own, directory)
        for index in range(count)
    ]
    for child in children:
        child.grace_s = GRACE_S
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="workers")
    thread.start()
    keeping = asyncio.run_coroutine_threadsafe(keep_all(children, report), loop)
    try:
        yield keeping
    finally:
        keeping.cancel()
        asyncio.run_coroutine_threadsafe(stop_all(children), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
