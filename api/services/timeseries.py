"""Time series of experiments: the points that Redis has, and the newest one from memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from streams.experiments.snapshot import Snapshot
from streams.experiments.thinning import MOST_POINTS, SLOT_MS, thinned, width_at
from streams.experiments.time_points import (
    PointMetric,
    PointVariant,
    TimePoint,
    has_point,
    metrics_of_points,
    point_of,
)
from streams.experiments.timeseries_response import (
    SeriesContrast,
    SeriesPoint,
    SeriesVariant,
    Timeseries,
)
from streams.model.errors import InputError, quoted
from streams.model.generations import FIRST
from streams.model.quantities import ALLOCATION_TOTAL

_NOTHING = PointMetric(None, None, None)


class TimeseriesService:
    """Reader of time series.

    Args:
        slots: Returns the slots of an experiment that have a point.
        points: Returns the points of some slots.
    """

    def __init__(
        self,
        slots: Callable[[str], Awaitable[list[int]]],
        points: Callable[[str, Sequence[int]], Awaitable[list[TimePoint]]],
    ) -> None:
        self._slots = slots
        self._points = points

    async def read(
        self,
        snapshot: Snapshot,
        metric: str | None,
        begin_ms: int = 0,
        end_ms: int | None = None,
        most: int = MOST_POINTS,
    ) -> Timeseries:
        """Return the time series of an experiment.

        Args:
            snapshot: Its newest snapshot.
            metric: Name of a declared metric; None for the primary one.
            begin_ms: Time of the first point at the earliest, in milliseconds since the epoch.
            end_ms: Time before which the last one is; None for no end.
            most: Points at most, >= 2: the first ones of spans of equal length. The newest one
                comes on top.

        Raises:
            InputError: the metric is not one of the series (`UNKNOWN_METRIC`), or the end is not
                after the begin (`OUT_OF_RANGE`).
            DependencyError: Redis does not answer.
        """
        config = snapshot.experiment.definition.config
        metric = config.primary_metric if metric is None else metric
        _check_metric(snapshot, metric)
        if end_ms is not None and end_ms <= begin_ms:
            raise InputError("OUT_OF_RANGE", f"{end_ms}, must be above `from`", "query.to")

        def is_asked(first_ms: int, last_ms: int) -> bool:
            return last_ms >= begin_ms and (end_ms is None or first_ms < end_ms)

        name = snapshot.experiment.id
        slots = [
            slot
            for slot in await self._slots(name)
            if is_asked(slot * SLOT_MS, slot * SLOT_MS + SLOT_MS - 1)
        ]
        newest = point_of(snapshot, FIRST) if has_point(snapshot) else None
        if newest is not None and not is_asked(newest.at_ms, newest.at_ms):
            newest = None
        last = max([*slots[-1:], *([] if newest is None else [newest.slot])], default=0)
        chosen = thinned(slots, last, most)
        if newest is None and slots and chosen[-1] != slots[-1]:
            chosen.append(slots[-1])
        found = [
            each for each in await self._points(name, chosen) if is_asked(each.at_ms, each.at_ms)
        ]
        if newest is not None and (not found or newest.version > found[-1].version):
            found = _with(found, newest)
        return Timeseries(
            experiment_id=name,
            metric=metric,
            direction=config.spec(metric).direction,
            control_id=snapshot.experiment.variant_id(snapshot.experiment.definition.control_index),
            width=width_at(slots[0], last, most) if slots else 1,
            points=tuple(_point(snapshot, each, metric) for each in found),
        )


def _with(points: Sequence[TimePoint], newest: TimePoint) -> list[TimePoint]:
    """Return points with the newest one; it replaces one of its time, in the order of times.

    A snapshot without new events, such as that of a changed definition, has the time of the last.
    """
    by_time = {each.at_ms: each for each in (*points, newest)}
    return [by_time[at_ms] for at_ms in sorted(by_time)]


def _check_metric(snapshot: Snapshot, metric: str) -> None:
    known = metrics_of_points(snapshot)
    if metric not in known:
        message = f"{quoted(metric)} is no metric of the series, which has {', '.join(known)}"
        raise InputError("UNKNOWN_METRIC", message, "query.metric")


def _point(snapshot: Snapshot, point: TimePoint, metric: str) -> SeriesPoint:
    return SeriesPoint(
        at=point.at_ms,
        version=point.version,
        status=point.status,
        recommended_action=point.recommended_action,
        reason_code=point.reason_code,
        variants=tuple(
            _variant(snapshot.experiment.variant_id(index), each, metric)
            for index, each in enumerate(point.variants)
        ),
    )


def _variant(variant_id: str, found: PointVariant, metric: str) -> SeriesVariant:
    values = found.metrics.get(metric, _NOTHING)
    return SeriesVariant(
        id=variant_id,
        assignments=found.assignments,
        exposures=found.exposures,
        observations=found.observations,
        allocation=found.weight / ALLOCATION_TOTAL,
        probability_best=found.probability_best,
        mean=values.mean,
        lower=values.lower,
        upper=values.upper,
        against_control=_against(values),
    )


def _against(values: PointMetric) -> SeriesContrast | None:
    columns = (
        values.probability_better,
        values.difference,
        values.difference_lower,
        values.difference_upper,
    )
    if None in columns:
        return None
    better, difference, lower, upper = (float(each) for each in columns if each is not None)
    return SeriesContrast(
        better, difference, lower, upper, values.sequence_lower, values.sequence_upper
    )
