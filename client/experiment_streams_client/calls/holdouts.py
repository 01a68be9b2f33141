"""Calls for holdouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from api.http.models.responses import Holdout, Holdouts
from experiment_streams_client.calls.base import Call, Method
from experiment_streams_client.calls.requests import command, given, path
from streams.experiments.stats_response import Stats


class HoldoutCalls:
    """Hold units out of experiments, compare them with all others, and end that."""

    @Method
    @staticmethod
    def create_holdout(
        key: str,
        share: float,
        experiments: Sequence[str] = ("*",),
        *,
        unit: Literal["user", "session"] = "user",
        primary_metric: str | None = None,
        idempotency_key: str | None = None,
        reason: str | None = None,
    ) -> Call[Holdout]:
        """Hold a share of the units out of experiments, from now on.

        Args:
            key: Key of the holdout, taken permanently.
            share: Share of the units that are held out, 0.0001 to 0.5.
            experiments: Keys and ids of the experiments, or `*` alone for all.
            unit: What is held out; of experiments that randomise by it.
            primary_metric: Metric that its recommendation goes by; all are compared.
            idempotency_key: Repeating a key gives the same holdout.
        """
        body = given(
            key=key,
            share=share,
            experiments=list(experiments),
            unit=unit,
            primaryMetric=primary_metric,
        )
        return command("POST", "/holdouts", body, Holdout.model_validate, idempotency_key, reason)

    @Method
    @staticmethod
    def list_holdouts() -> Call[tuple[Holdout, ...]]:
        """Return all holdouts, newest first."""
        return Call("GET", "/holdouts", lambda payload: Holdouts.model_validate(payload).holdouts)

    @Method
    @staticmethod
    def get_holdout(key: str) -> Call[Holdout]:
        """Return a holdout."""
        return Call("GET", path("holdouts", key), Holdout.model_validate)

    @Method
    @staticmethod
    def get_holdout_stats(key: str, *, at: Literal["conclusion"] | None = None) -> Call[Stats]:
        """Return what the units held out did, and all others, by every metric.

        Args:
            key: The holdout.
            at: `conclusion` for what was known when it ended; None for what is known now.

        Raises:
            ApiError: 409 `NOT_CONCLUDED` or `REPORT_NOT_READY` if it has not ended.
        """
        return Call("GET", path("holdouts", key, "stats", at=at), Stats.from_json)

    @Method
    @staticmethod
    def end_holdout(
        key: str, idempotency_key: str | None = None, *, reason: str | None = None
    ) -> Call[Holdout]:
        """End a holdout: it stops holding units out, and its report is kept."""
        return command(
            "DELETE", path("holdouts", key), {}, Holdout.model_validate, idempotency_key, reason
        )

    @Method
    @staticmethod
    def archive_holdout(
        key: str, idempotency_key: str | None = None, *, reason: str | None = None
    ) -> Call[Holdout]:
        """Put a holdout away that has ended: what its units do is not counted any more."""
        return command(
            "POST",
            path("holdouts", key, "archive"),
            {},
            Holdout.model_validate,
            idempotency_key,
            reason,
        )
