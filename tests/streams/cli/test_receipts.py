"""`experiment receipts rebuild` keeps its lease for as long as it reads the log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from streams.cli import receipts as module
from streams.replay.receipt_rebuild import keep_new
from streams.settings import Settings
from tests.streams.worker.test_receipts import FIRST, SECOND, Log
from tests.twins.receipts import MemoryReceiptStore

LEASE_S = 0.3


class Expiring(MemoryReceiptStore):
    """A lease that another worker takes once it was not renewed for `LEASE_S`."""

    until_s = 0.0

    async def lease(self, worker_id: str) -> bool:
        self.until_s = time.monotonic() + LEASE_S
        return await super().lease(worker_id)

    async def keep_lease(self, worker_id: str) -> bool:
        if time.monotonic() > self.until_s:
            self.holder = "another worker"
        self.until_s = time.monotonic() + LEASE_S
        return await super().keep_lease(worker_id)


async def test_a_lease_outlives_a_log_that_is_silent_for_longer(monkeypatch):
    """All commands are read before the first receipt, and that may take longer than a lease."""
    store = Expiring(complete=False)
    log = Log([{FIRST: b"one"}, {SECOND: b"two"}], silence_s=3 * LEASE_S)

    @contextlib.asynccontextmanager
    async def connect(_: str) -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(module, "connect", connect)
    monkeypatch.setattr(module, "ReceiptStore", lambda *_: store)
    monkeypatch.setattr(module, "ReceiptLog", lambda *_: log)
    monkeypatch.setattr(module, "keep_new", partial(keep_new, renew_s=LEASE_S / 5), raising=False)
    settings = Settings(receipt_keys=f"1:{'ab' * 32}")  # type: ignore[arg-type]
    source: Any = None

    found = await module._rebuild(settings, source)

    assert found == {"kept": 2, "impressions": 2, "complete": True}
    assert store.receipts == {FIRST: b"one", SECOND: b"two"}
    assert store.holder is None
