"""First receipts of the log kept in Redis, under a lease that is renewed while the log is read."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from streams.projection.receipts import LEASE_S, ReceiptStore
from streams.replay.receipts import ReceiptLog

RENEW_S = LEASE_S / 5
"""Seconds between two renewals of the lease."""


async def keep_new(
    log: ReceiptLog, store: ReceiptStore, holder: str, renew_s: float = RENEW_S
) -> int | None:
    """Keep the receipts that are new in the log for units that have none in Redis.

    Args:
        log: Read in a thread, from where it was read to before.
        store: Where they are kept.
        holder: Process that holds the lease.
        renew_s: Seconds between two renewals of the lease, well below `LEASE_S`.

    Returns:
        How many were kept; None if the lease was lost, so that some may be missing.

    Raises:
        DependencyError: Redis, Kafka or the schema registry does not answer.
        LogError: records were deleted while they were read.
    """
    loop = asyncio.get_running_loop()
    chunks = log.new()
    kept = 0
    # A separate pool: reading a long log must not occupy a thread of the shared one.
    pool = ThreadPoolExecutor(1, "receipts")
    try:
        while True:
            reading = loop.run_in_executor(pool, next, chunks, None)
            while not reading.done():
                # Before the first chunk all commands are read, which may outlast the lease.
                await asyncio.wait({reading}, timeout=renew_s)
                if not await store.keep_lease(holder):
                    return None
            chunk = reading.result()
            if chunk is None:
                # Before the receipts are declared complete: units of these experiments must be
                # looked up.
                await store.alias(log.aliased)
                await store.note_sets(log.chosen_from_sets)
                for place, (before, first) in log.displaced.items():
                    await store.replace(place, before, first)
                return kept
            kept += await store.add(chunk)
    finally:
        await loop.run_in_executor(pool, chunks.close)
        pool.shutdown(wait=False)
