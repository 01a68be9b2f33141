"""Update of an experiment: the fields of its configuration that may change while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import model_validator

from streams.experiments.config_fields import (
    ControlShare,
    Duration,
    NegligibleDifference,
    Overrides,
    RelativeLoss,
    SampleSize,
    Share,
    Threshold,
)
from streams.experiments.definition import ExperimentDefinition, parse_definition
from streams.experiments.ignored_units import IgnoredUnits
from streams.experiments.labels import Owner, Tags
from streams.experiments.schedule import ScheduleSpec
from streams.model.validation import InputModel, problem


class ParametersUpdate(InputModel):
    """Thresholds among the parameters that a running experiment may change."""

    early_stopping_threshold: Threshold | None = None


class ExperimentUpdate(InputModel):
    """Fields that `update` may change; fields left out stay."""

    owner: Owner | None = None
    tags: Tags | None = None
    traffic_allocation: Share | None = None
    min_sample_size: SampleSize | None = None
    negligible_difference: NegligibleDifference = None
    significance_threshold: Threshold | None = None
    auto_promote_winner: bool | None = None
    max_expected_loss: RelativeLoss | None = None
    min_duration: Duration = None
    control_share: ControlShare = None
    ignored_units: IgnoredUnits | None = None
    overrides: Overrides | None = None
    schedule: ScheduleSpec | None = None
    parameters: ParametersUpdate | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_metrics(cls, data: Any) -> Any:
        """Refuse changes of the measurement: earlier units could not be measured again."""
        for name in ("metrics", "covariates", "periods", "dimensions"):
            if isinstance(data, Mapping) and name in data:
                message = "what is measured is fixed when an experiment is created"
                raise problem("METRICS_FIXED", message, name)
        if isinstance(data, Mapping) and "key" in data:
            raise problem("KEY_FIXED", "an experiment has the key it was created with", "key")
        for name in ("targeting", "layer"):
            if isinstance(data, Mapping) and name in data:
                message = "the units of an experiment are fixed when it is created"
                raise problem(f"{name.upper()}_FIXED", message, name)
        if isinstance(data, Mapping) and "alternative" in data:
            message = "what is tested for is decided before the first unit comes"
            raise problem("ALTERNATIVE_FIXED", message, "alternative")
        if isinstance(data, Mapping) and "plan" in data:
            message = "a plan is one because it was made before the first unit came"
            raise problem("PLAN_FIXED", message, "plan")
        return data


def updated(definition: ExperimentDefinition, update: ExperimentUpdate) -> ExperimentDefinition:
    """Return `definition` with the fields of `update` that are set.

    Raises:
        InputError: a parameter is set that the policy does not have.
    """
    changes = update.model_dump(by_alias=True, exclude_none=True)
    config = definition.config.model_dump(by_alias=True, mode="json")
    config["parameters"] |= changes.pop("parameters", {})
    variants = [variant.model_dump(by_alias=True, mode="json") for variant in definition.variants]
    return parse_definition(config | changes, variants)
