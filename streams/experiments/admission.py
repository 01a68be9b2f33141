"""Admission: exclusion of requests from an experiment, decided before enrollment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from streams.experiments.assignment_reason import Reason
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.holdouts import Holdout
from streams.experiments.ignored_units import ignoring
from streams.experiments.unit_kind import UnitKind
from streams.policies.bucketing import lasting_unit
from streams.targeting.attributes import RequestAttributes


class Exclusion(NamedTuple):
    """The answer to a request that does not take part; nothing of it is logged.

    Attributes:
        reason: Reason of the exclusion.
        variant: Index of the variant that it sees.
    """

    reason: Reason
    variant: int


class Admission:
    """Compiled conditions of an experiment on a request.

    The order is: override, targeting, layer. Holdouts are separate experiments and are checked
    after the override (`kept_out`). A layer only applies to experiments that assign: serving one
    variant to all units takes no units from other experiments.
    """

    __slots__ = ("_control", "_forced", "_ignores", "_is_of_impressions", "_layer", "_targeting")

    def __init__(self, definition: ExperimentDefinition) -> None:
        config = definition.config
        names = [variant.name for variant in definition.variants]
        self._control = definition.control_index
        self._is_of_impressions = config.unit is UnitKind.IMPRESSION
        self._forced = {
            unit: Exclusion(Reason.FORCED, names.index(name))
            for unit, name in config.overrides.items()
        }
        self._targeting = config.targeting
        self._ignores = ignoring(config.ignored_units)
        self._layer = None if config.layer is None else config.layer.part

    @property
    def has_targeting(self) -> bool:
        """Whether it depends on attributes of the request."""
        return self._targeting is not None

    def exclusion(
        self, unit_key: str | None, former_key: str | None, request: RequestAttributes
    ) -> Exclusion | None:
        """Return the answer to a request that is excluded; None if it may take part.

        Args:
            unit_key: Id of its unit; None if the unit is the impression. The layer then uses the
                user id, and excludes a request without one.
            former_key: Id that the unit had before; None without one. The layer uses it, so that a
                unit keeps its part.
            request: The request.
        """
        excluded = self.exclusion_of_served(unit_key, request)
        if excluded is not None or self._layer is None:
            return excluded
        lasting = former_key
        if lasting is None:
            lasting = request.user_id if self._is_of_impressions else unit_key
        if (
            lasting is None
            # Ids of units were checked before; that of an impression is a draw.
            or (self._is_of_impressions and self._ignores(lasting))
            or not self._layer.has(lasting.encode())
        ):
            return Exclusion(Reason.NOT_IN_LAYER, self._control)
        return None

    def exclusion_of_served(
        self, unit_key: str | None, request: RequestAttributes
    ) -> Exclusion | None:
        """Return the exclusion from a served variant; arguments are those of `exclusion`."""
        if self._forced and (forced := self.override(unit_key, request)) is not None:
            return forced
        if self._targeting is not None and not self._targeting.matches(request):
            return Exclusion(Reason.NOT_TARGETED, self._control)
        return None

    def override(self, unit_key: str | None, request: RequestAttributes) -> Exclusion | None:
        """Return the variant that an override gives a request; None without one."""
        if not self._is_of_impressions:
            return None if unit_key is None else self._forced.get(unit_key)
        for each in (request.user_id, request.session_id):
            if each is not None and each in self._forced:
                return self._forced[each]
        return None


def admission_of(definition: ExperimentDefinition) -> Admission | None:
    """Return the admission of an experiment; None if it admits every request."""
    config = definition.config
    demands = config.overrides, config.targeting, config.layer
    return Admission(definition) if any(demands) else None


class HeldOutRequest(NamedTuple):
    """A request that a holdout keeps out of an experiment.

    Attributes:
        holdout: The holdout.
        lasting: The id by which the unit of the request is held out.
    """

    holdout: Holdout
    lasting: str


def kept_out(
    admission: Admission | None,
    holdouts: Sequence[Holdout],
    former_key: str | None,
    request: RequestAttributes,
    ignores: Callable[[str], bool],
) -> HeldOutRequest | None:
    """Return the holdout that keeps a request out of an experiment; None without one.

    Each holdout uses the id that the request has for the unit of the holdout, even if the unit of
    the experiment is the impression. A request without that id is not held out.

    Args:
        admission: Of the experiment; an override precedes a holdout.
        holdouts: Those that cover the experiment.
        former_key: Id that the unit had before, which holdouts use; None without one.
        request: The request.
        ignores: Returns whether an id stands for no unit.
    """
    for holdout in holdouts:
        key = request.user_id if holdout.unit_kind is UnitKind.USER else request.session_id
        if key is not None and ignores(key):
            key = None
        lasting = key if former_key is None else former_key
        if lasting is not None and holdout.holds(lasting_unit(lasting)):
            is_forced = admission is not None and admission.override(key, request) is not None
            return None if is_forced else HeldOutRequest(holdout, lasting)
    return None
