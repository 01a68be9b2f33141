"""Experiments in memory: the newest snapshot of each, for assignments and reads."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from api.snapshots.running import AnsweringExperiment, RunningExperiment, compiled
from streams.experiments.exposure import Exposure, exposure_not_used
from streams.experiments.holdouts import Holdout
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.measurement_plan import accepted_of
from streams.experiments.shared_unit_conflicts import refusal, refused_in_layers
from streams.experiments.snapshot import Snapshot
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import (
    DependencyError,
    EngineError,
    ExperimentNotFoundError,
    ExperimentNotRunningError,
    quoted,
)
from streams.model.events import EXPOSURE
from streams.model.experiment_keys import holdout_number, is_key, key_number
from streams.model.ids import experiment_id

_log = logging.getLogger(__name__)


class ExperimentCache:
    """The newest snapshot of every experiment, by id or key.

    Attributes:
        is_complete: Whether everything was read from Redis once.
        unreadable: Experiments whose newest snapshot cannot be used, with the reason. Each keeps
            its last good one, if there is one.
        conclusions: Conclusions seen since the start of this process.
        winner_confidences: Confidence of each of them that had a winner.

    Args:
        on_put: Called with every snapshot before it is used, each in its turn, and again when
            another experiment of its layer begins or ends to have its units.
        on_drop: Called with the last snapshot of every experiment that is dropped.
    """

    def __init__(
        self,
        on_put: Sequence[Callable[[Snapshot], object]] = (),
        on_drop: Sequence[Callable[[Snapshot], object]] = (),
    ) -> None:
        self.is_complete = False
        self.unreadable: dict[str, str] = {}
        self.conclusions = 0
        self.winner_confidences: list[float] = []
        self._on_put = on_put
        self._on_drop = on_drop
        self._snapshots: dict[str, Snapshot] = {}
        self._answering: dict[str | None, AnsweringExperiment] = {}  # by id, and by key
        self._refused: dict[str, Experiment] = {}  # those whose units another one of the layer has
        self._holdouts: dict[str, Holdout] = {}  # those that hold units out
        # Ids of what assigns or is paused, by unit and metric: an observation by unit that names no
        # experiment must not ask each of a thousand.
        self._observed: defaultdict[tuple[UnitKind, str], dict[str, None]] = defaultdict(dict)

    def running(self, name: str) -> RunningExperiment:
        """Return the experiment with an id or a key; it assigns.

        Raises:
            EngineError: as `answering`.
        """
        found = self.answering(name)
        if not isinstance(found, RunningExperiment):
            raise ExperimentNotRunningError(name, self.snapshot(name).experiment.status)
        return found

    def answering(self, name: str) -> AnsweringExperiment:
        """Return the experiment with an id or a key; it assigns, or serves one variant.

        Raises:
            ExperimentNotFoundError: no experiment has this name.
            ExperimentNotRunningError: it does neither now.
            InputError: another experiment of its layer has its units (`LAYER_OVERLAP`).
            DependencyError: not everything was read from Redis yet.
        """
        found = self._answering.get(name)
        if found is None:
            experiment = self.snapshot(name).experiment
            other = self._refused.get(experiment.id)
            if other is not None and experiment.is_assigning:
                raise refusal(other)
            raise ExperimentNotRunningError(name, experiment.status)
        return found

    def snapshot(self, name: str) -> Snapshot:
        """Return the newest snapshot of the experiment with an id or a key.

        Raises:
            ExperimentNotFoundError: no experiment has this name.
            DependencyError: not everything was read from Redis yet.
        """
        found = self._snapshots.get(name)
        if found is None and is_key(name):
            found = self._snapshots.get(experiment_id(key_number(name)))
        if found is None and not self.is_complete:
            raise DependencyError("redis", "the experiments have not been read from Redis yet")
        if found is None:
            raise ExperimentNotFoundError(name)
        return found

    def check_value(self, experiment: int, metric: str, value: int) -> None:
        """Refuse a value, in micro-units, that a metric is declared not to have.

        And an exposure where units count from their assignment. Of an experiment that is not known
        here nothing is refused.

        Args:
            experiment: The experiment as a 64-bit number.
            metric: Name of the metric.
            value: The value.

        Raises:
            EventError: as `Accepted.check`, or `EXPOSURE_NOT_USED`.
        """
        found = self._snapshots.get(experiment_id(experiment))
        if found is None:
            return
        config = found.experiment.definition.config
        if metric == EXPOSURE:
            if config.exposure is not Exposure.EVENT:
                raise exposure_not_used(experiment)
            return
        accepted = accepted_of(config, metric)
        if accepted is not None:
            accepted.check(metric, value)

    def windows(self, experiment: int, metric: str) -> int:
        """Return within how many attribution windows an event of a metric may count.

        Of an experiment that is not known here, within one; as long as not all have been read,
        within the most, so that nothing is refused that counts.

        Args:
            experiment: The experiment as a 64-bit number.
            metric: Name of the metric.
        """
        found = self._snapshots.get(experiment_id(experiment))
        if found is not None:
            return found.experiment.definition.config.exposure.windows(metric)
        unknown = Exposure.ASSIGNMENT if self.is_complete else Exposure.EVENT
        return unknown.windows(metric)

    @property
    def not_evaluated(self) -> dict[str, str]:
        """Experiments whose last evaluation failed, with the code; they keep their last weights."""
        return {
            name: snapshot.failure.code
            for name, snapshot in self._snapshots.items()
            if snapshot.failure is not None and snapshot.experiment.status is not Status.ARCHIVED
        }

    def all(self) -> list[Snapshot]:
        """Return the newest snapshot of every experiment on variants, newest experiment first."""
        return [each for each in self._sorted() if not _is_holdout(each)]

    def _sorted(self) -> list[Snapshot]:
        return sorted(
            self._snapshots.values(),
            key=lambda snapshot: (-snapshot.experiment.created_at_ms, snapshot.experiment.id),
        )

    def check_room(self, experiment_id: str, limit: int) -> None:
        """Return if there may be one more experiment, or this one is there already.

        Raises:
            EngineError: there are `limit` that are not archived (`TOO_MANY_EXPERIMENTS`).
        """
        statuses = self.by_status()
        if experiment_id not in self._snapshots and (
            statuses.total() - statuses[Status.ARCHIVED] >= limit
        ):
            raise EngineError(
                "TOO_MANY_EXPERIMENTS",
                f"there are {limit} experiments that are not archived, and there may be no more; "
                "archive some, or raise EXPERIMENT_MAX_EXPERIMENTS",
            )

    def by_status(self) -> Counter[str]:
        """Return the number of experiments by status."""
        return Counter(str(found.experiment.status) for found in self._snapshots.values())

    def put(self, snapshot: Snapshot, *, replaces_same_version: bool = False) -> bool:
        """Take a snapshot unless a newer one is here; return whether it was taken.

        One whose evaluation succeeded replaces a failed one of the same version.

        Args:
            snapshot: The snapshot.
            replaces_same_version: Whether it also replaces a snapshot of the same version, such as
                that of another generation, which may differ.
        """
        experiment_id = snapshot.experiment.id
        before = self._snapshots.get(experiment_id)
        if before is not None and (
            before.order > snapshot.order
            or (before.order == snapshot.order and not replaces_same_version)
        ):
            return False
        # Compiled first: a snapshot that cannot be compiled changes nothing.
        running = compiled(snapshot)
        for note in self._on_put:
            note(snapshot)
        if before is not None:
            self._unlist(before)
        self._snapshots[experiment_id] = snapshot
        self._list(snapshot)
        self._compiled(snapshot, running)
        self._note_layer(before, snapshot)
        self._note_holdout(snapshot.experiment)
        if before is not None and _is_concluded(snapshot) and not _is_concluded(before):
            self.conclusions += 1
            if snapshot.winner is not None:
                self.winner_confidences.append(snapshot.confidence)
        return True

    def drop(self, name: str) -> None:
        """Forget an experiment."""
        snapshot = self._snapshots.pop(name)
        self._unlist(snapshot)
        self._compiled(snapshot, None)
        self._note_layer(snapshot, None)
        if self._holdouts.pop(snapshot.experiment.id, None) is not None:
            self._cover()
        for forget in self._on_drop:
            forget(snapshot)

    @property
    def refused(self) -> AbstractSet[str]:
        """Ids of the experiments whose units another one of their layer has."""
        return self._refused.keys()

    @property
    def has_holdouts(self) -> bool:
        """Whether a holdout holds units out."""
        return bool(self._holdouts)

    def holdout(self, key: str) -> Snapshot:
        """Return the newest snapshot of the holdout with a key.

        Raises:
            ExperimentNotFoundError: no such holdout exists (`HOLDOUT_NOT_FOUND`).
            DependencyError: not everything was read from Redis yet.
        """
        name = experiment_id(holdout_number(key)) if is_key(key) else key
        try:
            found = self.snapshot(name)
        except ExperimentNotFoundError as error:
            raise no_holdout(key) from error
        if found.experiment.definition.config.holdout is None:
            raise no_holdout(key)
        return found

    def holdouts(self) -> list[Snapshot]:
        """Return the newest snapshot of every holdout, newest holdout first."""
        return [each for each in self._sorted() if _is_holdout(each)]

    def _note_layer(self, before: Snapshot | None, after: Snapshot | None) -> None:
        """Let of overlapping experiments of a layer only the first one assign."""
        either = after or before
        if either is None or either.experiment.definition.config.layer is None:
            return
        if _status_of(before) == _status_of(after):
            return
        known = (each.experiment for each in self._snapshots.values())
        found = {experiment_id(n): other for n, other in refused_in_layers(known).items()}
        changed = found.keys() ^ self._refused.keys()
        self._refused = found
        for name in changed & self._snapshots.keys():
            self._compiled(self._snapshots[name], compiled(self._snapshots[name]))
            for note in self._on_put:
                note(self._snapshots[name])

    def _note_holdout(self, experiment: Experiment) -> None:
        """Let a holdout that begins or ends cover experiments, or none any more."""
        found = experiment.holdout
        if (found is not None) == (experiment.id in self._holdouts):
            return  # nothing of it changes while it runs
        if found is None:
            del self._holdouts[experiment.id]
        else:
            self._holdouts[experiment.id] = found
        self._cover()

    def _cover(self) -> None:
        """Note of every experiment that answers which holdouts cover it."""
        for answering in self._answering.values():
            answering.holdouts = self.covering(answering.id)

    def covering(self, name: str) -> tuple[Holdout, ...]:
        """Return the holdouts that cover an experiment, in order of their keys."""
        if not self._holdouts:
            return ()
        experiment = self._snapshots[name].experiment
        number, unit = experiment.number, experiment.definition.config.unit
        covering = (each for each in self._holdouts.values() if each.holds_out_of(number, unit))
        return tuple(sorted(covering, key=lambda each: each.key))

    def _compiled(self, snapshot: Snapshot, running: AnsweringExperiment | None) -> None:
        """Note what an experiment answers with; None for one that does not."""
        if snapshot.experiment.id in self._refused:
            running = None
        if running is not None:
            running.holdouts = self.covering(running.id)
        for name in (snapshot.experiment.id, snapshot.experiment.key):
            if running is None:
                self._answering.pop(name, None)
            elif name is not None:
                self._answering[name] = running

    def _list(self, snapshot: Snapshot) -> None:
        experiment = snapshot.experiment
        if _is_holdout(snapshot):
            return  # it is observed by what its experiments are
        if experiment.is_assigning or experiment.status is Status.PAUSED:
            for place in _observed_as(experiment):
                self._observed[place][experiment.id] = None

    def _unlist(self, snapshot: Snapshot) -> None:
        for place in _observed_as(snapshot.experiment):
            listed = self._observed.get(place)
            if listed is None:
                continue
            listed.pop(snapshot.experiment.id, None)
            if not listed:
                del self._observed[place]

    def keep_last_good(self, name: str, reason: str) -> None:
        """Note that the newest snapshot of an experiment cannot be used."""
        if self.unreadable.get(name) != reason:
            _log.error("the snapshot of %s cannot be used, keeping the last one: %s", name, reason)
        self.unreadable[name] = reason

    def observed_in(self, unit: UnitKind, metric: str) -> list[Snapshot]:
        """Return the experiments by a kind of unit that count a metric and assign or are paused."""
        return [self._snapshots[each] for each in self._observed.get((unit, metric), ())]

    def snapshots(self) -> Mapping[str, Snapshot]:
        """Return the newest snapshots by experiment id; a view."""
        return self._snapshots


def _observed_as(experiment: Experiment) -> Iterator[tuple[UnitKind, str]]:
    config = experiment.definition.config
    return ((config.unit, metric) for metric in config.counted_metrics)


def _status_of(snapshot: Snapshot | None) -> tuple[Status, bool] | None:
    if snapshot is None:
        return None
    return snapshot.experiment.status, snapshot.experiment.is_assigning


def _is_holdout(snapshot: Snapshot) -> bool:
    return snapshot.experiment.definition.config.holdout is not None


def no_holdout(key: str) -> ExperimentNotFoundError:
    """Return the error of a holdout that is not there."""
    error = ExperimentNotFoundError(key)
    error.code, error.message = "HOLDOUT_NOT_FOUND", f"there is no holdout {quoted(key)}"
    error.path = "holdoutKey"
    return error


def _is_concluded(snapshot: Snapshot) -> bool:
    return snapshot.experiment.concluded_at_ms is not None
