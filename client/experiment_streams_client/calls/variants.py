"""Calls that change the variants of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.http.models.responses import Experiment
from experiment_streams_client.calls.base import Call, Method
from experiment_streams_client.calls.requests import experiment_command, given, path


class VariantCalls:
    """Add a variant, and change one."""

    @Method
    @staticmethod
    def add_variant(
        experiment_id: str,
        name: str,
        idempotency_key: str | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        weight: float | None = None,
        reason: str | None = None,
        expected_version: int | None = None,
    ) -> Call[Experiment]:
        """Add a variant to a draft, a running or a paused experiment.

        It comes behind all others, and is compared by the units that were assigned since.

        Args:
            experiment_id: The experiment.
            name: Name of the variant, unique within the experiment.
            idempotency_key: As for `create_experiment`.
            config: Returned with an assignment to it.
            weight: Share of the traffic of the active variants that it gets under a fixed policy,
                in (0, 1); as much as the others have on average unless given.
            expected_version: As for `start_experiment`.

        Raises:
            ApiError: 422 `TOO_MANY_VARIANTS` beyond 16 of a running experiment, `DUPLICATE_NAME`,
                `WEIGHTS_NOT_USED` under an adaptive policy; 409 `INVALID_TRANSITION`.
        """
        whole = None if config is None else dict(config)
        body = given(name=name, config=whole, weight=weight)
        place = path("experiments", experiment_id, "variants")
        return experiment_command("POST", place, body, idempotency_key, reason, expected_version)

    @Method
    @staticmethod
    def change_variant(
        experiment_id: str,
        variant_id: str,
        idempotency_key: str | None = None,
        *,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        is_active: bool | None = None,
        reason: str | None = None,
        expected_version: int | None = None,
    ) -> Call[Experiment]:
        """Rename a variant, change its configuration, stop or reactivate it.

        A stopped variant is assigned to no unit, keeps its id and its tallies, and is compared with
        the control only. A unit that had it is shown another variant (`REDRAWN`).

        Args:
            experiment_id: A draft, a running or a paused experiment.
            variant_id: Id or name of the variant.
            idempotency_key: As for `create_experiment`.
            name: Its new name; its id stays.
            config: Its new configuration, as a whole.
            is_active: False to stop it, True to reactivate it.
            expected_version: As for `start_experiment`.

        Raises:
            ApiError: 404 `VARIANT_NOT_FOUND`; 422 `CONTROL_STOPPED`, `TOO_FEW_ACTIVE` if fewer than
                two were left, `DUPLICATE_NAME`; 409 `INVALID_TRANSITION`.
        """
        whole = None if config is None else dict(config)
        body = given(name=name, config=whole, isActive=is_active)
        place = path("experiments", experiment_id, "variants", variant_id)
        return experiment_command("PATCH", place, body, idempotency_key, reason, expected_version)
