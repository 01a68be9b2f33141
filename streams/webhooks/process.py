"""One process of webhooks, configured by the environment alone."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from streams.process.exits import die, end_within, leave
from streams.process.metrics_server import start_metrics_server
from streams.process.running import run_process
from streams.settings import ENVIRONMENT_PREFIX, Settings, load_settings
from streams.webhooks.configuration import policy_of, retries_of
from streams.webhooks.delivery import WebhookDelivery
from streams.webhooks.dispatcher import Rules
from streams.webhooks.sealing import seals_of
from streams.webhooks.sender import Sender
from streams.wire.framing import decoding


def main() -> int:
    """Deliver until SIGTERM, and return the exit code: 2 on a configuration error."""
    return run_process(load_settings, _run, run=asyncio.run, on_outage=die)


async def _run(settings: Settings) -> None:
    policy = policy_of(settings)
    seals = seals_of(settings)
    if settings.webhooks_metrics_port:
        start_metrics_server(
            settings.webhooks_metrics_host,
            settings.webhooks_metrics_port,
            f"{ENVIRONMENT_PREFIX}WEBHOOKS_METRICS_PORT",
        )
    async with (
        decoding(settings.schema_registry_url) as frames,
        Sender(policy, settings.webhook_timeout_s) as sender,
    ):
        rules = Rules(policy, retries_of(settings.webhook_retries_s))
        delivering = asyncio.create_task(
            WebhookDelivery(settings, seals, frames, sender, rules).run(), name="webhooks"
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _stop, delivering)
        with contextlib.suppress(asyncio.CancelledError):
            await delivering
    # Threads may wait for Kafka or a name server, but hold nothing that would be lost.
    leave()


def _stop(delivering: asyncio.Task[None]) -> None:
    """Stop; a second signal does not interrupt what the first one began."""
    if not delivering.cancelling():
        end_within()
        delivering.cancel()
