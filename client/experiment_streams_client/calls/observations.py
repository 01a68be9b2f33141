"""Calls that record what units did, and what they were shown."""

from __future__ import annotations

from collections.abc import Iterable

from api.http.models.requests import ExposureRequest, ObservationRequest
from api.http.models.responses import Accepted
from experiment_streams_client.calls.base import Call, Method
from experiment_streams_client.calls.requests import json_of
from streams.model.validation import parse


class ObservationCalls:
    """Record observations and exposures, one or several."""

    @Method
    @staticmethod
    def record_observation(
        assignment_id: str,
        metric: str,
        value: float,
        event_id: str | None = None,
        timestamp: int | None = None,
    ) -> Call[Accepted]:
        """Record what a unit did after its assignment.

        Args:
            assignment_id: `Assignment.id`.
            metric: Name of the metric.
            value: In units of the metric; 1 for a click, 49.99 for a payment.
            event_id: The sender's name of the event. The same one for the same assignment and
                metric counts once. Without one every call counts, and is not repeated after a
                connection that broke off.
            timestamp: Time of the event, in milliseconds since the epoch; now unless given.

        Raises:
            InputError: a field is out of its bounds (`NOT_FINITE`, `OUT_OF_RANGE`); nothing was
                sent.
            ApiError: 422 if the assignment id is forged, truncated or expired.

        Examples:
            ```
            client.record_observation(assignment.id, "revenue", 49.99, event_id="order_1")
            ```
        """
        fields = {
            "assignment_id": assignment_id,
            "metric": metric,
            "value": value,
            "event_id": event_id,
            "timestamp": timestamp,
        }
        observation = parse(ObservationRequest, fields)
        return Call(
            "POST",
            "/observations",
            Accepted.model_validate,
            json_of(observation),
            is_repeatable=event_id is not None,
        )

    @Method
    @staticmethod
    def record_unit_observation(
        metric: str,
        value: float,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        experiment: str | None = None,
        event_id: str | None = None,
        timestamp: int | None = None,
    ) -> Call[Accepted]:
        """Record what a user or a session did, without an assignment id.

        Args:
            metric: Name of the metric.
            value: In units of the metric.
            user_id: The user; or
            session_id: the session.
            experiment: Id or key of the experiment; every running one that declares the metric and
                in which the unit is, unless given.
            event_id, timestamp: As in `record_observation`.

        Raises:
            InputError: a field is out of its bounds, or not one of user and session is given;
                nothing was sent.
            ApiError: 422 if the unit is in no such experiment (`UNKNOWN_UNIT`).

        Examples:
            ```
            client.record_unit_observation("revenue", 49.99, user_id="user_1", event_id="order_1")
            ```
        """
        fields = {
            "user_id": user_id,
            "session_id": session_id,
            "experiment": experiment,
            "metric": metric,
            "value": value,
            "event_id": event_id,
            "timestamp": timestamp,
        }
        return Call(
            "POST",
            "/observations",
            Accepted.model_validate,
            json_of(parse(ObservationRequest, fields)),
            is_repeatable=event_id is not None,
        )

    @Method
    @staticmethod
    def record_observations(observations: Iterable[ObservationRequest]) -> Call[Accepted]:
        """Record several observations in one request: the valid ones are accepted atomically.

        Returns:
            How many were taken, and in `rejected` which were not and why.

        Raises:
            ApiError: 422 if none can be taken, with the path of the first, as in
                `[0].assignmentId`.

        Examples:
            ```
            taken = client.record_observations(observations)
            for each in taken.rejected:
                log.warning("observation %d: %s %s", each.index, each.code, each.path)
            ```
        """
        taken = tuple(observations)
        return Call(
            "POST",
            "/observations",
            Accepted.model_validate,
            [json_of(observation) for observation in taken],
            is_repeatable=all(observation.event_id is not None for observation in taken),
        )

    @Method
    @staticmethod
    def record_exposure(
        assignment_id: str, *, event_id: str | None = None, timestamp: int | None = None
    ) -> Call[Accepted]:
        """Record that an assigned variant was shown, of an experiment whose `exposure` is `event`.

        Its unit counts once, from the earliest of its exposures on, so a call may be repeated.

        Args:
            assignment_id: `Assignment.id`.
            event_id: The sender's name of the event, for its own use.
            timestamp: Time of the exposure, in milliseconds since the epoch; now unless given.

        Raises:
            InputError: a field is out of its bounds (`OUT_OF_RANGE`); nothing was sent.
            ApiError: 422 if the assignment id is forged, truncated or expired, or its experiment
                counts units from their assignment (`EXPOSURE_NOT_USED`).

        Examples:
            ```
            client.record_exposure(assignment.id)
            ```
        """
        fields = {"assignment_id": assignment_id, "event_id": event_id, "timestamp": timestamp}
        exposure = parse(ExposureRequest, fields)
        return Call(
            "POST", "/exposures", Accepted.model_validate, json_of(exposure), is_repeatable=True
        )

    @Method
    @staticmethod
    def record_exposures(exposures: Iterable[ExposureRequest]) -> Call[Accepted]:
        """Record several exposures in one request: the valid ones are accepted atomically.

        Returns:
            How many were taken, and in `rejected` which were not and why.

        Raises:
            ApiError: 422 if none can be taken, with the path of the first, as in
                `[0].assignmentId`.

        Examples:
            ```
            client.record_exposures(ExposureRequest(assignmentId=each.id) for each in assignments)
            ```
        """
        bodies = [json_of(exposure) for exposure in exposures]
        return Call("POST", "/exposures", Accepted.model_validate, bodies, is_repeatable=True)
