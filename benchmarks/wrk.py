"""Load from `wrk`, a closed loop over HTTP, and the figures of its report."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

from benchmarks.stack import names

SCRIPT = Path(__file__).with_name("assign.lua")


def is_missing() -> bool:
    """Return whether `wrk` is not installed, and say so."""
    if shutil.which("wrk") is not None:
        return False
    sys.stderr.write("wrk is not installed\n")
    return True


async def report_of(
    url: str, n_experiments: int, *, seconds: int, connections: int, body: str = "full"
) -> str:
    """Return the report on assignments from one thread.

    Args:
        url: Address of the API.
        n_experiments: Experiments that are asked in turn.
        seconds: Length of the run.
        connections: Requests at once.
        body: `full` or `bare`, as `assign.lua` takes it.
    """
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"),
        *("-s", str(SCRIPT), url, "--", body, *names(n_experiments)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return output.decode()


def rate_of(report: str) -> float:
    """Return the requests per second of a report."""
    return float(found(r"Requests/sec:\s+([\d.]+)", report))


def requests_of(report: str) -> float:
    """Return the number of requests of a report."""
    return float(found(r"(\d+) requests in", report))


def found(pattern: str, text: str, otherwise: str = "nan") -> str:
    """Return the first group of a pattern in a text."""
    match = re.search(pattern, text)
    return match[1] if match else otherwise
