"""Processor time of the embedded broker to write a record and to read it, by what is there already.

    python -m benchmarks.broker_reads [--batches 60 500 1000 2000] [--rounds 60]

Every record is a separate batch in the only partition, and is read as soon as it is there. For a
fetch that finds something the broker looks through all batches of the partition.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.local.tansu import start_tansu

TOPIC = TopicPartition("reads", 0)
VALUE = bytes(150)
FETCH_WAIT_MS = 40


async def main(arguments: argparse.Namespace) -> None:
    """Measure, and print a line for each number of batches."""
    with tempfile.TemporaryDirectory() as directory:
        broker, address = await start_tansu(Path(directory))
        process = _listening(address)
        producer = AIOKafkaProducer(bootstrap_servers=address, acks="all")
        consumer = AIOKafkaConsumer(bootstrap_servers=address, fetch_max_wait_ms=FETCH_WAIT_MS)
        await producer.start()
        await producer.send_and_wait(TOPIC.topic, VALUE, partition=TOPIC.partition)
        await consumer.start()
        consumer.assign([TOPIC])
        written = 1
        for batches in arguments.batches:
            while written < batches:
                await producer.send_and_wait(TOPIC.topic, VALUE, partition=TOPIC.partition)
                written += 1
            await consumer.seek_to_end(TOPIC)
            await consumer.getmany(timeout_ms=5 * FETCH_WAIT_MS)
            used_s = _processor_s(process)
            for _ in range(arguments.rounds):
                await producer.send_and_wait(TOPIC.topic, VALUE, partition=TOPIC.partition)
                await consumer.getone()
            used_s = (_processor_s(process) - used_s) / arguments.rounds
            written += arguments.rounds
            print(f"{written} batches: {used_s * 1e3:.2f} ms of the broker to write and read one")
        await consumer.stop()
        await producer.stop()
        await broker.stop()


def _listening(address: str) -> psutil.Process:
    """Return the child that listens at an address."""
    port = int(address.rpartition(":")[2])
    for child in psutil.Process().children(recursive=True):
        if any(str(port) in word for word in child.cmdline()):
            return child
    raise LookupError(address)


def _processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--batches", type=int, nargs="+", default=[60, 500, 1_000, 2_000])
    parser.add_argument("--rounds", type=int, default=60)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(_arguments()))
