"""Recommended actions of an experiment in the topic `decisions`."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from streams.experiments.history import MAX_ACTIONS, RECOMMENDATION, Change, HistoryEntry
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.fold.basis import Basis
from streams.model.authors import EVALUATION
from streams.model.events import Decision
from streams.model.ids import MAX_VARIANTS, experiment_id, variant_id

_ID_BYTES = 16


class ActionHistory(NamedTuple):
    """Recommended actions of an experiment in `decisions`.

    Attributes:
        entries: The last changes, oldest first.
        n_logged: Number of all changes.
        action: The last one.
        basis: Basis of the last one.
    """

    entries: tuple[HistoryEntry, ...] = ()
    n_logged: int = 0
    action: RecommendedAction = RecommendedAction.CONTINUE
    basis: Basis = Basis()

    def followed_by(self, decision: Decision, since_ms: int = 0) -> ActionHistory:
        """Return the history after one more decision.

        One that repeats the action is no change: before a worker notices that another has the
        experiment, both may log the same.

        Args:
            decision: A decision about a recommended action.
            since_ms: Time of the last command before it. The time of a decision is that of the
                newest event it was made on, which may be older, and 0 without events.

        Raises:
            ValueError: the decision is not about a recommended action.
        """
        action, basis = RecommendedAction(decision.kind), Basis.of_decision(decision)
        if action is self.action:
            return self._replace(basis=basis)
        name = experiment_id(decision.experiment)
        seed = f"{RECOMMENDATION}/{name}/{basis.generation}/{decision.version}/{action}"
        changes = [Change("recommendedAction", self.action.value, action.value)]
        winner, code = decision.evidence.get("winner"), decision.evidence.get("reasonCode")
        if isinstance(winner, int) and 0 <= winner < MAX_VARIANTS:
            changes.append(Change("recommendedVariantId", None, variant_id(name, winner)))
        entry = HistoryEntry(
            id=blake2b(seed.encode(), digest_size=_ID_BYTES).hexdigest(),
            at_ms=max(decision.at_ms, since_ms),
            kind=RECOMMENDATION,
            author=EVALUATION,
            reason_code=code if isinstance(code, str) else "",
            version=decision.version,
            changes=tuple(changes),
        )
        entries = (*self.entries, entry)[-MAX_ACTIONS:]
        return ActionHistory(entries, self.n_logged + 1, action, basis)


NOTHING_LOGGED = ActionHistory()
"""History of an experiment whose recommended action is still the initial one."""
