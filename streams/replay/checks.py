"""The comparisons of a verification."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from schemas import catalogue
from streams.experiments.lifecycle import Status
from streams.experiments.snapshot import CellPlace, Snapshot
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.experiments.time_points import TimePoint, point_of
from streams.fold.basis import Basis
from streams.fold.decisions import number_of, recommended
from streams.fold.experiment_state import encoded_snapshot, snapshot_of
from streams.fold.failed_evaluations import failed_snapshot
from streams.model.events import Decision
from streams.model.generations import FIRST
from streams.model.ids import experiment_id
from streams.replay.difference import Difference, compare
from streams.replay.history import CommandDecision, History
from streams.replay.live import COMMAND, LiveState, LiveValue
from streams.replay.partitions import FoldInputs, Parts
from streams.replay.report import Report
from streams.tallies.cell import Cell, Source
from streams.wire.decisions import encode_decision


class Checks:
    """A comparison of all live values with replayed ones, which keeps the first difference.

    Args:
        live: What is live.
        history: What the commands have made.
        folded: The cells at the offsets that live values are of.
        generation: Whose values they are.
        is_active: Whether it is active, and so logs the recommended actions.
    """

    def __init__(
        self,
        live: LiveState,
        history: History,
        folded: Parts,
        *,
        generation: int = FIRST,
        is_active: bool = True,
    ) -> None:
        self._live = live
        self._history = history
        self._folded = folded
        self._generation = generation
        self._is_active = is_active
        self._difference: Difference | None = None
        self._replayed = [
            (placed, self._snapshot_like(placed.value)) for placed in live.all_snapshots()
        ]
        self._actions = 0
        self._actions_not_compared = 0

    def report(self, inputs: FoldInputs, experiments: Collection[int]) -> Report:
        """Compare everything, and say what was compared."""
        live = self._live
        self._compare_cells()
        for placed, replayed in self._replayed:
            self._compare_snapshot(placed, replayed)
        for placed_point in (each for points in live.points.values() for each in points):
            self._compare_point(placed_point)
        self._compare_projection()
        commands = self._compare_commands(experiments)
        self._compare_actions()
        numbers = {key[0] for key in live.cells} | live.snapshots.keys()
        return Report(
            difference=self._difference,
            experiments=len(numbers | (live.projected or {}).keys()),
            cells=len(live.cells),
            snapshots=sum(map(len, live.snapshots.values())),
            conclusions=len(live.conclusions),
            projected=len(live.projected or {}),
            commands=commands,
            actions=self._actions,
            actions_not_compared=self._actions_not_compared,
            behind=self._behind(experiments),
            unreadable=live.unreadable.total(),
            deduplication_limit=inputs.limit,
            key_ids=inputs.key_ids,
            points=sum(map(len, live.points.values())),
        )

    def _note(self, difference: Difference | None) -> None:
        self._difference = self._difference or difference

    def _cell(self, number: int, source: str, partition: int, last_offset: int) -> Cell | None:
        """Return the replayed cell."""
        return self._folded[Source(source), partition].cells.get((number, last_offset))

    def _snapshot_like(self, live: Snapshot) -> Snapshot | None:
        """Return the snapshot of the same cells and the same version of the experiment."""
        number = live.experiment.number
        state = self._history.states.get(number, {}).get(live.experiment.version)
        if state is None:
            return None
        found = self._cells(number, live.cells)
        try:
            snapshot = snapshot_of(state.experiment, found)
            encoded_snapshot(snapshot)
        except Exception as error:  # noqa: BLE001 - any class of it is what the worker published
            # What is published then follows from the log but for the statistics of before.
            failure = live.failure
            has_statistics = failure is not None and failure.statistics_version > 0
            return failed_snapshot(state.experiment, found, error, live if has_statistics else None)
        return snapshot

    def _cells(self, number: int, places: Iterable[CellPlace]) -> list[Cell]:
        """Return the replayed cells of some places."""
        cells = [
            self._cell(number, place.source, place.partition, place.last_offset) for place in places
        ]
        return [cell for cell in cells if cell is not None]

    def _compare_point(self, placed: LiveValue[TimePoint]) -> None:
        """Compare a point with that of the same cells and the same version of the experiment."""
        live = placed.value
        subject = f"{experiment_id(live.experiment)}/{live.slot}"
        state = self._history.states.get(live.experiment, {}).get(live.experiment_version)
        if state is None:
            version = str(live.experiment_version)
            self._note(Difference(placed.place, subject, "experiment_version", version, None))
            return
        try:
            snapshot = snapshot_of(state.experiment, self._cells(live.experiment, live.cells))
            replayed = point_of(snapshot, live.generation)
        except Exception as error:  # noqa: BLE001 - any class of it: the live system had no failure
            self._note(Difference(placed.place, subject, "", "a point", type(error).__name__))
            return
        self._note(compare(placed.place, subject, live, replayed))

    def _compare_cells(self) -> None:
        for (number, source, partition), cells in sorted(self._live.cells.items()):
            subject = f"{experiment_id(number)}/{source}/{partition}"
            for placed in cells:
                replayed = self._cell(number, source, partition, placed.value.last_offset)
                if replayed is None:
                    self._note(
                        Difference(
                            placed.place, subject, "", f"a cell at {placed.value.last_offset}", None
                        )
                    )
                else:
                    self._note(compare(placed.place, subject, placed.value, replayed))

    def _compare_snapshot(self, placed: LiveValue[Snapshot], replayed: Snapshot | None) -> None:
        live = placed.value
        subject = live.experiment.id
        if replayed is None:
            version = str(live.experiment.version)
            known = self._history.states.get(live.experiment.number)
            newest = str(max(known)) if known else None
            self._note(Difference(placed.place, subject, "experiment.version", version, newest))
        else:
            self._note(
                _failures(placed, replayed) or compare(placed.place, subject, live, replayed)
            )

    def _compare_projection(self) -> None:
        """Look for what Redis does not have at all."""
        if self._live.projected is None:
            return
        for number in sorted(self._live.snapshots.keys() - self._live.projected.keys()):
            newest = self._live.newest(number)
            if newest is not None and newest.experiment.status is Status.ARCHIVED:
                continue  # it has ended, and Redis keeps nothing of what has
            self._note(Difference("redis", experiment_id(number), "", None, "a snapshot"))

    def _compare_commands(self, experiments: Collection[int]) -> int:
        compared = 0
        found: defaultdict[str, set[bytes]] = defaultdict(set)
        for placed in self._live.decisions:
            if placed.value.kind != COMMAND:
                continue
            compared += 1
            command_id = str(placed.value.evidence.get("commandId"))
            found[command_id].add(encode_decision(placed.value))
            self._compare_command(placed, self._history.decisions.get(command_id, ()))
        applied = self._applied()
        for command_id, decided in self._history.decisions.items():
            for each in decided:
                is_due = each.offset <= applied.get(each.partition, -1)
                is_asked = not experiments or each.decision.experiment in experiments
                if is_due and is_asked and encode_decision(each.decision) not in found[command_id]:
                    subject = f"{experiment_id(each.decision.experiment)}/command/{command_id}"
                    place = catalogue.DECISIONS.name
                    self._note(Difference(place, subject, "", None, str(each.decision.evidence)))
        return compared

    def _compare_command(
        self, placed: LiveValue[Decision], decided: tuple[CommandDecision, ...]
    ) -> None:
        live = placed.value
        subject = f"{experiment_id(live.experiment)}/command/{live.evidence.get('commandId')}"
        if not decided:
            self._note(Difference(placed.place, subject, "", str(live.evidence), None))
        elif not any(encode_decision(each.decision) == encode_decision(live) for each in decided):
            nearest = decided[-1].decision
            self._note(compare(placed.place, subject, live, nearest))

    def _applied(self) -> dict[int, int]:
        """Return up to where the commands are certain to be decided, by partition.

        A decision is durable before the snapshot that shows its command is published.
        """
        applied: dict[int, int] = {}
        for placed, _ in self._replayed:
            experiment = placed.value.experiment
            state = self._history.states.get(experiment.number, {}).get(experiment.version)
            if state is not None:
                applied[state.partition] = max(applied.get(state.partition, -1), state.offset)
        return applied

    def _replayed_on(self) -> dict[tuple[int, Basis], Snapshot | None]:
        """Return the replayed snapshots by what an action that was decided on them states."""
        found: dict[tuple[int, Basis], Snapshot | None] = {}
        for placed, replayed in self._replayed:
            basis = Basis.of(placed.value, self._generation)
            for each in (basis, basis.unstated):
                found[placed.value.experiment.number, each] = replayed
        return found

    def _compare_actions(self) -> None:
        """Compare actions with what the snapshots recommend that they were decided on."""
        replayed_on = self._replayed_on()
        last: dict[int, LiveValue[Decision]] = {}
        catching_up: set[int] = set()
        for index, placed in enumerate(self._live.decisions):
            live = placed.value
            if live.kind == COMMAND:
                continue
            number, basis = live.experiment, Basis.of_decision(live)
            newest = self._live.newest(number)
            if newest is not None:
                if not Basis.of(newest, self._generation).is_behind(basis):
                    last[number] = placed
                elif index < self._live.n_earlier:
                    # A worker that has taken it over still lacks cells, and decides nothing.
                    catching_up.add(number)
            replayed = replayed_on.get((number, basis))
            if replayed is None:
                self._actions_not_compared += 1
                continue
            self._actions += 1
            subject = f"{experiment_id(number)}/{live.kind}"
            wanted = recommended(replayed, self._generation, number_of(live))
            self._note(compare(placed.place, subject, live, wanted))
        if not self._is_active:
            return
        for number in sorted(self._live.snapshots.keys() - catching_up):
            newest = self._live.newest(number)
            if newest is None:
                continue
            replayed = replayed_on.get((number, Basis.of(newest, self._generation)))
            if replayed is not None:
                self._compare_last_action(number, last.get(number), replayed)

    def _compare_last_action(
        self, number: int, logged: LiveValue[Decision] | None, replayed: Snapshot
    ) -> None:
        """Compare what was last logged with what the newest snapshot recommends."""
        kind = RecommendedAction.CONTINUE.value if logged is None else logged.value.kind
        wanted = replayed.recommended_action.value
        if kind != wanted:
            place = catalogue.DECISIONS.name if logged is None else logged.place
            subject = f"{experiment_id(number)}/{kind}"
            self._note(Difference(place, subject, "kind", kind, wanted))

    def _behind(self, experiments: Collection[int]) -> int:
        behind = 0
        for (source, partition), captured in self._folded.items():
            for number, cell in captured.last.items():
                if experiments and number not in experiments:
                    continue
                live = self._live.cells.get((number, source, partition))
                behind += live is None or live[0].value.last_offset < cell.last_offset
        return behind


def _failures(placed: LiveValue[Snapshot], replayed: Snapshot) -> Difference | None:
    """Return that one of two evaluations failed; None if both did, or neither."""
    live = placed.value
    codes = [None if each.failure is None else each.failure.code for each in (live, replayed)]
    if codes[0] == codes[1]:
        return None
    return Difference(placed.place, live.experiment.id, "failure", *codes)
