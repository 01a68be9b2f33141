"""Variant of a request to a concluded experiment that serves one variant to all units."""

from __future__ import annotations

from collections.abc import Sequence

from streams.experiments.admission import Exclusion, admission_of, kept_out
from streams.experiments.assignment_reason import Reason
from streams.experiments.eligible_variants import EligibleVariants
from streams.experiments.holdouts import Holdout
from streams.experiments.ignored_units import ignoring
from streams.experiments.lifecycle import Experiment
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import ExperimentNotRunningError
from streams.targeting.attributes import RequestAttributes


class Shipping:
    """Compiled decisions of a concluded experiment.

    Overrides, holdouts and targeting apply as while it was running. Layer, enrollment and unit do
    not matter: a request with an ignored id, or none, gets the served variant.

    Attributes:
        variants: Reads the variants that a request can show.
    """

    __slots__ = ("_admission", "_control", "_ignores", "_shipped", "_unit_kind", "variants")

    def __init__(self, experiment: Experiment) -> None:
        """Compile an experiment.

        Raises:
            ExperimentNotRunningError: it serves no variant.
        """
        served = experiment.shipped
        if served is None:
            raise ExperimentNotRunningError(experiment.id, experiment.status)
        config = experiment.definition.config
        names = [variant.name for variant in experiment.definition.variants]
        active = experiment.definition.active
        self.variants = EligibleVariants(experiment.id, names, experiment.variant_id, active)
        self._shipped = Exclusion(Reason.SHIPPED, served.variant)
        self._admission = admission_of(experiment.definition)
        self._control = experiment.definition.control_index
        self._unit_kind = config.unit
        self._ignores = ignoring(config.ignored_units)

    def decide(
        self,
        request: RequestAttributes,
        fallback_unit_id: str | None = None,
        holdouts: Sequence[Holdout] = (),
    ) -> Exclusion:
        """Return the variant of a request, and the reason.

        Args:
            request: The request.
            fallback_unit_id: Another id of its unit, which holdouts use; None without one.
            holdouts: Those that cover the experiment.
        """
        if self._admission is None and not holdouts:
            return self._shipped
        former_key = self._unit(fallback_unit_id)
        if kept_out(self._admission, holdouts, former_key, request, self._ignores) is not None:
            return Exclusion(Reason.HOLDOUT, self._control)
        if self._admission is None:
            return self._shipped
        unit_key = None
        if self._unit_kind is not UnitKind.IMPRESSION:
            is_user = self._unit_kind is UnitKind.USER
            unit_key = self._unit(request.user_id if is_user else request.session_id)
        excluded = self._admission.exclusion_of_served(unit_key, request)
        return self._shipped if excluded is None else excluded

    def _unit(self, key: str | None) -> str | None:
        """Return an id, or None for an ignored one."""
        return None if key is None or self._ignores(key) else key
