"""An experiment as its table entry: JSON with the definition as its author wrote it.

An entry carries the lowest version of this format that can hold it, and a worker that does not know
that version refuses to start. A key of a later version is written only if it is not empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import orjson

from streams.experiments.definition import parse_definition
from streams.experiments.definition_versions import DEFINITION_VERSION, unused, version_of
from streams.experiments.history import HistoryEntry, entries_json, entries_of
from streams.experiments.lifecycle import Experiment, Status, ended
from streams.experiments.promotion_state import Promotion
from streams.experiments.roster import Roster
from streams.experiments.schedule import ScheduleEvent
from streams.experiments.served import Served
from streams.model.errors import DamagedEntryError, EngineError, NewerEntryError
from streams.model.events import Answer
from streams.model.published import from_avro

_OF_ANSWERS = tuple(each.name for each in fields(Answer) if each.name != "experiment")


@dataclass(frozen=True, slots=True)
class StoredExperiment:
    """State of an experiment after its commands.

    Attributes:
        experiment: Definition and lifecycle.
        answers: Answers to the last commands, oldest first.
        archived_at_ms: When it was archived; None before.
        is_ended: Whether it has ended; then nothing else is kept.
        entries: History of its commands, oldest first.
    """

    experiment: Experiment
    answers: tuple[Answer, ...]
    archived_at_ms: int | None = None
    is_ended: bool = False
    entries: tuple[HistoryEntry, ...] = ()


def encode_stored(stored: StoredExperiment) -> bytes:
    """Return the table entry of an experiment, with the keys of its definition in their order."""
    experiment = stored.experiment
    if stored.is_ended:
        return orjson.dumps(
            {
                "format": 1,
                "number": str(experiment.number),
                "status": experiment.status.value,
                "version": experiment.version,
                "createdAt": experiment.created_at_ms,
                "archivedAt": stored.archived_at_ms,
                "isEnded": True,
            }
        )
    definition = experiment.definition
    return orjson.dumps(
        {
            "format": version_of(definition),
            "number": str(experiment.number),  # beyond the safe range of JSON numbers
            "definition": definition.model_dump(
                by_alias=True, mode="json", exclude=unused(definition)
            ),
            "status": experiment.status.value,
            "version": experiment.version,
            "createdAt": experiment.created_at_ms,
            "startedAt": experiment.started_at_ms,
            "startedVersion": experiment.started_version,
            "clock": experiment.clock_ms,
            "peakTraffic": experiment.peak_traffic,
            "loweredVersion": experiment.lowered_version,
            "changedVersion": experiment.changed_version,
            "history": [asdict(event) for event in experiment.history],
            "concludedAt": experiment.concluded_at_ms,
            "archivedAt": stored.archived_at_ms,
            "winner": experiment.winner,
            "promotion": None if experiment.promotion is None else asdict(experiment.promotion),
            "served": None if experiment.served is None else asdict(experiment.served),
            "roster": None if experiment.roster is None else asdict(experiment.roster),
            "answers": [
                {name: getattr(answer, name) for name in _OF_ANSWERS} for answer in stored.answers
            ],
            "entries": orjson.Fragment(entries_json(stored.entries)),
        }
    )


def decode_stored(body: bytes) -> StoredExperiment:
    """Return the experiment in a table entry; the inverse of `encode_stored`.

    Raises:
        NewerEntryError: a newer release wrote it, and this one would lose fields.
        InputError: its definition cannot be used.
        DamagedEntryError: it is not such an entry.
    """
    try:
        return _decoded(body)
    except EngineError:
        raise
    except Exception as error:
        raise DamagedEntryError("the entry of an experiment", error) from error


def _decoded(body: bytes) -> StoredExperiment:
    entry: dict[str, Any] = orjson.loads(body)
    if entry["format"] > DEFINITION_VERSION:
        raise NewerEntryError(f"an experiment in format {entry['format']}")
    number = int(entry["number"])
    if entry.get("isEnded", False):
        return StoredExperiment(
            ended(number, Status(entry["status"]), entry["version"], entry["createdAt"]),
            (),
            entry["archivedAt"],
            is_ended=True,
        )
    definition = entry["definition"]
    promotion, served, roster = entry["promotion"], entry.get("served"), entry.get("roster")
    entries = entries_of(entry.get("entries", ()))
    return StoredExperiment(
        experiment=Experiment(
            number=number,
            definition=parse_definition(definition["config"], definition["variants"]),
            status=Status(entry["status"]),
            version=entry["version"],
            created_at_ms=entry["createdAt"],
            started_at_ms=entry["startedAt"],
            started_version=entry["startedVersion"],
            clock_ms=entry["clock"],
            peak_traffic=entry.get("peakTraffic", 0.0),
            lowered_version=entry.get("loweredVersion", 0),
            changed_version=entry.get("changedVersion") or _last_change(entries),
            history=tuple(
                from_avro(ScheduleEvent, each, "history") for each in entry.get("history", ())
            ),
            concluded_at_ms=entry["concludedAt"],
            winner=entry["winner"],
            promotion=None if promotion is None else Promotion(**promotion),
            served=None if served is None else Served(**served),
            roster=None if roster is None else from_avro(Roster, roster, "roster"),
        ),
        archived_at_ms=entry["archivedAt"],
        answers=tuple(Answer(experiment=number, **answer) for answer in entry["answers"]),
        entries=entries,
    )


def _last_change(entries: Iterable[HistoryEntry]) -> int:
    """Return the version after the newest command of a history that took effect; 0 without one.

    Ticks are in no history, so this is what an entry from before `changedVersion` would have.
    """
    return max((each.version for each in entries if not each.code), default=0)
