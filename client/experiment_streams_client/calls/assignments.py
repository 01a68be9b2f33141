"""Calls that assign variants to units, and take units out again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.http.models.requests import AssignmentContext, VoidRequest
from api.http.models.responses import (
    Accepted,
    Assignment,
    AssignmentsPage,
    ErrorDetails,
    ErrorResponse,
)
from experiment_streams_client.calls.base import Call, Method
from experiment_streams_client.calls.requests import json_of, path


class AssignmentCalls:
    """Assign variants, and void assignments."""

    @Method
    @staticmethod
    def assign_variant(
        experiment_id: str, context: AssignmentContext | Mapping[str, Any] | None = None
    ) -> Call[Assignment]:
        """Choose the variant for one request.

        Args:
            experiment_id: Id or key of a running experiment, or a concluded one with a control
                share.
            context: Who asks: `AssignmentContext(user_id=…)`, or a mapping with the JSON names.

        Raises:
            ApiError: 404 `EXPERIMENT_NOT_FOUND`, 409 `EXPERIMENT_NOT_RUNNING`, 422 if the unit that
                the experiment randomises is missing.

        Examples:
            ```
            assignment = client.assign_variant(experiment.id, AssignmentContext(user_id="user_123"))
            ad_id = assignment.config["adId"]
            ```
        """
        # A second request of an impression-level experiment would be a second impression.
        return Call(
            "POST",
            path("experiments", experiment_id, "assign"),
            Assignment.model_validate,
            _context(context),
            is_repeatable=False,
        )

    @Method
    @staticmethod
    def assign_variants(
        experiment_ids: Sequence[str], contexts: Sequence[AssignmentContext | Mapping[str, Any]]
    ) -> Call[tuple[tuple[Assignment | ErrorDetails, ...], ...]]:
        """Choose the variants of several experiments for several units at once.

        Returns:
            One row per context; each row has, for each experiment in the given order, an assignment
            or the error that prevented it.
        """
        body = {
            "experimentIds": list(experiment_ids),
            "units": [_context(context) for context in contexts],
        }
        return Call("POST", "/assign", _assignments, body, is_repeatable=False)

    @Method
    @staticmethod
    def void_assignments(voids: Iterable[VoidRequest]) -> Call[Accepted]:
        """Take units and all that was observed of them out again: bots, invalid traffic, deletions.

        Repetition changes nothing. Observations of these units that come later do not count either.

        Returns:
            How many were taken, and in `rejected` which were not and why.

        Raises:
            ApiError: 422 if none can be taken: the assignment ids are forged (`FORGED_RECEIPT`), or
                their attribution window has ended (`VOID_TOO_LATE`).

        Examples:
            ```
            client.void_assignments([VoidRequest(assignment_id=assignment.id, reason="ivt")])
            ```
        """
        return Call(
            "POST",
            "/assignments/void",
            Accepted.model_validate,
            [json_of(void) for void in voids],
        )


def _context(context: AssignmentContext | Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(context, AssignmentContext):
        return json_of(context)
    return dict(context or {})


def _assignments(payload: Any) -> tuple[tuple[Assignment | ErrorDetails, ...], ...]:
    """Return the assignments or errors of an answer, one row per unit."""
    rows = AssignmentsPage.model_validate(payload).assignments
    return tuple(
        tuple(each.error if isinstance(each, ErrorResponse) else each for each in row)
        for row in rows
    )
