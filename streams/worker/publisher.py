"""Evaluation of changed experiments, and publishing of snapshots, decisions and commands."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from schemas.codec import Codec
from streams.experiments.snapshot import Snapshot
from streams.fold.decisions import conclusion, is_report_due
from streams.fold.experiment_state import ExperimentState, encoded_snapshot
from streams.fold.failed_evaluations import failed_snapshot
from streams.kafka.records import LogError
from streams.model.errors import DependencyError
from streams.model.events import Answer
from streams.model.ids import experiment_id
from streams.process.exits import die
from streams.projection.writer import SnapshotRecord
from streams.wire.records import SINGLE_OBJECT
from streams.wire.snapshots import encode_snapshot
from streams.worker import metrics
from streams.worker.evaluation_scheduler import EvaluationScheduler, ExperimentPlace
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.generation_follower import GenerationFollower
from streams.worker.last_snapshots import LastSnapshots
from streams.worker.logged_decisions import LoggedDecisions
from streams.worker.outbox import Outgoing
from streams.worker.outlets import Outlets
from streams.worker.pacing import TimeBudget, follow
from streams.worker.point_recorder import PointRecorder
from streams.worker.projector import Projector
from streams.worker.snapshot_delivery import Evaluated, SnapshotDelivery
from streams.worker.take_over import TakeOver

LARGE_EVALUATION_S = 0.25
"""Evaluations that take longer run one at a time in a thread, on a separate time budget: their
experiments are evaluated less often, and never delay the others."""

LARGE_COMPARED = 512
"""Variants times declared metrics from which even the first evaluation runs in a thread: on a busy
machine it may take that long."""

REST_AT_MOST_S = 0.1
"""Longest rest after the evaluations of a step. It is as long as they took by the clock: what is on
its way meanwhile needs several turns of the event loop in a row, and on a machine that others use a
share of the processor time may be all that the worker gets."""

STEPS_AT_MOST = 0.95
"""Share of the time for steps with their rests."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogReaders:
    """Readers of what was logged before, by any worker.

    Attributes:
        decisions: The recommended actions, and the statistics as of conclusions.
        snapshots: The last snapshots of experiments whose evaluation fails.
    """

    decisions: LoggedDecisions
    snapshots: LastSnapshots


@dataclass(frozen=True, slots=True)
class _Computed:
    """A snapshot with its bytes, framed for its topic and as a single object."""

    snapshot: Snapshot
    payload: bytes
    single: bytes


class SnapshotPublisher:
    """A loop that evaluates changed experiments and publishes the results.

    A step evaluates for some milliseconds, and rests, while others run. What has changed meanwhile
    has its turn in the next one. The results are delivered beside it.

    In an inactive generation it publishes snapshots only, and notes recommended actions without
    logging them. After a take-over it logs none before it has read those that were logged.

    Args:
        stage: State of the experiments, and which have changed.
        outlets: Topics to publish to.
        projector: Writes snapshots and answers to Redis.
        follower: Knows whether this generation is active.
        logged: What was logged before, by any worker.
        points: Records time series.

    Attributes:
        take_over: Reads what was logged before.
        delivery: Writes the snapshots to the log.
    """

    def __init__(
        self,
        stage: ExperimentsStage,
        outlets: Outlets,
        projector: Projector,
        follower: GenerationFollower,
        logged: LogReaders,
        points: PointRecorder,
    ) -> None:
        self._stage = stage
        self._outlets = outlets
        self._projector = projector
        self._codec = outlets.codec
        self._follower = follower
        self._points = points
        self._logged = logged.decisions
        self._last = logged.snapshots
        self.take_over = TakeOver(stage, projector, follower, logged.decisions)
        self._failing: dict[int, Snapshot | None] = {}
        self._scheduler = EvaluationScheduler()
        self._large: set[int] = set()
        self._large_task: asyncio.Task[None] | None = None
        self.delivery = SnapshotDelivery(
            stage,
            outlets,
            projector,
            follower,
            points,
            lambda: self.take_over.is_informed or not follower.is_active,
        )

    async def run(self) -> None:
        """Publish what changes, indefinitely."""
        await follow(self._stage.changed, self._step, at_most=STEPS_AT_MOST, wait_s=self._wait_s)

    def _wait_s(self) -> float | None:
        """Return the seconds until a step is due; None if nothing has changed."""
        stage = self._stage
        return 0.0 if stage.answers or stage.ended else self._scheduler.wait_s(stage.dirty)

    async def _step(self) -> None:
        stage = self._stage
        if self.take_over.is_note_due:
            async with self.delivery.turn:  # what waits is decided by what is noted now
                await self.take_over.take_note()
            self.delivery.wake()
        self._forget_others()
        answers, stage.answers = stage.answers, []
        self._remove_ended()
        commanded = {answer.experiment for answer in answers}
        scheduler = self._scheduler
        due = scheduler.take_due(stage.dirty, commanded)
        dirty = dict.fromkeys(due)
        took_s = 0.0
        clock = asyncio.get_running_loop().time
        waiting: list[ExperimentPlace] = []
        begun: set[int] = set()
        published: list[Evaluated] = []
        failed: list[tuple[int, ExperimentState, Exception]] = []
        for place in sorted(
            dirty, key=lambda place: (place[1] not in commanded, place[1] in self._large)
        ):
            partition, number = place
            known = stage.known(partition, number)
            is_large = known is not None and self._is_large(known)
            if not self._has_turn(place, is_large=is_large, is_commanded=number in commanded):
                waiting.append(place)
                continue
            budget = scheduler.begin(place, is_large=is_large)
            if known is not None and is_large:
                own = [answer for answer in answers if answer.experiment == number]
                begun.add(number)
                self._large_task = asyncio.create_task(self._publish_large(partition, known, own))
            elif known is not None:
                began_s = clock()
                with budget.spent() as spent:
                    self._evaluate(partition, known, published, failed)
                self._note_cost(number, budget, spent())
                took_s += clock() - began_s
                await asyncio.sleep(0)  # batches and heartbeats run in between
        try:
            published += await self._without_statistics(failed)
            await self._keep_conclusions(published)
        except BaseException:
            self._restore(dirty)
            kept = [answer for answer in answers if answer.experiment not in begun]
            stage.answers = kept + stage.answers
            raise
        self.delivery.offer(published)
        self._leave(waiting, [answer for answer in answers if answer.experiment not in begun])
        await asyncio.sleep(min(took_s, REST_AT_MOST_S))

    def _remove_ended(self) -> None:
        ended, self._stage.ended = self._stage.ended, []
        if ended:
            self._projector.remove(ended)
            self._points.remove(ended)

    def _has_turn(self, place: ExperimentPlace, *, is_large: bool, is_commanded: bool) -> bool:
        if is_large and self._large_task is not None:
            self._scheduler.refuse(place)
            return False
        # Commands are few, and do not wait for a time budget.
        return is_commanded or self._scheduler.has_turn(place, is_large=is_large)

    def _restore(self, dirty: Mapping[ExperimentPlace, None]) -> None:
        """Have experiments evaluated again, of which the results could not be published."""
        self._stage.dirty = {**dirty, **self._stage.dirty}
        self._scheduler.restore(dirty)

    def _is_large(self, known: ExperimentState) -> bool:
        if known.number in self._large:
            return True
        if known.experiment is None:
            return False
        definition = known.experiment.definition
        config = definition.config
        n_metrics = 1 + len(config.secondary_metrics) + len(config.guardrail_metrics)
        return len(definition.variants) * n_metrics >= LARGE_COMPARED

    async def _publish_large(
        self, partition: int, known: ExperimentState, answers: Sequence[Answer]
    ) -> None:
        """Evaluate a large experiment in a thread, and publish its snapshot, then its answers.

        Steps continue meanwhile, since numpy lets other threads run. No other task evaluates a
        large experiment, so its snapshots are published in order.
        """
        stage = self._stage
        self._large.add(known.number)
        try:
            published: list[Evaluated] = []
            failed: list[tuple[int, ExperimentState, Exception]] = []
            with self._scheduler.large_share.spent() as spent:  # includes the work of other tasks
                computed = await asyncio.to_thread(_attempted, known.copy(), self._codec)
            if stage.known(partition, known.number) is not known or known.is_ended:
                # Another worker has it, it was restored and is evaluated again, or it has ended.
                stage.answers = [*answers, *stage.answers]
                return
            self._take(partition, known, computed, published, failed)
            published += await self._without_statistics(failed)
            await self._keep_conclusions(published)
            self.delivery.offer(published)
            self._projector.answer(answers)
            if spent() <= LARGE_EVALUATION_S:
                self._large.discard(known.number)
        except (DependencyError, KafkaError, LogError, TimeoutError) as error:
            logger.warning("%r, trying again", error)
            self._restore({(partition, known.number): None})
            stage.answers = [*answers, *stage.answers]
        except Exception:
            logger.exception("work after a batch failed")
            die("work after a batch failed")
        finally:
            self._large_task = None
            if stage.dirty or stage.answers:
                stage.changed.set()

    def _forget_others(self) -> None:
        """Drop the notes about experiments that have ended or moved to another worker.

        Another worker may publish newer statistics before an experiment comes back.
        """
        if not (self._failing or self._large):
            return
        own = {known.number for _, known in self._stage.all_known() if not known.is_ended}
        self._large &= own
        if not self._failing.keys() <= own:
            self._failing = {n: last for n, last in self._failing.items() if n in own}
            metrics.EVALUATIONS_FAILING.set(len(self._failing))

    def _evaluate(
        self,
        partition: int,
        known: ExperimentState,
        published: list[Evaluated],
        failed: list[tuple[int, ExperimentState, Exception]],
    ) -> None:
        """Evaluate an experiment, and add it to `published` or `failed`."""
        self._take(partition, known, _attempted(known, self._codec), published, failed)

    def _take(
        self,
        partition: int,
        known: ExperimentState,
        computed: _Computed | Exception | None,
        published: list[Evaluated],
        failed: list[tuple[int, ExperimentState, Exception]],
    ) -> None:
        """Add a result to `published` or `failed`."""
        if computed is None:
            return
        if isinstance(computed, Exception):
            metrics.EVALUATION_FAILURES.inc()
            if known.number not in self._failing:  # logged once, not at every event
                name = experiment_id(known.number)
                logger.error("%s cannot be evaluated", name, exc_info=computed)
            failed.append((partition, known, computed))
            return
        record = self._offer(computed)
        self.delivery.offer_history(known)
        published.append(Evaluated(partition, known, computed.snapshot, computed.single, record))
        if self._failing.pop(known.number, self) is not self:
            logger.info("%s can be evaluated again", experiment_id(known.number))
            metrics.EVALUATIONS_FAILING.set(len(self._failing))

    def _note_cost(self, number: int, budget: TimeBudget, cost_s: float) -> None:
        """Note which experiments are large; charge the first evaluation to the large budget."""
        if cost_s <= LARGE_EVALUATION_S:
            self._large.discard(number)
        elif number not in self._large:
            self._large.add(number)
            budget.charge(-cost_s)
            self._scheduler.large_share.charge(cost_s)

    async def _without_statistics(
        self, failed: Sequence[tuple[int, ExperimentState, Exception]]
    ) -> list[Evaluated]:
        """Return snapshots of experiments whose evaluation failed.

        The lifecycle is current; statistics and weights are the last published, by any worker.
        """
        new = [known.number for _, known, _ in failed if known.number not in self._failing]
        if new:
            last = await self._last.read(new)
            self._failing |= {number: _statistics(last.get(number)) for number in new}
            metrics.EVALUATIONS_FAILING.set(len(self._failing))
        published = []
        for partition, known, error in failed:
            if known.experiment is None:
                continue
            kept = self._failing[known.number]
            try:
                snapshot = failed_snapshot(known.experiment, known.newest_cells(), error, kept)
                computed = _encoded(snapshot, self._codec)
                record = self._offer(computed)
                self.delivery.offer_history(known)
            except Exception:
                # Its last snapshot remains in force; the others are published.
                logger.exception("%s cannot be published", experiment_id(known.number))
                continue
            published.append(Evaluated(partition, known, snapshot, computed.single, record))
        return published

    def _offer(self, computed: _Computed) -> Outgoing:
        """Offer a snapshot to the projector, and return its record."""
        snapshot = computed.snapshot
        self._projector.offer(SnapshotRecord.of(snapshot, computed.single))
        return Outgoing(snapshot.experiment.id.encode(), computed.payload)

    def _leave(self, waiting: Collection[ExperimentPlace], answers: Sequence[Answer]) -> None:
        """Leave experiments to the next step, and publish the answers about all others.

        The snapshot of an experiment is written before the answers about it.
        """
        stage = self._stage
        numbers = {number for _, number in waiting}
        held = [answer for answer in answers if answer.experiment in numbers]
        self._projector.answer(answer for answer in answers if answer.experiment not in numbers)
        stage.dirty = dict.fromkeys(waiting) | stage.dirty
        stage.answers = held + stage.answers
        metrics.EVALUATIONS_WAITING.set(len(waiting))
        if waiting:
            stage.changed.set()

    async def _keep_conclusions(self, published: Sequence[Evaluated]) -> None:
        """Log and project the statistics of experiments that were just concluded.

        Before the answer to the command, so that its sender can read them, and once: not before the
        log was read since the last take-over, after which everything is evaluated again.
        """
        if not (self._follower.is_active and self.take_over.is_informed):
            return
        for each in published:
            if not is_report_due(each.snapshot) or self._logged.has_conclusion(each.known.number):
                continue
            await self.delivery.flush()  # what was decided before comes first in the log
            name = each.snapshot.experiment.id
            decision = conclusion(each.snapshot, each.single, self._follower.generation)
            await self._outlets.send_decision(decision)
            self._logged.note_conclusion(each.known.number)
            self._projector.offer_conclusion(name, each.single)


def _attempted(known: ExperimentState, codec: Codec) -> _Computed | Exception | None:
    """Return the encoded snapshot, the exception of its evaluation, or None if not created yet."""
    try:
        snapshot = _evaluated(known)
        return None if snapshot is None else _encoded(snapshot, codec)
    except Exception as error:  # noqa: BLE001 - reported in the next snapshot
        return error


def _encoded(snapshot: Snapshot, codec: Codec) -> _Computed:
    """Return a snapshot with its bytes.

    Raises:
        EventError: it is larger than its topic accepts.
    """
    payload = single = encoded_snapshot(snapshot)
    if codec is not SINGLE_OBJECT:
        payload = encode_snapshot(snapshot, codec)
    return _Computed(snapshot, payload, single)


def _evaluated(known: ExperimentState) -> Snapshot | None:
    """Return the snapshot of an experiment; None if it has not been created."""
    started = time.perf_counter()
    snapshot = known.snapshot()
    metrics.EVALUATIONS.inc()
    metrics.EVALUATION_SECONDS.observe(time.perf_counter() - started)
    return snapshot


def _statistics(last: Snapshot | None) -> Snapshot | None:
    """Return a snapshot if it has statistics, of any version."""
    if last is None or (last.failure is not None and not last.failure.statistics_version):
        return None
    return last
