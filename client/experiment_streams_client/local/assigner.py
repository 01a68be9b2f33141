"""Assignment in the process of the caller."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Self

from api.http.models.requests import AssignmentContext
from api.services.logged_context import logged_context
from api.snapshots.running import ShippedExperiment
from experiment_streams_client.clients import ExperimentClient
from experiment_streams_client.forks import ForkedError, watch_forks
from experiment_streams_client.local.assignments import (
    LocalAssignment,
    LocalRequest,
    checked,
    of_api,
)
from experiment_streams_client.local.delivery import ApiSink, Delivery, Sink
from experiment_streams_client.local.journal import Journal
from experiment_streams_client.local.snapshots import WAIT_S, LocalExperiment, LocalExperiments
from streams.experiments.admission import Exclusion
from streams.experiments.assignment import Assigner
from streams.experiments.assignment_reason import Reason
from streams.experiments.hash_assignment import (
    decide_by_hash,
    held_out_of,
    outside,
    time_of,
    unit_key,
)
from streams.experiments.ignored_units import MAX_UNIT_ID
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import EngineError, quoted
from streams.model.events import OutsideRequests
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipts import Keyring

MAX_FIRST_RECEIPTS = 65_536
"""Answers of the API that are kept, for units whose first receipt it keeps; about 25 MB."""

DRAW_BYTES = 16
_ALL_BUT_ONE = len(LocalRequest._fields) - 1
_IMPRESSION = UnitKind.IMPRESSION
_ASSIGNED = Reason.ASSIGNED.value
_KEPT = frozenset({Reason.ASSIGNED, Reason.STICKY})
_new_tuple = tuple.__new__  # half the time of calling the class


class LocalAssigner:
    """Assigns in this process, and logs every impression before it answers. Shared by threads.

    It is of the process that made it: a child that is forked from it needs its own.

    It follows the experiments at the API and decides by the same code. What depends on what a unit
    got before, it asks of the API, once for each unit. Impressions are durable in `directory`
    before their assignment is answered, and are delivered in the background, each exactly once.

    Attributes:
        asked: Requests that were answered by the API.
        decided: Requests that were answered here.

    Args:
        url: Address of the API.
        keyring: Signs the receipts: one key, which the API and the workers have, too.
        directory: Where impressions wait. Several processes can share it; one that starts delivers
            what dead ones have left.
        api_key: A key with the scopes `assigner` and `assign`; None where the API is open.
        sink: Takes the impressions; the API unless given.
        max_bytes: Most bytes that wait; when they are there, `assign` raises.
        every_s: Interval of deliveries, in seconds.
        timeout_s: Time limit of a request that the API has to answer, in seconds.
        now_ms: Returns the time, in milliseconds since the epoch.

    Raises:
        ApiError: the API does not answer.
        ConfigurationError: it does not have the key, or the directory cannot be used.

    Examples:
        ```
        with LocalAssigner(url, Keyring.parse(key), Path("/var/spool/ads")) as assigner:
            assignment = assigner.assign("homepage", user_id="user_123")
        ```
    """

    def __init__(  # noqa: PLR0913 - each a setting
        self,
        url: str,
        keyring: Keyring,
        directory: Path,
        *,
        api_key: str | None = None,
        sink: Sink | None = None,
        max_bytes: int = 2**30,
        every_s: float = 0.2,
        timeout_s: float = 2.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.asked = 0
        self.decided = 0
        self._keyring = keyring
        self._sign = keyring.sign
        self._now_ms = now_ms
        self._draw = partial(os.urandom, DRAW_BYTES)
        self._client = ExperimentClient(url, api_key=api_key, timeout_s=timeout_s, attempts=2)
        following = ExperimentClient(url, api_key=api_key, timeout_s=2 * WAIT_S, attempts=1)
        self._first: dict[tuple[str, int, str], LocalAssignment] = {}
        self._outside_counts: dict[tuple[int, str], int] = {}
        self._lock = Lock()
        self._is_forked = False
        self.experiments = LocalExperiments(following, keyring, now_ms)
        self.experiments.start()
        key_id = keyring.ids[0]
        self._journal = Journal(
            directory, secrets.randbits(64), key_id, self.experiments.partitions, max_bytes
        )
        self._append = self._journal.append
        sink = sink or ApiSink(ExperimentClient(url, api_key=api_key, timeout_s=WAIT_S))
        self.delivery = Delivery(self._journal, keyring, sink, every_s, self._take_outside)
        self.delivery.start()
        watch_forks(self)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of impressions that are not delivered yet."""
        return self._journal.size_bytes

    def assign(  # noqa: PLR0913 - the fields of a request
        self,
        experiment: str,
        user_id: str | None = None,
        session_id: str | None = None,
        *,
        fallback_unit_id: str | None = None,
        timestamp: int | None = None,
        device: str | None = None,
        location: str | None = None,
        features: Mapping[str, Any] | None = None,
        eligible: Sequence[str] | None = None,
    ) -> LocalAssignment:
        """Return the variant of a request; its impression is durable.

        Args:
            experiment: Id or key of the experiment.
            user_id, session_id, fallback_unit_id, timestamp, device, location, features, eligible:
                As in `AssignmentContext`.

        Raises:
            EngineError: the request cannot be answered (`EXPERIMENT_NOT_RUNNING`, `MISSING_UNIT`,
                …), there is no room for its impression (`SPOOL_FULL`), the API has to be asked
                and does not answer, or this process was forked from the one that made the assigner
                (`FORKED`). Nothing was logged.
        """
        fields = (
            user_id, session_id, fallback_unit_id, timestamp, device, location, features, eligible,
        )  # fmt: skip
        request = _new_tuple(LocalRequest, fields)
        found = self._decide(experiment, request)
        return self._ask(experiment, request) if found is None else found

    async def assign_async(self, experiment: str, request: LocalRequest) -> LocalAssignment:
        """Do as `assign`, and let others run where the API has to be asked."""
        found = self._decide(experiment, request)
        if found is None:
            found = await asyncio.to_thread(self._ask, experiment, request)
        return found

    def close(self, timeout_s: float = 30.0) -> bool:
        """Deliver what waits, for `timeout_s` seconds at most; return whether all was.

        What was not stays in the directory, for the next process.
        """
        if self._is_forked:
            return True  # all that waits is of the parent
        self.experiments.stop()
        is_done = self.delivery.stop(timeout_s)
        self._journal.close()
        self._client.close()
        return is_done

    def after_fork(self) -> None:
        """Refuse all requests; see `experiment_streams_client.forks`."""
        self._is_forked = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decide(self, name: str, request: LocalRequest) -> LocalAssignment | None:
        """Return the answer; None where the API has to be asked."""
        if self._is_forked:
            raise ForkedError(self)
        known = self.experiments.by_name.get(name)
        if known is None and name not in self.experiments.unreadable:
            message = f"{quoted(name)} neither assigns nor serves a variant"
            raise EngineError("EXPERIMENT_NOT_RUNNING", message, "experimentId")
        user_id = request.user_id
        if not (
            type(user_id) is str
            and len(user_id) <= MAX_UNIT_ID
            and user_id.isascii()
            and request.count(None) == _ALL_BUT_ONE
        ):
            request = checked(request)
        _, _, _, _, device, location, features, wanted = request
        answering = None if known is None else known.answering
        if known is None or answering is None or known.is_covered:
            return None
        if isinstance(answering, ShippedExperiment):
            return self._shipped(known, answering, request)
        if not known.is_signed_here:
            return None
        assigner = answering.assigner
        eligible = None
        if wanted is not None:
            eligible = assigner.variants.read(tuple(wanted))
        if answering.holdouts and held_out_of(assigner, answering.holdouts, request) is not None:
            return self._not_counted(known, outside(assigner, eligible, Reason.HOLDOUT))
        found = decide_by_hash(
            assigner,
            request,
            eligible,
            self._now_ms,
            self._draw,
            known.is_asked_for,
        )
        if found is None:
            return self._kept(known, assigner, request)
        if isinstance(found, Exclusion):
            return self._not_counted(known, found)
        logged = ""
        if device or location or features:
            logged = logged_context(request)
        text = self._sign(found)
        self._append(found, logged, assigner.unit_kind is not _IMPRESSION)
        self.decided += 1
        index = found.variant - assigner.first_index
        experiment_id, variant_id, variant, config = known.variants[index]
        propensity = found.propensity / PROPENSITY_ONE
        answer = (text, experiment_id, variant_id, variant, config, True, _ASSIGNED, propensity)
        return _new_tuple(LocalAssignment, answer)

    def _not_counted(self, known: LocalExperiment, excluded: Exclusion) -> LocalAssignment:
        place = known.number, excluded.reason.value
        with self._lock:
            self._outside_counts[place] = self._outside_counts.get(place, 0) + 1
        return self._outside(known, excluded)

    def _outside(self, known: LocalExperiment, excluded: Exclusion) -> LocalAssignment:
        self.decided += 1
        variant = known.variants[excluded.variant]
        return LocalAssignment(None, *variant, False, excluded.reason.value, None)

    def _take_outside(self) -> list[OutsideRequests]:
        """Return counts of excluded requests since the last call, by experiment and reason."""
        with self._lock:
            counts, self._outside_counts = self._outside_counts, {}
        return [OutsideRequests(*place, count) for place, count in counts.items()]

    def _shipped(
        self, known: LocalExperiment, shipped: ShippedExperiment, request: LocalRequest
    ) -> LocalAssignment:
        reason, variant = shipped.shipping.decide(
            request, request.fallback_unit_id, shipped.holdouts
        )
        if request.eligible is not None:
            eligible = shipped.shipping.variants.read(tuple(request.eligible))
            if reason is not Reason.FORCED and variant not in eligible:
                variant = eligible.first
        return self._outside(known, Exclusion(reason, variant))

    def _kept(
        self, known: LocalExperiment, assigner: Assigner, request: LocalRequest
    ) -> LocalAssignment | None:
        """Return what the API has answered a unit before; None if it has not."""
        place = self._place(known, assigner, request)
        found = None if place is None else self._first.get(place)
        if found is None:
            return None
        if request.features or request.timestamp is not None:
            _check_unused(assigner, request, self._now_ms)
        return found._replace(reason=Reason.STICKY.value)

    def _place(
        self, known: LocalExperiment, assigner: Assigner, request: LocalRequest
    ) -> tuple[str, int, str] | None:
        """Return where the answer to a unit is kept; None for one that is not.

        After a command another one may be right, as when its variant was stopped.
        """
        is_plain = request.eligible is None and request.fallback_unit_id is None
        is_alone = known.is_signed_here and not known.is_asked_for
        if assigner.unit_kind is _IMPRESSION or not (is_plain and is_alone):
            return None
        return known.id, known.version, unit_key(assigner.unit_kind, request)

    def _ask(self, name: str, request: LocalRequest) -> LocalAssignment:
        known = self.experiments.by_name.get(name)
        context = AssignmentContext(
            **{field: value for field, value in request._asdict().items() if value is not None}
        )
        answer = self._client.assign_variant(name, context)
        self.asked += 1
        found = of_api(answer)
        if known is not None and found.enrolled and found.reason in _KEPT:
            self._keep_answer(known, request, found)
        return found

    def _keep_answer(
        self, known: LocalExperiment, request: LocalRequest, found: LocalAssignment
    ) -> None:
        """Keep what the API has answered a unit, as the experiment is known here.

        The API process that has answered may know less than the one that this one follows: the
        variant may be stopped, or be configured otherwise.
        """
        if known.answering is None or isinstance(known.answering, ShippedExperiment):
            return
        assigner = known.answering.assigner
        place = self._place(known, assigner, request)
        index = known.index_of(found.variant_id)
        if place is None or index is None or not assigner.shows(index):
            return
        _, _, name, config = known.variants[index]
        self._keep(place, found._replace(variant_name=name, config=config))

    def _keep(self, place: tuple[str, int, str], answer: LocalAssignment) -> None:
        with self._lock:
            self._first[place] = answer
            if len(self._first) > MAX_FIRST_RECEIPTS:
                del self._first[next(iter(self._first))]


def _check_unused(assigner: Assigner, request: LocalRequest, now_ms: Callable[[], int]) -> None:
    """Refuse what the API would refuse of a unit that it knows, whose request decides nothing.

    Raises:
        InputError: what is sent cannot be logged, its time is out of bounds, or a declared feature
            or covariate cannot be used.
    """
    logged_context(request)
    at_ms = time_of(assigner, request.timestamp, now_ms())
    key = unit_key(assigner.unit_kind, request)
    assigner.assign(key, at_ms, request.features, request.device, request.location)
