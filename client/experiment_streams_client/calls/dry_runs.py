"""The call that tries a command."""

from __future__ import annotations

from typing import Any

from api.http.models.dry_run import DryRun
from experiment_streams_client.calls.base import Call, Method
from streams.model.errors import InputError


class DryRunCalls:
    """Try a command."""

    @Method
    @staticmethod
    def dry_run(command: Call[Any]) -> Call[DryRun]:
        """Return what a command would do; everything is checked as for it, and nothing changes.

        Args:
            command: The command, as a method of the class describes it.

        Raises:
            ApiError: as the command itself.

        Examples:
            ```
            tried = client.dry_run(ExperimentClient.pause_experiment(experiment.id))
            for effect in tried.effects:
                print(effect.code, effect.units)
            ```
        """
        if not command.is_command:
            raise InputError("NOT_A_COMMAND", f"{command.path} changes nothing", "command")
        call = Call(
            command.method, command.path, DryRun.model_validate, command.body, is_command=True
        )
        return call.with_parameters(dryRun="true")
