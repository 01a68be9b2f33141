"""`experiment receipts rebuild` keeps its lease for as long as it reads the log."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from streams.cli import receipts as module
from streams.replay.receipt_rebuild import keep_new
from streams.settings import Settings
from tests.streams.worker.test_receipts import FIRST, SECOND, Log, speak_after_renewals
from tests.twins.receipts import MemoryReceiptStore


async def test_a_lease_outlives_a_log_that_is_silent_for_longer(monkeypatch):
    """All commands are read before the first receipt, and that may take longer than a lease."""
    store = MemoryReceiptStore(complete=False)
    log = Log([{FIRST: b"one"}, {SECOND: b"two"}])
    speak_after_renewals(log, store)

    @contextlib.asynccontextmanager
    async def connect(_: str) -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(module, "connect", connect)
    monkeypatch.setattr(module, "ReceiptStore", lambda *_: store)
    monkeypatch.setattr(module, "ReceiptLog", lambda *_: log)
    monkeypatch.setattr(module, "keep_new", partial(keep_new, renew_s=0.01), raising=False)
    settings = Settings(receipt_keys=f"1:{'ab' * 32}")  # type: ignore[arg-type]
    source: Any = None

    found = await module._rebuild(settings, source)

    assert found == {"kept": 2, "impressions": 2, "complete": True}
    assert store.receipts == {FIRST: b"one", SECOND: b"two"}
    assert store.holder is None
