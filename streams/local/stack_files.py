"""Registry of the stacks of this machine, so that commands that know an API's port find the rest.

One file per stack, `stacks/{port}.json` in the user's state folder, readable by the user alone. It
has the path of the receipt keys, not the keys.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from platformdirs import user_state_path

from schemas.catalogue import APP
from streams.local.plan import StackPlan
from streams.model.errors import ConfigurationError
from streams.settings import Settings

_CLOCK_ROUNDING_S = 1.0
_SECRETS = frozenset({"RECEIPT_KEYS"})


@dataclass(frozen=True, slots=True)
class RunningStack:
    """One stack of this user on this machine.

    Attributes:
        url: Where its API answers.
        port: Port of its API.
        pid: Process id of its supervisor.
        started_at: When that process began, seconds since the epoch; distinguishes it from a later
            process with the same id.
        directory: Its data directory.
        settings: Settings of its children, by setting name in lower case, without secrets.
    """

    url: str
    port: int
    pid: int
    started_at: float
    directory: str
    settings: dict[str, str]

    def as_settings(self) -> Settings:
        """Return this process's settings with those of the stack over them."""
        chosen: dict[str, Any] = dict(self.settings)
        if "receipt_keys_file" in chosen:
            chosen["receipt_keys"] = None  # those of this process are of another installation
        return Settings(**chosen)

    def runs(self) -> bool:
        """Return whether the supervisor is still the process that wrote the entry."""
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started_at) < _CLOCK_ROUNDING_S
        except psutil.Error:
            return False


def stack_directory() -> Path:
    """Return the folder of the entries; it may not exist yet."""
    return user_state_path(APP) / "stacks"


def find_stack(port: int) -> RunningStack | None:
    """Return the running stack whose API has `port`; None without one on this machine."""
    path = stack_directory() / f"{port}.json"
    try:
        stack = RunningStack(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # absent, incomplete, or of another release
        return None
    return stack if stack.runs() else None


@contextlib.contextmanager
def registered(plan: StackPlan, overrides: Mapping[str, str]) -> Iterator[None]:
    """Keep an entry for a running stack while the block runs.

    Raises:
        ConfigurationError: the entry cannot be written.
    """
    pid = os.getpid()
    stack = RunningStack(
        url=plan.local_url,
        port=plan.port,
        pid=pid,
        started_at=psutil.Process(pid).create_time(),
        directory=str(plan.directory),
        settings={name.lower(): value for name, value in overrides.items() if name not in _SECRETS},
    )
    path = stack_directory() / f"{plan.port}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = path.with_suffix(f".{pid}")
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(asdict(stack), indent=1))
        unfinished.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
