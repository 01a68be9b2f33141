"""Use of covariates and categorical features."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import computed_field

from streams.model.published import Published


@dataclass(frozen=True, slots=True)
class FeatureUse(Published):
    """Use of a covariate, or of a categorical feature of a contextual experiment.

    Attributes:
        name: Its name.
        units: Units assigned, in all variants.
        unknown_units: Units with an undeclared or missing value; of a covariate, units without it.
    """

    name: str
    units: int
    unknown_units: int

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorator above a property
    @property
    def unknown_share(self) -> float:
        """Share of the units for which it was unknown, in [0, 1]."""
        return self.unknown_units / self.units if self.units else 0.0
