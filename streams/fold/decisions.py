"""Decisions about an experiment, as they are logged: commands, recommended actions, conclusions."""

from __future__ import annotations

from streams.analysis.answered_evidence import stored_evidence
from streams.analysis.evidence_size import bounded
from streams.experiments.snapshot import Snapshot
from streams.fold.basis import Basis, stated
from streams.model.events import CONCLUSION, Answer, Command, CommandKind, Decision
from streams.model.generations import FIRST
from streams.model.published import json_value

_GENERATION = "generation"
_EXPLAINED = frozenset({CommandKind.CONCLUDE, CommandKind.ROLLBACK})


def recommended(snapshot: Snapshot, generation: int = FIRST, number: int | None = 1) -> Decision:
    """Return the decision to log when the recommended action changes to this one.

    Args:
        snapshot: Snapshot that the decision is based on.
        generation: Generation of the snapshot. Two generations may have different snapshots of the
            same version.
        number: Number of the change among those of the experiment, from 1. A worker that logs one
            that another has logged gives it the same number. None for an action as it was logged
            before actions named their state.
    """
    own = {} if generation == FIRST else {_GENERATION: generation}
    basis = Basis.of(snapshot, generation).evidence()
    named = {} if number is None else {"basis": basis, "number": number}
    failed = snapshot.failure
    failure = {} if failed is None else {"failure": json_value(failed, (), is_stored=True)}
    return Decision(
        experiment=snapshot.experiment.number,
        kind=snapshot.recommended_action.value,
        at_ms=snapshot.as_of_ms,
        version=snapshot.version,
        evidence=bounded(
            {
                "reasonCode": snapshot.reason_code.value,
                "winner": snapshot.winner,
                "confidence": snapshot.confidence,
                "probabilityBest": [variant.probability_best for variant in snapshot.variants],
                "expectedLoss": [variant.expected_loss for variant in snapshot.variants],
                "assignments": [variant.assignments for variant in snapshot.variants],
                "evidence": stored_evidence(snapshot),
                **named,
                **failure,
                **own,
            }
        ),
    )


def is_report_due(snapshot: Snapshot) -> bool:
    """Return whether a snapshot can become the report of a conclusion: concluded and evaluated."""
    return snapshot.experiment.concluded_at_ms is not None and snapshot.failure is None


def conclusion(snapshot: Snapshot, body: bytes, generation: int = FIRST) -> Decision:
    """Return the decision with the statistics as of the conclusion.

    Args:
        snapshot: The first snapshot after the conclusion.
        body: Its bytes.
        generation: Generation of the snapshot.
    """
    own = {} if generation == FIRST else {_GENERATION: generation}
    return Decision(
        experiment=snapshot.experiment.number,
        kind=CONCLUSION,
        at_ms=snapshot.as_of_ms,
        version=snapshot.version,
        evidence=own,
        snapshot=body,
    )


def generation_of(decision: Decision) -> int:
    """Return the generation of the snapshot that an action was decided on."""
    return stated(decision.evidence, _GENERATION, FIRST)


def number_of(action: Decision) -> int | None:
    """Return the number of a recommended action among those of its experiment, if it has one."""
    return stated(action.evidence, "number", None)


def answered(command: Command, answer: Answer) -> Decision:
    """Return the decision to log about a command and its answer."""
    because = command.payload.get("because") if command.kind in _EXPLAINED else None
    return Decision(
        experiment=command.experiment,
        kind="command",
        at_ms=command.issued_at_ms,
        version=answer.version,
        evidence=bounded(
            {
                "commandId": command.command_id,
                "command": command.kind.value,
                "accepted": answer.accepted,
                "code": answer.code,
                "status": answer.status,
                "author": command.origin.author,
                **({"reason": command.origin.reason} if command.origin.reason else {}),
                **({} if because is None else {"because": because}),
            }
        ),
    )
