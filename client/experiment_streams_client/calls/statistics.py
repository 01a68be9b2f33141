"""Calls for what is known of an experiment."""

from __future__ import annotations

from typing import Literal

from experiment_streams_client.calls.base import Call, Method
from experiment_streams_client.calls.requests import path
from streams.experiments.stats_response import Stats
from streams.experiments.timeseries_response import Timeseries


class StatisticsCalls:
    """Statistics now, as of the conclusion, and over time; their stream is in the clients."""

    @Method
    @staticmethod
    def get_experiment_stats(
        experiment_id: str,
        *,
        at: Literal["conclusion"] | None = None,
        dimension: str | None = None,
    ) -> Call[Stats]:
        """Return what is known of an experiment: counts, posteriors, allocation, recommendation.

        Args:
            experiment_id: The experiment.
            at: `conclusion` for what was known when it was concluded; None for what is known now.
            dimension: A dimension of the experiment, to have what is known by its values in
                `dimensions`; exploratory. None without one.

        Examples:
            ```
            stats = client.get_experiment_stats(experiment.id)
            if stats.recommended_action == "conclude_winner" and stats.winner:
                client.conclude_experiment(experiment.id, stats.winner.id)
            ```

        Raises:
            ApiError: 409 `NOT_CONCLUDED` or `REPORT_NOT_READY` if there is no conclusion yet; 422
                `UNKNOWN_DIMENSION` if it has no such dimension.
        """
        place = path("experiments", experiment_id, "stats", at=at, dimension=dimension)
        return Call("GET", place, Stats.from_json)

    @Method
    @staticmethod
    def get_experiment_timeseries(
        experiment_id: str,
        *,
        metric: str | None = None,
        begin_ms: int | None = None,
        end_ms: int | None = None,
        points: int | None = None,
    ) -> Call[Timeseries]:
        """Return what was known of an experiment over time, by one metric.

        Args:
            experiment_id: The experiment.
            metric: Name of a declared metric; None for the primary one.
            begin_ms: Points from this time on, in milliseconds since the epoch; None for all.
            end_ms: Points before this time; None for all.
            points: Points at most, 2 to 400, and the newest one; None for 400.

        Examples:
            ```
            series = client.get_experiment_timeseries(experiment.id, points=50)
            for point in series.points:
                print(point.at, [variant.mean for variant in point.variants])
            ```

        Raises:
            ApiError: 422 `UNKNOWN_METRIC` or `OUT_OF_RANGE`.
        """
        query = {"metric": metric, "from": begin_ms, "to": end_ms, "points": points}
        place = path("experiments", experiment_id, "timeseries", **query)
        return Call("GET", place, Timeseries.from_json)
