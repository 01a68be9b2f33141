"""Automatic commands: promotion of a declared winner, and rollback of a harmful one."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from streams.analysis.answered_evidence import stored_evidence
from streams.analysis.evidence_size import bounded
from streams.analysis.promotion import obstacles
from streams.experiments.lifecycle import Status
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.model.authors import PROMOTION, Origin
from streams.model.events import Command, CommandKind

_ID_BYTES = 16


def due_command(snapshot: Snapshot) -> Command | None:
    """Return the automatic command that is due now; None without one.

    Its id is derived from the experiment and its version, so that sending it twice is harmless. It
    names that version, so that it is refused if an author's command came in between: the decision
    is about an older state.

    Args:
        snapshot: The snapshot.
    """
    if snapshot.failure is not None:
        return None  # its statistics are of an older state
    experiment = snapshot.experiment
    config = experiment.definition.config
    if experiment.status is Status.CONCLUDED:
        return _command(snapshot, CommandKind.ROLLBACK, {}) if _is_harmful(snapshot) else None
    if not config.auto_promote_winner or snapshot.winner is None or obstacles(snapshot):
        return None
    return _command(
        snapshot,
        CommandKind.CONCLUDE,
        {
            "winnerVariantId": experiment.variant_id(snapshot.winner),
            "controlShare": config.kept_control_share,
            "isPromotion": True,
        },
    )


def _is_harmful(snapshot: Snapshot) -> bool:
    """Return whether a winner that was promoted automatically must be rolled back.

    A manual promotion is only rolled back manually, on the recommended action.
    """
    promotion = snapshot.experiment.promotion
    return (
        promotion is not None
        and promotion.is_automatic
        and snapshot.recommended_action is RecommendedAction.STOP_GUARDRAIL
    )


def _command(snapshot: Snapshot, kind: CommandKind, payload: dict[str, Any]) -> Command:
    experiment = snapshot.experiment
    seed = f"{_VERBS[kind]}/{experiment.id}/{experiment.version}".encode()
    because = bounded(
        {
            "version": snapshot.version,
            "reasonCode": snapshot.reason_code.value,
            "evidence": stored_evidence(snapshot),
        }
    )
    return Command(
        command_id=blake2b(seed, digest_size=_ID_BYTES).hexdigest(),
        experiment=experiment.number,
        kind=kind,
        issued_at_ms=snapshot.as_of_ms,
        payload=payload | {"because": because},
        origin=Origin(PROMOTION),
        expected_version=experiment.version,
    )


_VERBS = {CommandKind.CONCLUDE: "promote", CommandKind.ROLLBACK: "rollback"}
