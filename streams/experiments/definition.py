"""Definition of an experiment: its configuration and its variants, as their author writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from streams.experiments.config import ExperimentConfig
from streams.experiments.config_fields import VariantName
from streams.experiments.covariates import dimension
from streams.experiments.slices import sliced
from streams.model.errors import PATH_CHARACTERS, counted, quoted
from streams.model.ids import MAX_VARIANTS
from streams.model.validation import InputModel, JsonList, parse, problem
from streams.policies.base import Policy
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.contextual.encoding import FeatureSpace
from streams.policies.contextual.features import MAX_COEFFICIENTS
from streams.tallies.linear import triangle
from streams.tallies.plan import MAX_METRICS

FEWEST_ACTIVE = 2
"""Variants that an experiment needs, the control and one that is compared with it."""

MAX_COMPARED = 1_024
"""Variants times declared metrics, at most: 256 variants with 4 metrics, 64 with 16, or 31 with 33.
For each, an evaluation takes a tenth of a millisecond, a snapshot 120 bytes, and every batch of
every partition that counts some of its units 12 us and 100 bytes of a cell, twice: four times as
many delay the other experiments of a worker by seconds (`benchmarks/large_beside_small.py`)."""

MAX_COUNTED = 17_408
"""Variants times what a cell may keep of each: 64 metrics, declared or not, products of ratios, and
`MAX_PERIODS`. At 235 bytes each a cell fits its topic (`STATE_BYTES`), whatever is counted."""

MAX_PERIODS = 144
"""Periods that ten years of units come to."""

MAX_PRODUCTS = 4_096
"""Sums of products of covariates in a cell, at most: 8 covariates of 26 variants or 2 of 256, and 2
of 16 under an adaptive policy."""

MAX_SLICED = 2_048
"""Values of all dimensions times variants times what is kept of each, at most: its units, and every
metric and product of two. 4 dimensions of 20 values have 84 with the others, so 2 variants with 11
metrics, or 4 with 5. With sums by pair each takes up to 630 bytes of a cell."""

MAX_CONFIG_DEPTH = 16

MAX_DEFINITION_BYTES = 1_000_000
"""Largest definition, as JSON with all defaults. Its command must fit a record of `commands`, and
its snapshot and table entry have room for the rest."""

DECIDING_SHARE = 0.5
"""Share of the units that an adaptive policy splits evenly in an experiment with automatic
promotion, unless `minAllocation` is stated. At the default floor of other experiments the worse
variants get so few units that being certain takes several times as many in all; see
`benchmarks/calibration/through.py`."""

WEIGHT_TOLERANCE = 1e-6
"""Tolerance of the sum of declared weights: room for thirds in decimals, not for errors."""


class VariantSpec(InputModel):
    """One variant of an experiment.

    Attributes:
        name: Name for people, unique within the experiment.
        is_control: Whether the others are compared with it; exactly one variant is.
        weight: Share of the traffic under a fixed policy, in (0, 1]; all variants or none have one.
        config: Returned to the caller with an assignment; any JSON object.
        is_active: Whether units are assigned to it. One that is stopped keeps its place, its id and
            its tallies.
    """

    name: VariantName
    is_control: bool = False
    weight: float | None = Field(default=None, gt=0.0, le=1.0)
    config: dict[str, Any] = Field(default_factory=dict)
    is_active: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (found := _not_json(self.config, MAX_CONFIG_DEPTH)) is not None:
            code, message, path = found
            raise problem(code, message, f"config{path}")
        return self


class ExperimentDefinition(InputModel):
    """Definition of an experiment: a configuration and the variants."""

    config: ExperimentConfig
    variants: Annotated[
        tuple[VariantSpec, ...],
        JsonList(min_length=2, max_length=MAX_VARIANTS),
    ]

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            again = next(i for i, name in enumerate(names) if name in names[:i])
            path = f"variants[{again}].name"
            raise problem("DUPLICATE_NAME", f"two variants are named {quoted(names[again])}", path)
        controls = sum(variant.is_control for variant in self.variants)
        if controls != 1:
            message = f"{controls} variants are control, must be exactly 1"
            raise problem("CONTROL_COUNT", message, "variants")
        self._check_active()
        for unit, name in self.config.overrides.items():
            if name not in names:
                message = f"{quoted(name)} is not the name of a variant"
                raise problem("UNKNOWN_VARIANT", message, f"config.overrides.{unit}")
        weights = [variant.weight for variant in self.variants if variant.weight is not None]
        if weights and self.config.parameters.adaptive:
            message = f"{self.config.type} chooses the weights itself"
            raise problem("WEIGHTS_NOT_USED", message, "variants")
        if weights and len(weights) < len(names):
            message = "some variants have a weight and some have none"
            raise problem("WEIGHTS_INCOMPLETE", message, "variants")
        if weights and abs(math.fsum(weights) - 1.0) > WEIGHT_TOLERANCE:
            message = f"weights sum to {math.fsum(weights)!r}, not to 1"
            raise problem("WEIGHTS_DO_NOT_SUM", message, "variants")
        _check_values(self.config.value_field, self.variants)
        _check_policy(self.config.parameters, len(names), len(self.active))
        _check_covariates(self.config, len(names))
        self._check_size(len(names))
        size = len(self.model_dump_json(by_alias=True).encode())
        if size > MAX_DEFINITION_BYTES:
            message = f"{size} bytes as JSON with all defaults, must be <= {MAX_DEFINITION_BYTES}"
            raise problem("DEFINITION_TOO_LARGE", message, self._largest_part())
        return self

    def _check_active(self) -> None:
        """Refuse a control that is stopped, or fewer than two variants that are not."""
        if not self.variants[self.control_index].is_active:
            raise problem(
                "CONTROL_STOPPED",
                "the control cannot be stopped: the others are compared with it, and units that do "
                "not take part get it; pause or conclude the experiment",
                f"variants[{self.control_index}].isActive",
            )
        if len(self.active) < FEWEST_ACTIVE:
            raise problem(
                "TOO_FEW_ACTIVE",
                f"{counted(len(self.active), 'active variant')}, must be at least {FEWEST_ACTIVE}; "
                "pause or conclude the experiment",
                "variants",
            )

    def _largest_part(self) -> str:
        """Return the path of what takes most of the definition."""
        sizes = {"config": len(self.config.model_dump_json(by_alias=True))}
        for index, variant in enumerate(self.variants):
            sizes[f"variants[{index}].config"] = len(variant.model_dump_json(by_alias=True))
        return max(sizes, key=lambda path: sizes[path])

    def _check_size(self, n_variants: int) -> None:
        """Refuse more than one worker can evaluate beside others, or one cell can hold."""
        config = self.config
        n_metrics = 1 + len(config.secondary_metrics) + len(config.guardrail_metrics)
        if n_variants * n_metrics > MAX_COMPARED:
            message = f"variants * metrics == {n_variants * n_metrics}, must be <= {MAX_COMPARED}"
            raise problem("EXPERIMENT_TOO_LARGE", message, "variants")
        n_ratios = sum(spec.components is not None for spec in config.metrics.values())
        n_periods = 0 if config.periods is None else MAX_PERIODS
        n_counted = n_variants * (MAX_METRICS + n_ratios + n_periods)
        if n_counted > MAX_COUNTED and (n_ratios or n_periods):
            message = (
                f"variants * (metrics + ratios + periods) == {n_counted}, must be <= {MAX_COUNTED}"
            )
            raise problem("EXPERIMENT_TOO_LARGE", message, "variants")
        self._check_slices(n_counted)

    def _check_slices(self, n_counted: int) -> None:
        """Refuse more slices than a cell has room for beside what else it counts."""
        if not self.config.dimensions:
            return
        found, n_variants = sliced(self.config), len(self.variants)
        n_kept = 1 + len(found.metrics) + len(found.pairs)
        n_sliced = sum(found.sizes) * n_variants * n_kept
        limit = min(MAX_SLICED, MAX_COUNTED - n_counted)
        if n_sliced > limit:
            message = (
                "values, with the others, * variants * (1 + metrics + products of ratios) == "
                f"{n_sliced}, must be <= {limit}"
            )
            raise problem("TOO_MANY_SLICES", message, "config.dimensions")

    @property
    def active(self) -> tuple[int, ...]:
        """Indices of the variants that are not stopped, at least two."""
        return tuple(i for i, variant in enumerate(self.variants) if variant.is_active)

    @property
    def reactivated(self) -> ExperimentDefinition:
        """The definition with all variants active."""
        if len(self.active) == len(self.variants):
            return self
        variants = [each.model_copy(update={"is_active": True}) for each in self.variants]
        return self.model_copy(update={"variants": tuple(variants)})

    @property
    def weights(self) -> tuple[float, ...]:
        """Declared shares of the variants, even when none is declared; they sum to 1.

        That of a stopped variant is 0, and the others keep their proportions.
        """
        equal = 1.0 / len(self.variants)
        declared = [
            (variant.weight or equal) if variant.is_active else 0.0 for variant in self.variants
        ]
        total = math.fsum(declared)
        return tuple(weight / total for weight in declared)

    @property
    def policy(self) -> Policy:
        """The policy with the floor it has in this experiment, where that is not stated."""
        policy = self.config.parameters
        is_stated = policy.min_allocation is not None or not policy.adaptive
        if is_stated or not self.config.auto_promote_winner:
            return policy
        return policy.model_copy(update={"min_allocation": DECIDING_SHARE / len(self.variants)})

    @property
    def control_index(self) -> int:
        """Index of the control."""
        return next(i for i, variant in enumerate(self.variants) if variant.is_control)


def parse_definition(config: Mapping[str, Any], variants: Sequence[Any]) -> ExperimentDefinition:
    """Return the checked definition of an experiment.

    Raises:
        InputError: the first thing that is wrong, with its code and path.
    """
    return parse(ExperimentDefinition, {"config": config, "variants": variants})


_VALUE_TYPES: dict[type, str] = {
    bool: "boolean",
    str: "string",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
}


def _check_values(field: str | None, variants: Sequence[VariantSpec]) -> None:
    """Refuse variants without the field that is their value, or with values of unlike types.

    A client that asks for a boolean would use its default in place of a string, and the variant
    would lose its units.
    """
    if field is None:
        return
    first = ""
    for index, variant in enumerate(variants):
        path = f"variants[{index}].config.{field}"
        found = _VALUE_TYPES.get(type(variant.config.get(field)))
        if found is None:
            message = f"every variant must have the valueField {quoted(field)}, and not null"
            raise problem("VALUE_FIELD_MISSING", message, path)
        first = first or found
        if found != first:
            message = f"is {found}, and that of variants[0] is {first}"
            raise problem("VALUE_TYPES_DIFFER", message, path)


def _check_policy(policy: Policy, n_variants: int, n_active: int) -> None:
    """Refuse a policy that does not fit the number of variants, or of active ones."""
    floors = {
        "minAllocation": policy.min_allocation,
        "initialAllocation": policy.initial_allocation,
    }
    for name, floor in floors.items():
        if floor is not None and floor * n_active > 1.0:
            message = f"{name} == {floor}, must be <= 1 / number of variants"
            raise problem("FLOOR_TOO_LARGE", message, f"config.parameters.{name}")
    if isinstance(policy, ContextualPolicy):
        coefficients = n_variants * FeatureSpace(policy.features).dimension
        if coefficients > MAX_COEFFICIENTS:
            message = f"variants * entries of the features == {coefficients}, must be at most "
            message += str(MAX_COEFFICIENTS)
            raise problem("TOO_MANY_DIMENSIONS", message, "config.parameters.features")


def _check_covariates(config: ExperimentConfig, n_variants: int) -> None:
    """Refuse more covariates than the sums of their products have room for in a cell."""
    if not config.covariates:
        return
    products = triangle(dimension(len(config.covariates)))
    # Under moving weights a unit counts differently in the comparison with each other variant.
    n_sums = products * n_variants * (n_variants if config.parameters.adaptive else 1)
    if n_sums > MAX_PRODUCTS:
        message = f"sums of products of covariates of all variants == {n_sums}, must be at most "
        message += str(MAX_PRODUCTS)
        raise problem("TOO_MANY_DIMENSIONS", message, "config.covariates")


def _not_json(value: Any, depth: int) -> tuple[str, str, str] | None:
    """Return code, message and path of what JSON cannot express or is nested too deeply.

    The path is put together only where something is at fault: a long key above many members would
    cost its length for each of them.
    """
    if depth == 0:
        return "TOO_DEEP", f"nested deeper than {MAX_CONFIG_DEPTH} levels", ""
    match value:
        case dict():
            for key, member in value.items():
                if not isinstance(key, str):
                    return "WRONG_TYPE", "keys of a JSON object are strings", ""
                if (found := _not_json(member, depth - 1)) is not None:
                    code, message, path = found
                    return code, message, f".{key[:PATH_CHARACTERS]}{path}"
        case list():
            for index, member in enumerate(value):
                if (found := _not_json(member, depth - 1)) is not None:
                    code, message, path = found
                    return code, message, f"[{index}]{path}"
        case float() if not math.isfinite(value):
            return "NOT_FINITE", f"{quoted(value)} is not a JSON number", ""
        case str() | int() | float() | bool() | None:
            return None
        case _:
            return "WRONG_TYPE", f"{type(value).__name__} is not JSON", ""
    return None
