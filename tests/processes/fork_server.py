"""A program that has imported the engine, and becomes a process of it in each of its forks.

Every process of the engine imports numpy, scipy, pydantic and Faust or FastAPI, which takes seconds
of the processor, and the tests start hundreds. A fork of this program has them already. It has no
thread and no connection that a fork could not have; random numbers of Python and of OpenSSL are
drawn again in a fork.

Requests come on a socket, whose descriptor is the argument of the program, each with what is to be
the fork's standard input, output and error. The answer is the fork's id. The fork is a child of the
asking process, which must be a subreaper (prctl(2)) until the answer has come.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

STANDARD = (0, 1, 2)
LARGEST = 1 << 20
"""Bytes of a request, at most."""

IMPORTED = ("streams.worker.main", "api.process")

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the socket is closed; in a fork, run what was asked for."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # no fork looks through what all of them share, which would copy it
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        request = _serve(asked)
    if request is not None:
        _become(request)


def _serve(asked: socket.socket) -> dict[str, Any] | None:
    """Answer requests; return one in the fork that is to do it, and None when no more can come."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, LARGEST, len(STANDARD))
        if not message:
            return None
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            child = os.fork()
            if child:
                os.write(writing, str(child).encode())
                os._exit(0)
            os.close(reading)
            os.close(writing)
            for descriptor, number in zip(descriptors, STANDARD, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            return json.loads(message)  # type: ignore[no-any-return]
        os.close(writing)
        os.waitpid(between, 0)  # from now on the fork belongs to who has asked
        asked.send(os.read(reading, 32))
        for descriptor in (reading, *descriptors):
            os.close(descriptor)


def _become(request: dict[str, Any]) -> None:
    """Run a module as `python -m` does."""
    if request["leads_session"]:
        os.setsid()
    _die_with(request["parent"])
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    # Those of this program were made for what it writes to.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.path[0] = str(Path.cwd())
    module, *arguments = request["arguments"]
    sys.argv = ["-m", *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _die_with(parent: int) -> None:
    while os.getppid() != parent:  # still of the process between them
        time.sleep(0.001)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    main()
