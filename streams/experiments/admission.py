"""Admission: requests that take no part in an experiment, decided before enrollment."""

from __future__ import annotations

from typing import NamedTuple

from streams.experiments.assignment_reason import Reason
from streams.experiments.config import UnitKind
from streams.experiments.definition import ExperimentDefinition
from streams.targeting.attributes import RequestAttributes


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

    Decided in this order: override, holdout, targeting, layer. The layer is of experiments that
    assign: what everybody is served takes nothing from others.
    """

    __slots__ = ("_control", "_forced", "_holdout", "_is_of_impressions", "_layer", "_targeting")

    def __init__(self, definition: ExperimentDefinition) -> None:
        config = definition.config
        names = [variant.name for variant in definition.variants]
        self._control = definition.control_index
        self._is_of_impressions = config.unit is UnitKind.IMPRESSION
        self._forced = {
            unit: Exclusion(Reason.FORCED, names.index(name))
            for unit, name in config.overrides.items()
        }
        self._holdout = None if config.holdout is None else config.holdout.part
        self._targeting = config.targeting
        self._layer = None if config.layer is None else config.layer.part

    @property
    def has_targeting(self) -> bool:
        """Whether it depends on attributes of the request."""
        return self._targeting is not None

    def exclusion(
        self, unit_key: str | None, former_key: str | None, request: RequestAttributes
    ) -> Exclusion | None:
        """Return how a request that does not take part is answered; None for one that may.

        Args:
            unit_key: Id of its unit; None where every request is one.
            former_key: Id that the unit had before; None for none. Layer and holdout go by it, so
                that a unit stays where it was.
            request: The request.
        """
        excluded = self.exclusion_of_served(unit_key, former_key, request)
        if excluded is not None or self._layer is None:
            return excluded
        lasting = unit_key if former_key is None else former_key
        # Of impressions there is neither layer nor holdout.
        if lasting is not None and not self._layer.has(lasting.encode()):
            return Exclusion(Reason.NOT_IN_LAYER, self._control)
        return None

    def exclusion_of_served(
        self, unit_key: str | None, former_key: str | None, request: RequestAttributes
    ) -> Exclusion | None:
        """Return who does not get what everybody is served; arguments are those of `exclusion`.

        A request without a unit is in no holdout.
        """
        if self._forced and (forced := self._override(unit_key, request)) is not None:
            return forced
        if self._holdout is not None:
            lasting = unit_key if former_key is None else former_key
            if lasting is not None and self._holdout.has(lasting.encode()):
                return Exclusion(Reason.HOLDOUT, self._control)
        if self._targeting is not None and not self._targeting.matches(request):
            return Exclusion(Reason.NOT_TARGETED, self._control)
        return None

    def _override(self, unit_key: str | None, request: RequestAttributes) -> Exclusion | None:
        if not self._is_of_impressions:
            return None if unit_key is None else self._forced.get(unit_key)
        for each in (request.user_id, request.session_id):
            if each is not None and each in self._forced:
                return self._forced[each]
        return None


def admission_of(definition: ExperimentDefinition) -> Admission | None:
    """Return what an experiment demands of a request; None where it is for every one."""
    config = definition.config
    demands = config.overrides, config.holdout, config.targeting, config.layer
    return Admission(definition) if any(demands) else None
