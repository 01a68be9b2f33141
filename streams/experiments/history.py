"""History of an experiment: the commands it was given, and the recommended actions in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import orjson

from streams.experiments.definition import ExperimentDefinition
from streams.experiments.lifecycle import Experiment
from streams.model.events import Answer, Command
from streams.model.quantities import ALLOCATION_TOTAL

MAX_ENTRIES = 200
"""Entries that are kept of the commands of an experiment; the log of decisions has all of them."""

MAX_REFUSALS = 20
"""Entries of refused commands among them, so that they do not displace others."""

MAX_ACTIONS = 50
"""Entries that are kept of its recommended actions."""

MAX_HISTORY_BYTES = 131_072
"""Bytes of the entries of commands, as JSON; the oldest make room."""

MAX_CHANGES = 20
"""Changes of an entry; of the others the number is kept."""

MAX_VALUE_BYTES = 512
"""Bytes of a value in a change, as JSON."""

RECOMMENDATION = "recommendation"
"""Kind of the entry of a recommended action that has changed."""

_PRIVATE = frozenset({"config.overrides", "config.ignoredUnits"})
"""Fields that hold ids of units, which a history must not keep longer than the experiment does."""


@dataclass(frozen=True, slots=True)
class Change:
    """A value of an experiment that a command has changed.

    Attributes:
        path: Its place, as in `config.trafficAllocation` or `variants[1].isActive`.
        before, after: The JSON values; None where a value is absent.
        is_omitted: Whether the values are not kept: they are large, or hold ids of units.
    """

    path: str
    before: Any = None
    after: Any = None
    is_omitted: bool = False


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An entry of a history.

    Attributes:
        id: 32 hex digits: the id of the command, or a hash that names the action.
        at_ms: Time of the entry.
        kind: Kind of the command, or `RECOMMENDATION`.
        author: Author, as in `Origin`; empty if unknown.
        reason: Reason in the author's words; empty without one.
        reason_code: Code of the reason of an automatic entry; empty without one.
        version: Version of the experiment after a command, of the snapshot of an action.
        code: Code of the refusal of a command; empty if it took effect.
        changes: Changed values, in order of the paths.
        n_omitted: Number of changes that are not in `changes`.
    """

    id: str
    at_ms: int
    kind: str
    author: str
    reason: str = ""
    reason_code: str = ""
    version: int = 0
    code: str = ""
    changes: tuple[Change, ...] = ()
    n_omitted: int = 0


def command_entry(
    command: Command, answer: Answer, before: Experiment | None, after: Experiment | None
) -> HistoryEntry:
    """Return the entry of a command that was answered.

    Args:
        command: The command.
        answer: The answer to it.
        before, after: The experiment before and after it; None if it does not exist.
    """
    because = command.payload.get("because")
    code = because.get("reasonCode") if isinstance(because, Mapping) else None
    entry = HistoryEntry(
        id=command.command_id,
        at_ms=command.issued_at_ms,
        kind=command.kind.value,
        author=command.origin.author,
        reason=command.origin.reason,
        reason_code=code[:64] if isinstance(code, str) else "",
        version=answer.version,
        code=answer.code or "",
    )
    if not answer.accepted or before is None or after is None:
        return entry
    found = list(changes_between(before, after))
    kept = tuple(found[:MAX_CHANGES])
    return replace(entry, changes=kept, n_omitted=len(found) - len(kept))


def with_entry(entries: tuple[HistoryEntry, ...], entry: HistoryEntry) -> tuple[HistoryEntry, ...]:
    """Return entries, oldest first, with a new one, within their bounds."""
    kept = [*entries, entry]
    refused = [each for each in kept if each.code]
    if len(refused) > MAX_REFUSALS:
        kept.remove(refused[0])
    kept = kept[-MAX_ENTRIES:]
    size, first = 0, len(kept)
    for place in range(len(kept) - 1, -1, -1):
        size += len(entries_json([kept[place]]))
        if size > MAX_HISTORY_BYTES:
            break
        first = place
    return tuple(kept[first:])


def entries_json(entries: Sequence[HistoryEntry]) -> bytes:
    """Return entries as JSON."""
    return orjson.dumps([_compact(entry) for entry in entries])


def entries_of(payload: bytes | Sequence[Mapping[str, Any]]) -> tuple[HistoryEntry, ...]:
    """Return the entries in JSON, or in its decoded value; the inverse of `entries_json`."""
    found = orjson.loads(payload) if isinstance(payload, bytes) else payload
    return tuple(
        HistoryEntry(**{**each, "changes": tuple(Change(**c) for c in each.get("changes", ()))})
        for each in found
    )


_FIELDS = tuple(each.name for each in fields(HistoryEntry))
_ALWAYS = frozenset({"id", "at_ms", "kind", "author"})


def _compact(entry: HistoryEntry) -> dict[str, Any]:
    """Return an entry as a JSON object without what is empty."""
    found = {name: value for name in _FIELDS if (value := getattr(entry, name)) or name in _ALWAYS}
    if entry.changes:
        found["changes"] = [
            {"path": each.path, "is_omitted": True}
            if each.is_omitted
            else {"path": each.path, "before": each.before, "after": each.after}
            for each in entry.changes
        ]
    return found


def changes_between(before: Experiment, after: Experiment) -> Iterator[Change]:
    """Yield the differences between two states of an experiment, the lifecycle first."""
    yield from _differences(_lifecycle(before), _lifecycle(after))
    if before.definition is not after.definition:
        yield from _differences(_values(before.definition), _values(after.definition))


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for path in dict.fromkeys([*before, *after]):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        is_large = any(len(orjson.dumps(each)) > MAX_VALUE_BYTES for each in (old, new))
        if is_large or path in _PRIVATE:
            yield Change(path, is_omitted=True)
        else:
            yield Change(path, old, new)


def _lifecycle(experiment: Experiment) -> dict[str, Any]:
    """Return the lifecycle values of an experiment, by path."""
    winner, promotion, served = experiment.winner, experiment.promotion, experiment.shipped
    return {
        "status": experiment.status.value,
        "winnerVariantId": None if winner is None else experiment.variant_id(winner),
        "promotion.controlShare": (
            None if promotion is None else promotion.control_weight / ALLOCATION_TOTAL
        ),
        "promotion.isRolledBack": None if promotion is None else promotion.is_rolled_back,
        "served.variantId": None if served is None else experiment.variant_id(served.variant),
        "schedule.events": len(experiment.history) or None,
    }


def _values(definition: ExperimentDefinition) -> dict[str, Any]:
    """Return the values of a definition by path: fields, parameters, and fields of variants."""
    found = {}
    for name, value in definition.config.model_dump(by_alias=True, mode="json").items():
        if name == "parameters":
            for own, each in value.items():
                found[f"config.parameters.{own}"] = each
        elif name != "receiptKey":  # noted by the engine at the start
            found[f"config.{name}"] = value
    for index, variant in enumerate(definition.variants):
        for name, value in variant.model_dump(by_alias=True, mode="json").items():
            found[f"variants[{index}].{name}"] = value
    return found
