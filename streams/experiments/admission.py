"""Admission: requests that take no part in an experiment, decided before enrollment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from streams.experiments.assignment_reason import Reason
from streams.experiments.definition import ExperimentDefinition
from streams.targeting.attributes import RequestAttributes
from streams.targeting.rule import TargetingRule


class Exclusion(NamedTuple):
    """The answer to a request that does not take part; nothing of it is logged.

    Attributes:
        reason: Why.
        variant: Index of the variant that it sees.
    """

    reason: Reason
    variant: int


class Admission:
    """Compiled demands of an experiment on a request.

    Decided in this order: overrides, then targeting.
    """

    __slots__ = ("_forced", "_not_targeted", "_targeting")

    def __init__(
        self, forced: Mapping[str, int], targeting: TargetingRule | None, control: int
    ) -> None:
        self._forced = {unit: Exclusion(Reason.FORCED, index) for unit, index in forced.items()}
        self._targeting = targeting
        self._not_targeted = Exclusion(Reason.NOT_TARGETED, control)

    def exclusion(self, unit_key: str | None, request: RequestAttributes) -> Exclusion | None:
        """Return how a request that does not take part is answered; None for one that may.

        Args:
            unit_key: Id of its unit; None where every request is one.
            request: The request.
        """
        if self._forced and (forced := self._override(unit_key, request)) is not None:
            return forced
        if self._targeting is not None and not self._targeting.matches(request):
            return self._not_targeted
        return None

    def _override(self, unit_key: str | None, request: RequestAttributes) -> Exclusion | None:
        if unit_key is not None:
            return self._forced.get(unit_key)
        for each in (request.user_id, request.session_id):
            if each is not None and each in self._forced:
                return self._forced[each]
        return None


def admission_of(definition: ExperimentDefinition) -> Admission | None:
    """Return what an experiment demands of a request; None where it is for every one."""
    config = definition.config
    if not config.overrides and config.targeting is None:
        return None
    names = [variant.name for variant in definition.variants]
    forced = {unit: names.index(name) for unit, name in config.overrides.items()}
    return Admission(forced, config.targeting, definition.control_index)
