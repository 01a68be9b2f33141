"""Units of holdouts: those held out, and those that are not, each counted by its receipt there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from api.snapshots.running import RunningExperiment
from streams.experiments.admission import HeldOutRequest
from streams.experiments.hash_assignment import AssignmentRequest, time_of
from streams.experiments.unit_kind import UnitKind
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.events import EXPOSED, EXPOSURE, Observation
from streams.model.receipts import Keyring
from streams.policies.bucketing import lasting_unit


class ExposureLog(Protocol):
    """The log of exposures to holdouts."""

    def add_observations(self, observations: Iterable[Observation]) -> None:
        """Take exposures."""


class HeldOutUnits:
    """Units that holdouts count.

    A unit counts from the first time that it would take part in an experiment that the holdout
    covers, whether it is held out or not: where units count from their assignment, that is an
    assignment, and else an exposure, which the caller reports. None counts by an experiment on
    impressions, on either side: what is observed of an impression names no unit that comes again.
    """

    def __init__(self, keyring: Keyring, log: ExposureLog) -> None:
        self._keyring = keyring
        self._log = log

    def receipt(
        self,
        running: RunningExperiment,
        kept: HeldOutRequest,
        request: AssignmentRequest,
        now_ms: int,
    ) -> str | None:
        """Return the receipt of a unit that is held out; None if it does not count here.

        Args:
            running: The experiment it asks for.
            kept: By which holdout, and which id of the unit.
            request: The request.
            now_ms: The time.

        Raises:
            InputError: the time of the request is out of bounds (`time_of`); of one that does not
                count it is not looked at.
        """
        holdout, lasting = kept
        assigner = running.assigner
        if assigner.unit_kind is UnitKind.IMPRESSION:
            return None
        if assigner.admission is not None:
            excluded = assigner.admission.exclusion(lasting, None, request)
            if excluded is not None:
                return None
        if not assigner.is_in(lasting):
            return None
        unit = lasting_unit(lasting)
        self.expose(running, unit, time_of(assigner, request.timestamp, now_ms))
        return self._keyring.sign(holdout.receipt(unit))

    def expose(self, running: RunningExperiment, unit: int, at_ms: int) -> None:
        """Log that a unit counts for the holdouts of an experiment from now on.

        Args:
            running: The experiment it takes part in, or would.
            unit: Its hash.
            at_ms: Time of the request.
        """
        assigner = running.assigner
        if assigner.unit_kind is UnitKind.IMPRESSION or not assigner.counts_assignments:
            return
        self._log.add_observations(
            Observation(
                self._keyring.sign(each.receipt(unit)),
                EXPOSURE,
                EXPOSED,
                None,
                max(at_ms, each.started_at_ms),
            )
            for each in running.holdouts
            if at_ms >= each.started_at_ms - CLOCK_SKEW_MS
        )
