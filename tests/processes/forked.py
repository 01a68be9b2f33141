"""Processes of the engine that are forked from one that has imported it, for the tests.

What is under test begins with the first line of `__main__` and is the same; what is saved are some
two seconds of the processor for each. The commands that start a whole stack, `up` and `demo`, are
executed as users do it, and with them workers, APIs, webhooks and dashboards.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from tests.processes import fork_server
from tests.processes.fork_server import STANDARD

ROOT = Path(__file__).parents[2]

_ANSWER = 32
"""Bytes of an answer, at most."""
_PR_SET_CHILD_SUBREAPER = 36
_MODULES = {"api", "streams.cli", "streams.webhooks", "streams.worker"}
_STARTING_A_STACK = {"up", "demo"}
_FOR_THE_INTERPRETER = ("PYTHON", "LD_", "LC_", "LANG", "OPENBLAS_", "OMP_")
"""Beginnings of variables that a process reads before it runs a line of ours."""

_UNASKED = {"preexec_fn": None, "pass_fds": (), "process_group": -1, "umask": -1, "uid": None}
"""Arguments of processes that a fork cannot honor, each with the value it has when unset."""

_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_arguments = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]


class ForkServer:
    """A running `fork_server`, started when it is first asked at the latest."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._asking: socket.socket | None = None
        self._variables = _of_the_interpreter(os.environ)

    def suits(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Return whether a command is to be a fork."""
        match command:
            case [sys.executable, "-m", module, *arguments]:
                return (
                    sys.platform == "linux"
                    and module in _MODULES
                    and not _STARTING_A_STACK & set(arguments[:1])
                    and _of_the_interpreter(environment) == self._variables
                )
            case _:
                return False

    def fork(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: str,
        standard: Sequence[int],
        *,
        leads_session: bool,
    ) -> int:
        """Return the id of a new child of this process that runs a module with arguments."""
        request = {
            "arguments": [os.fspath(each) for each in arguments],
            "environment": dict(environment),
            "directory": directory,
            "leads_session": leads_session,
            "parent": os.getpid(),
        }
        asking = self.start()
        with self._lock:
            _set_subreaper(1)
            try:
                socket.send_fds(asking, [json.dumps(request).encode()], standard)
                answer = asking.recv(_ANSWER)
            finally:
                _set_subreaper(0)
        if not answer:
            raise RuntimeError("the fork server has ended")
        return int(answer)

    def start(self) -> socket.socket:
        """Start the server if it does not run, and return where it is asked."""
        with self._lock:
            if self._asking is None:
                self._asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with asked:
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", fork_server.__name__, str(asked.fileno())],
                        pass_fds=[asked.fileno()],
                        cwd=ROOT,
                        stdin=subprocess.DEVNULL,
                    )
            return self._asking

    def stop(self) -> None:
        """End the server; what it has forked continues."""
        if self._asking is not None and self._process is not None:
            self._asking.close()
            self._process.wait()


def forking(server: ForkServer) -> type[subprocess.Popen[Any]]:
    """Return the class of processes that are forks of `server` where it suits them."""

    class Process(subprocess.Popen[Any]):
        def _execute_child(self, *given: Any) -> None:
            of = _arguments.bind(self, *given).arguments
            environment = os.environ if of["env"] is None else of["env"]
            pipes = [of[name] for name in ("p2cread", "c2pwrite", "errwrite")]
            standard = [
                own if pipe == -1 else pipe for pipe, own in zip(pipes, STANDARD, strict=True)
            ]
            is_plain = all(of[name] == value for name, value in _UNASKED.items())
            if (
                not is_plain
                or not server.suits(of["args"], environment)
                or any(map(os.isatty, standard))
            ):
                super()._execute_child(*given)  # type: ignore[misc]
                return
            self.pid = server.fork(
                of["args"][2:],
                environment,
                os.fspath(of["cwd"] or Path.cwd()),
                standard,
                leads_session=of["start_new_session"],
            )
            self._child_created = True
            self._close_pipe_fds(*(of[name] for name in _PIPES))  # type: ignore[attr-defined]

    return Process


def _of_the_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name.startswith(_FOR_THE_INTERPRETER)
    }


def _set_subreaper(value: int) -> None:
    """Have children of ended children become those of this process, or no longer."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, value)
