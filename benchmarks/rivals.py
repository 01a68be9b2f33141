"""Other programs over the same topic: `python rivals.py NAME BROKER TOPIC RECORDS GROUP`.

| name | what it does with a record | what is durable |
|---|---|---|
| `loop` | confluent-kafka, decoded with fastavro, counted by metric in memory | nothing |
| `faust` | nothing | nothing |
| `faust-table` | counts it by one of 100 keys in a table | a changelog record each |
| `quix` | nothing | nothing |
| `quix-state` | counts it in the state of its message key | a changelog record each at a commit |

None checks a receipt or remembers an event. Each runs with stock settings but for the offset to
start at and the session timeout, in half of which the embedded broker forms a group, and prints
`RATE` with its records per second between the first and the last of RECORDS.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

SINGLE_OBJECT_HEADER_BYTES = 10
KEYS = 100
PARTITIONS = 4
SESSION_S = 6
SESSION = {"session.timeout.ms": SESSION_S * 1000}
POLL_S = 0.5


class Clock:
    """Counts records, and prints the rate at the last one."""

    def __init__(self, records: int) -> None:
        self._records = records
        self._began_s = 0.0
        self.seen = 0

    def tick(self) -> None:
        """Count one record."""
        if not self.seen:
            self._began_s = time.monotonic()
        self.seen += 1
        if self.seen == self._records:
            rate = self._records / (time.monotonic() - self._began_s)
            os.write(1, f"RATE {rate:.1f}\n".encode())  # Faust takes sys.stdout for its log

    @property
    def key(self) -> str:
        """The key the record counts for."""
        return str(self.seen % KEYS)


def run_loop(broker: str, topic: str, group: str, clock: Clock) -> None:
    """Poll, decode, count; offsets are committed as the client does by default."""
    # Here and below: every program is run by the interpreter that has its packages.
    from confluent_kafka import Consumer  # noqa: PLC0415
    from fastavro import parse_schema, schemaless_reader  # noqa: PLC0415
    from fastavro.schema import load_schema  # noqa: PLC0415

    path = Path(__file__).resolve().parent.parent / "schemas" / "observation.avsc"
    schema = parse_schema(load_schema(str(path)))
    consumer = Consumer(
        {"bootstrap.servers": broker, "group.id": group, "auto.offset.reset": "earliest"} | SESSION
    )
    consumer.subscribe([topic])
    metrics: Counter[str] = Counter()
    while True:
        for message in consumer.consume(5_000, POLL_S):
            value = message.value() or b""
            body = BytesIO(value[SINGLE_OBJECT_HEADER_BYTES:])
            record: Any = schemaless_reader(body, schema, None)
            metrics[record["metric"]] += 1
            clock.tick()


def run_faust(broker: str, topic: str, group: str, clock: Clock, *, has_table: bool) -> None:
    """Run a stock application."""
    import faust  # noqa: PLC0415

    app: Any = faust.App(
        group,
        broker=f"kafka://{broker}",
        value_serializer="raw",
        topic_partitions=PARTITIONS,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=2,
        broker_rebalance_timeout=3 * SESSION_S,
    )
    counts = app.Table("counts", default=int, partitions=PARTITIONS) if has_table else None

    async def read(stream: Any) -> None:
        async for _ in stream:
            if counts is not None:
                counts[clock.key] += 1
            clock.tick()

    app.agent(app.topic(topic, value_type=bytes, value_serializer="raw"))(read)
    app.finalize()
    faust.Worker(app, loglevel="error").execute_from_commandline()


def run_quix(broker: str, topic: str, group: str, clock: Clock, *, has_state: bool) -> None:
    """Run a stock application."""
    quixstreams: Any = import_module("quixstreams")  # of the dependency group `bench` alone

    with tempfile.TemporaryDirectory() as directory:
        app = quixstreams.Application(
            broker_address=broker,
            consumer_group=group,
            auto_offset_reset="earliest",
            state_dir=directory,
            consumer_extra_config=SESSION,
            loglevel="ERROR",
        )
        frame = app.dataframe(
            app.topic(topic, key_deserializer="bytes", value_deserializer="bytes")
        )

        def pass_by(_: bytes) -> None:
            clock.tick()

        def count(_: bytes, state: Any) -> None:
            state.set("count", state.get("count", 0) + 1)
            clock.tick()

        if has_state:
            frame.update(count, stateful=True)
        else:
            frame.update(pass_by)
        app.run()


RUNS: dict[str, Callable[[str, str, str, Clock], None]] = {
    "loop": run_loop,
    "faust": lambda *arguments: run_faust(*arguments, has_table=False),
    "faust-table": lambda *arguments: run_faust(*arguments, has_table=True),
    "quix": lambda *arguments: run_quix(*arguments, has_state=False),
    "quix-state": lambda *arguments: run_quix(*arguments, has_state=True),
}


def main() -> None:
    """Run one of them until it is stopped."""
    name, broker, topic, records, group = sys.argv[1:]
    RUNS[name](broker, topic, group, Clock(int(records)))


if __name__ == "__main__":
    main()
