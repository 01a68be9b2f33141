"""A child process that writes to a log file and ends with this process."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PROBE_INTERVAL_S = 0.05
_TAIL_BYTES = 4096


class ChildFailedError(Exception):
    """A child ended, or did not answer in time.

    Attributes:
        child: Name of the child.
        tail: Last lines of its log.
    """

    def __init__(self, child: str, reason: str, tail: str) -> None:
        super().__init__(f"{child} {reason}")
        self.child = child
        self.tail = tail


class Child:
    """A program that this process starts, watches and stops.

    The child runs in a separate session, so that Ctrl-C in a terminal reaches only the supervisor,
    which then stops everything in order. On Linux the kernel kills the child when this process
    ends, also by SIGKILL.

    Attributes:
        name: What it is called in messages; also the name of its log file.
        log: File that receives its output, appended over restarts; None where it goes where that
            of this process goes.
        grace_s: Seconds it may take to end when asked to.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path | None,
        grace_s: float = 0.75,
    ) -> None:
        self.name = name
        self.log = None if directory is None else directory / f"{name}.log"
        self.grace_s = grace_s
        self._command = tuple(command)
        self._environment = dict(environment)
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the running child; None when it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def has_succeeded(self) -> bool:
        """Whether the program has ended with code 0."""
        return self._process is not None and self._process.returncode == 0

    async def start(self) -> None:
        """Start the program; `ready` waits until it answers.

        Raises:
            ChildFailedError: the program cannot be executed.
        """
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.nullcontext() if self.log is None else self.log.open("ab") as log:
            starting = asyncio.ensure_future(
                asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=None if log is None else asyncio.subprocess.STDOUT,
                    env=self._environment,
                    cwd=self._directory,
                    start_new_session=True,
                    preexec_fn=_die_with_parent(),
                )
            )
            try:
                self._process = await asyncio.shield(starting)
            except asyncio.CancelledError:
                self._process = await starting  # or it could not be stopped
                raise
            except OSError as error:
                raise ChildFailedError(self.name, f"cannot start: {error}", self.tail()) from error

    async def ready(self, probe: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
        """Wait until `probe` answers True.

        Raises:
            ChildFailedError: the child ended first, or `timeout_s` seconds passed.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not await probe():
                    if self.pid is None:
                        raise ChildFailedError(self.name, self._ending(), self.tail())
                    await asyncio.sleep(_PROBE_INTERVAL_S)
        except TimeoutError as error:
            reason = f"did not answer within {timeout_s:g} s"
            raise ChildFailedError(self.name, reason, self.tail()) from error

    async def ended(self) -> str:
        """Wait until the program ends, and return how, as in `exited with code 1`."""
        if self._process is not None:
            await self._process.wait()
        return self._ending()

    def hang_up(self) -> None:
        """Send SIGHUP, at which a process of this project reads its files of keys again."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    @property
    def place(self) -> str:
        """Ending of a message that names its log; empty where its output is at hand."""
        return "" if self.log is None else f" (log: {self.log})"

    async def stop(self) -> None:
        """Ask the program to end, and kill it, with what it started, when its grace is over."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self.grace_s)
        # The child led a process group; whatever it left behind goes too.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        if self.log is None:
            return ""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    def _ending(self) -> str:
        code = self._process.returncode if self._process is not None else None
        if code is None:
            return "does not run"
        return f"exited with code {code}" if code >= 0 else f"was ended by signal {-code}"


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of `host` that is free and is not handed out again soon.

    A connection that its listener has closed first occupies the port for a minute (TIME_WAIT). A
    server that names the port may listen on it all the same, since servers set SO_REUSEADDR, while
    the kernel gives it to no socket that asks for any free port. A port that was only bound and
    closed could be given to another process before its server, which takes seconds, has started.

    Raises:
        OSError, UnicodeError: the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        with socket.create_connection(server.getsockname()[:2]):
            server.accept()[0].close()
        return int(server.getsockname()[1])


async def accepts(host: str, port: int) -> bool:
    """Return whether a server accepts connections there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _die_with_parent() -> Callable[[], None] | None:
    """Return what a new child must call before it becomes its program; None where impossible."""
    if sys.platform != "linux":
        return None
    # Loaded here, since a child between fork and exec must not import or lock anything.
    libc = ctypes.CDLL(None, use_errno=True)
    return functools.partial(_ask_for_death_signal, libc.prctl, os.getpid())


def _ask_for_death_signal(prctl: Callable[..., int], parent: int) -> None:
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we could ask
        os._exit(1)
