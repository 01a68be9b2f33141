"""Assignments as JSON: all but the id is rendered once for each snapshot."""

from __future__ import annotations

from typing import Any

import orjson

from streams.experiments.assignment_reason import Reason
from streams.experiments.snapshot import Snapshot
from streams.model.quantities import PROPENSITY_ONE, PROPENSITY_PER_WEIGHT


class RenderedAssignments:
    """The JSON of every answer that a snapshot can give.

    Keys stand in the order id, experimentId, variantId, variantName, config, enrolled, reason,
    propensity.
    """

    __slots__ = ("_answers", "_assigned", "_control", "_outside", "_propensities")

    def __init__(self, snapshot: Snapshot) -> None:
        experiment = snapshot.experiment
        self._answers: list[dict[str, Any]] = [
            {
                "experimentId": experiment.id,
                "variantId": experiment.variant_id(index),
                "variantName": variant.name,
                "config": variant.config,
            }
            for index, variant in enumerate(experiment.definition.variants)
        ]
        self._propensities = [
            weight * PROPENSITY_PER_WEIGHT for weight in snapshot.allocation.weights
        ]
        self._assigned = [
            self._tail(index, Reason.ASSIGNED, propensity / PROPENSITY_ONE)
            for index, propensity in enumerate(self._propensities)
        ]
        self._control = experiment.definition.control_index
        self._outside: dict[tuple[Reason, int], bytes] = {}

    def outside(self, reason: Reason, variant: int | None = None) -> bytes:
        """Return the answer to a request that does not take part: the control by default."""
        index = self._control if variant is None else variant
        answer = self._outside.get((reason, index))
        if answer is None:
            parts = {"enrolled": False, "reason": reason, "propensity": None}
            answer = orjson.dumps({"id": None, **self._answers[index], **parts})
            self._outside[reason, index] = answer
        return answer

    def held_out(self, receipt: str, variant: int) -> bytes:
        """Return the answer to a unit that is held out; its id is the receipt of the holdout."""
        answer = self.outside(Reason.HOLDOUT, variant)
        return b'{"id":"%b"%b' % (receipt.encode(), answer.removeprefix(b'{"id":null'))

    def assigned(self, receipt: str, variant: int, propensity: int) -> bytes:
        """Return the answer to a unit that the allocation in force gave `variant`.

        Under a contextual policy it may have given it with another propensity (over 2**32) than
        that of a request of which nothing is known, which is rendered already.
        """
        if propensity != self._propensities[variant]:
            return self.otherwise(receipt, variant, Reason.ASSIGNED, propensity)
        return b'{"id":"%b"%b' % (receipt.encode(), self._assigned[variant])

    def otherwise(self, receipt: str, variant: int, reason: Reason, propensity: int) -> bytes:
        """Return the answer for another reason, or with another propensity (over 2**32)."""
        tail = self._tail(variant, reason, propensity / PROPENSITY_ONE)
        return b'{"id":"%b"%b' % (receipt.encode(), tail)

    def _tail(self, variant: int, reason: Reason, propensity: float) -> bytes:
        rest = {
            **self._answers[variant],
            "enrolled": True,
            "reason": reason,
            "propensity": propensity,
        }
        return b"," + orjson.dumps(rest)[1:]
