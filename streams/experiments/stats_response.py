"""Statistics as the API answers them and the client returns them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streams.experiments.statistics.evidence import Evidence
from streams.experiments.statistics.record import Statistics
from streams.experiments.statistics.variant_report import VariantReport
from streams.model.published import Published, from_json, json_value


@dataclass(frozen=True, slots=True)
class Winner(Published):
    """The declared winner, or the variant that the experiment was concluded with."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantStats(VariantReport):
    """Statistics of a variant.

    Attributes:
        allocation: Share of the traffic it gets now, in [0, 1].
    """

    allocation: float


@dataclass(frozen=True, slots=True)
class VariantResult(Published):
    """A variant with its statistics.

    Attributes:
        id: Its id.
        name: Its name.
        is_control: Whether it is the control.
        stats: Its statistics.
        config: Its configuration, as its author wrote it.
        is_active: Whether it is not stopped; a stopped variant is compared with the control only,
            and cannot win.
    """

    id: str
    name: str
    is_control: bool
    stats: VariantStats
    config: dict[str, Any] = field(default_factory=dict)
    is_active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsEvidence(Evidence):
    """Evidence of a recommendation.

    Attributes:
        promotion_obstacles: Stable names of what prevents an automatic promotion.
    """

    promotion_obstacles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MisspeltMetric(Published):
    """A declared metric without an observation, and an undeclared one like it that has some.

    Attributes:
        metric: Name that is declared.
        observed: Name that is observed.
        observations: Number of its observations, in all variants.
    """

    metric: str
    observed: str
    observations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(Statistics):
    """Answer of `GET /experiments/{id}/stats`.

    Variants are ids in the JSON, and indices of `variants` in the fields of this value.

    Attributes:
        experiment_id: Id of the experiment.
        key: Its key; None without one.
        name, type, unit, status, primary_metric: Of the experiment.
        total_assignments, total_observations: Of all variants.
        total_exposures: Of all variants; None where a unit counts from its assignment.
        variants: The variants, in the order of the definition.
        winner: The declared or chosen winner; None without one.
        reason: One sentence for `reason_code`, with the numbers of the evidence.
        evidence: Evidence for the recommendation; None if it was never evaluated.
        misspelt: Declared metrics that are probably observed under another name.
    """

    experiment_id: str
    name: str
    type: str
    unit: str
    status: str
    primary_metric: str
    total_assignments: int
    total_observations: int
    variants: tuple[VariantResult, ...]
    winner: Winner | None
    reason: str
    evidence: StatsEvidence | None = None
    key: str | None = None
    misspelt: tuple[MisspeltMetric, ...] = ()
    total_exposures: int | None = None

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Stats:
        """Return the statistics in the JSON of the API; fields that are not known are ignored.

        Raises:
            ValidationError: a field is missing or has another type.
        """
        return from_json(cls, payload, [each["id"] for each in payload["variants"]])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON of the API."""
        return json_value(self, [each.id for each in self.variants])
