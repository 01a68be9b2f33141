"""Calls that change the status of an experiment."""

from __future__ import annotations

from typing import Literal

from api.http.models.responses import Experiment
from experiment_streams_client.calls.base import Call, Method
from experiment_streams_client.calls.requests import experiment_command, given, path


class LifecycleCalls:
    """Start, pause, resume, conclude, roll back and archive."""

    @Method
    @staticmethod
    def start_experiment(
        experiment_id: str,
        idempotency_key: str | None = None,
        *,
        reason: str | None = None,
        expected_version: int | None = None,
    ) -> Call[Experiment]:
        """Start a draft: from now on it assigns.

        Args:
            experiment_id: A draft.
            idempotency_key: As for `create_experiment`.
            reason: As for `create_experiment`.
            expected_version: `version` of the experiment that the caller saw; if it has changed
                since, the command is refused. None for whichever it has. Every command to an
                experiment takes one.

        Raises:
            ApiError: 404 `EXPERIMENT_NOT_FOUND`, 409 `INVALID_TRANSITION`, 409 `VERSION_CONFLICT`.
        """
        return _bare("start", experiment_id, idempotency_key, reason, expected_version)

    @Method
    @staticmethod
    def pause_experiment(
        experiment_id: str,
        idempotency_key: str | None = None,
        *,
        reason: str | None = None,
        expected_version: int | None = None,
    ) -> Call[Experiment]:
        """Stop assigning; observations of earlier assignments still count."""
        return _bare("pause", experiment_id, idempotency_key, reason, expected_version)

    @Method
    @staticmethod
    def resume_experiment(
        experiment_id: str,
        idempotency_key: str | None = None,
        *,
        reason: str | None = None,
        expected_version: int | None = None,
    ) -> Call[Experiment]:
        """Go on assigning after a pause."""
        return _bare("resume", experiment_id, idempotency_key, reason, expected_version)

    @Method
    @staticmethod
    def conclude_experiment(
        experiment_id: str,
        winner_variant_id: str | None = None,
        idempotency_key: str | None = None,
        *,
        control_share: float | None = None,
        serve: Literal["winner", "control", "none"] | None = None,
        reason: str | None = None,
        expected_version: int | None = None,
    ) -> Call[Experiment]:
        """End an experiment.

        Until it is archived, all users get the winner (`SHIPPED`), or without one the control. One
        that has a control share continues assigning its winner, and the control beside it.

        Args:
            experiment_id: A running or a paused experiment.
            winner_variant_id: Variant it is concluded with; None for no winner.
            idempotency_key: As for `create_experiment`.
            control_share: Share that the control keeps beside the winner, in [0, 0.5]; that of the
                experiment unless given.
            serve: What all users get until it is archived; `none` for nothing. The winner unless
                given, or without one the control.

        Raises:
            ApiError: 422 `UNKNOWN_VARIANT` if the winner is not a variant of the experiment,
                `WINNER_NOT_NAMED` if none is to be served, `CONTROL_SHARE_NOT_USED` if a share is
                kept beside a winner that is not served.
        """
        body = given(winnerVariantId=winner_variant_id, controlShare=control_share, serve=serve)
        place = path("experiments", experiment_id, "conclude")
        return experiment_command("POST", place, body, idempotency_key, reason, expected_version)

    @Method
    @staticmethod
    def rollback_experiment(
        experiment_id: str,
        idempotency_key: str | None = None,
        *,
        reason: str | None = None,
        expected_version: int | None = None,
    ) -> Call[Experiment]:
        """Take a promoted or shipped winner back: all users get the control until it is archived.

        Raises:
            ApiError: 409 `INVALID_TRANSITION` if no winner is promoted or shipped, or no longer.
        """
        return _bare("rollback", experiment_id, idempotency_key, reason, expected_version)

    @Method
    @staticmethod
    def archive_experiment(
        experiment_id: str,
        idempotency_key: str | None = None,
        *,
        reason: str | None = None,
        expected_version: int | None = None,
    ) -> Call[Experiment]:
        """Put a draft or a concluded experiment away."""
        return _bare("archive", experiment_id, idempotency_key, reason, expected_version)


def _bare(
    action: str,
    experiment_id: str,
    idempotency_key: str | None,
    reason: str | None,
    expected_version: int | None,
) -> Call[Experiment]:
    """Return a command that has nothing to say but its name."""
    place = path("experiments", experiment_id, action)
    return experiment_command("POST", place, {}, idempotency_key, reason, expected_version)
