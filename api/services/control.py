"""Commands to experiments: one record in the log, one answer from a worker, each at most once."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from api.command_log import MAX_COMMAND_BYTES, RETRY_AFTER_S
from api.snapshots.follower import SnapshotFollower
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.definition_versions import unused
from streams.experiments.lifecycle import Experiment
from streams.experiments.shared_unit_conflicts import (
    check_shared_units,
    refusal,
    refused_in_layers,
)
from streams.experiments.snapshot import Snapshot
from streams.experiments.transitions import apply_command
from streams.experiments.variant_changes import DraftEdit
from streams.model.authors import UNKNOWN_ORIGIN, Origin
from streams.model.command_ids import key_digest, keyed_command_id
from streams.model.errors import DependencyError, EngineError, InputError
from streams.model.events import Answer, Command, CommandKind
from streams.model.experiment_keys import key_number
from streams.model.ids import experiment_id
from streams.wire.commands import encode_command

_ID_BYTES = 16
_NUMBER_BITS = 64


class IdempotencyKey(NamedTuple):
    """The idempotency key of a command, with its caller and body.

    Attributes:
        key: The header's text.
        caller: Name of the API key it came with; empty where the API asks for none. A key of one
            caller is independent of the same text of another.
        body: The request's body in one spelling: the same key with another body is refused.
    """

    key: str
    caller: str
    body: bytes


class CommandLog(Protocol):
    """The log of commands."""

    async def append(self, command: Command) -> None:
        """Return when the command is in the log; raise DependencyError when it will not be."""


class AnswerSource(Protocol):
    """The answers of the workers."""

    async def answer(self, command_id: str) -> Answer | None:
        """Return an answer if there is one yet."""

    async def wait_for_answer(self, command_id: str, timeout_s: float) -> Answer | None:
        """Return an answer, or None after the timeout."""


DEFAULT_MAX_EXPERIMENTS = 1_000


class Preview(NamedTuple):
    """Result that a command would have.

    Attributes:
        snapshot: Newest snapshot of the experiment; None before the first.
        after: The experiment after the command.
    """

    snapshot: Snapshot | None
    after: Experiment


class CommandService:
    """Sender of commands, which waits for the answer and for the snapshot that follows."""

    def __init__(
        self,
        log: CommandLog,
        answers: AnswerSource,
        follower: SnapshotFollower,
        timeout_s: float,
        now_ms: Callable[[], int],
        max_experiments: int = DEFAULT_MAX_EXPERIMENTS,
    ) -> None:
        self._log = log
        self._answers = answers
        self._follower = follower
        self._timeout_s = timeout_s
        self._now_ms = now_ms
        self._max_experiments = max_experiments
        # Of commands that depend on other experiments, this process sends one after the other.
        self._sharing = asyncio.Lock()

    async def create(
        self,
        definition: ExperimentDefinition,
        key: IdempotencyKey | None,
        origin: Origin = UNKNOWN_ORIGIN,
    ) -> Snapshot:
        """Create an experiment; the same key of the same caller gives the same one again.

        The number of one with a `config.key`, and of a holdout, is that of its key, so a creation
        with another key is a command to another experiment.

        Raises:
            EngineError: as `change`.
        """
        payload = _created(definition)
        number = _number_of(definition, key)
        self._follower.experiments.check_room(experiment_id(number), self._max_experiments)
        if definition.config.layer is None:
            return await self._send(number, CommandKind.CREATE, payload, key, origin)
        async with self._sharing:
            await self._follower.sweep()
            check_shared_units(number, definition, self._known())
            return await self._send(number, CommandKind.CREATE, payload, key, origin)

    async def preview_creation(
        self, definition: ExperimentDefinition, key: IdempotencyKey | None
    ) -> Preview:
        """Return what `create` would do, without doing it.

        Raises:
            EngineError: as `create` would.
        """
        number = _number_of(definition, key)
        self._follower.experiments.check_room(experiment_id(number), self._max_experiments)
        return await self.preview(number, CommandKind.CREATE, _created(definition))

    async def preview_edit(
        self, number: int, edit: DraftEdit, expected_version: int | None = None
    ) -> Preview:
        """Return what `edit` would do, without doing it.

        Raises:
            EngineError: as `edit` would.
        """
        return await self.preview(number, CommandKind.EDIT, _edited(edit), expected_version)

    async def preview(
        self,
        number: int,
        kind: CommandKind,
        payload: Mapping[str, Any],
        expected_version: int | None = None,
    ) -> Preview:
        """Return what a command would do, without giving it.

        It is applied to the newest snapshot by the code of the workers, so that it is refused as
        the command itself would be, unless another one comes in between.

        Raises:
            EngineError: as `change` would.
        """
        await self._follower.sweep()
        found = self._follower.experiments.snapshots().get(experiment_id(number))
        before = None if found is None else found.experiment
        command = Command(
            "0" * 2 * _ID_BYTES,
            number,
            kind,
            self._now_ms(),
            payload,
            expected_version=expected_version,
        )
        size = len(encode_command(command))
        if size > MAX_COMMAND_BYTES:
            message = f"{size} bytes as a command, must be <= {MAX_COMMAND_BYTES}"
            raise InputError("COMMAND_TOO_LARGE", message)
        after = apply_command(before, command)
        if kind in _SHARING and after.definition.config.layer is not None:
            created_at_ms = before.created_at_ms if kind is CommandKind.START and before else None
            check_shared_units(number, after.definition, self._known(), created_at_ms)
        return Preview(found, after)

    async def edit(
        self,
        number: int,
        edit: DraftEdit,
        key: IdempotencyKey | None,
        origin: Origin = UNKNOWN_ORIGIN,
        expected_version: int | None = None,
    ) -> Snapshot:
        """Put another definition in the place of a draft's.

        Raises:
            EngineError: as `change`.
        """
        payload = _edited(edit)
        kind = CommandKind.EDIT
        if edit.config.layer is None:
            return await self._send(number, kind, payload, key, origin, expected_version)
        async with self._sharing:
            await self._follower.sweep()
            check_shared_units(number, edit, self._known())
            return await self._send(number, kind, payload, key, origin, expected_version)

    async def change(
        self,
        number: int,
        kind: CommandKind,
        payload: Mapping[str, Any],
        key: IdempotencyKey | None,
        origin: Origin = UNKNOWN_ORIGIN,
        expected_version: int | None = None,
    ) -> Snapshot:
        """Send a command to an experiment and return it as the command left it.

        Args:
            number: The experiment.
            kind: Kind of the command.
            payload: Its arguments.
            key: Its idempotency key; None for none.
            origin: Who gave it, and why.
            expected_version: Version that its author saw; the worker refuses it if the experiment
                has changed since. None for whichever it has.

        Raises:
            EngineError: the worker refused, with the code and path it gave.
            DependencyError: the log cannot be written (`DEPENDENCY_UNAVAILABLE`), or the answer did
                not come in time (`COMMAND_TIMED_OUT`); the same key later gives the answer.
            InputError: it cannot be started beside another one of its layer, see
                `check_shared_units`.
        """
        found = self._follower.experiments.snapshots().get(experiment_id(number))
        if (
            kind is not CommandKind.START
            or found is None
            or found.experiment.definition.config.layer is None
        ):
            return await self._send(number, kind, payload, key, origin, expected_version)
        own = found.experiment
        async with self._sharing:
            await self._follower.sweep()
            check_shared_units(number, own.definition, self._known(), own.created_at_ms)
            started = await self._send(number, kind, payload, key, origin, expected_version)
            # Another process may have started one that overlaps meanwhile.
            await self._follower.sweep()
            other = refused_in_layers(self._known()).get(number)
            if other is not None:
                raise refusal(other)
            return started

    def _known(self) -> Iterator[Experiment]:
        return (each.experiment for each in self._follower.experiments.snapshots().values())

    async def _send(
        self,
        number: int,
        kind: CommandKind,
        payload: Mapping[str, Any],
        key: IdempotencyKey | None,
        origin: Origin = UNKNOWN_ORIGIN,
        expected_version: int | None = None,
    ) -> Snapshot:
        command_id = (
            secrets.token_hex(_ID_BYTES)
            if key is None
            else keyed_command_id(key.body, key.caller, key.key, kind, experiment_id(number))
        )
        deadline = time.monotonic() + self._timeout_s
        # A repeated command that was answered does not trouble the log again.
        answer = None if key is None else await self._answers.answer(command_id)
        if answer is None:
            command = Command(
                command_id, number, kind, self._now_ms(), payload, origin, expected_version
            )
            await self._log.append(command)
            answer = await self._answers.wait_for_answer(command_id, deadline - time.monotonic())
        if answer is None:
            raise DependencyError(
                "worker",
                f"no worker answered within {self._timeout_s:g} s; repeat the request with the "
                "same Idempotency-Key to get the answer",
                code="COMMAND_TIMED_OUT",
                retry_after_s=RETRY_AFTER_S,
            )
        if not answer.accepted:
            raise EngineError(
                answer.code or "INTERNAL", answer.message or "refused", answer.path or ""
            )
        name = experiment_id(number)
        left_s = deadline - time.monotonic()
        return await self._follower.at_version(name, answer.version, left_s)


_SHARING = frozenset({CommandKind.CREATE, CommandKind.EDIT, CommandKind.START})
"""Commands that depend on other experiments of a layer."""


def _number_of(definition: ExperimentDefinition, key: IdempotencyKey | None) -> int:
    """Return the number of an experiment that is created."""
    own, holdout = definition.config.key, definition.config.holdout
    if holdout is not None:
        number: int = holdout.number
    elif own is not None:
        number = key_number(own)
    elif key is not None:
        number = int.from_bytes(key_digest("experiment", key.caller, key.key))
    else:
        number = secrets.randbits(_NUMBER_BITS)
    return number


def _created(definition: ExperimentDefinition) -> dict[str, Any]:
    """Return the payload of a creation."""
    return definition.model_dump(by_alias=True, mode="json", exclude=unused(definition))


def _edited(edit: DraftEdit) -> dict[str, Any]:
    """Return the payload of an edit."""
    unversioned = {"version": True} if edit.version is None else {}
    return edit.model_dump(
        by_alias=True, mode="json", exclude={**(unused(edit) or {}), **unversioned}
    )
