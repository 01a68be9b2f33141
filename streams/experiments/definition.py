"""Definition of an experiment: its configuration and its variants, as their author writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, SerializeAsAny, StringConstraints, model_validator

from streams.experiments.ignored_units import DEFAULT_IGNORED_UNITS, IgnoredUnits
from streams.experiments.metrics import MetricName, MetricSpec, PeriodSpec
from streams.experiments.promotion_state import DEFAULT_CONTROL_SHARE, MAX_CONTROL_SHARE
from streams.experiments.statistics import MetricRole
from streams.model.errors import PATH_CHARACTERS, quoted
from streams.model.receipts import MAX_KEY_ID
from streams.model.text import has_controls
from streams.model.validation import InputModel, parse, problem
from streams.policies.base import BetaPolicy, Policy
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.contextual.encoding import FeatureSpace
from streams.policies.contextual.features import MAX_COEFFICIENTS
from streams.policies.registry import POLICIES
from streams.stats.kinds import MetricKind
from streams.tallies.plan import MAX_DECLARED, MAX_METRICS

MAX_VARIANTS = 256
"""Variants of one experiment, at most; P(best) by quadrature costs time in proportion."""

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

MAX_CONFIG_DEPTH = 16

MAX_DEFINITION_BYTES = 1_000_000
"""Largest definition, as JSON with all defaults. Its command must fit a record of `commands`, and
its snapshot and table entry have room for the rest."""

WEIGHT_TOLERANCE = 1e-6
"""Tolerance of the sum of declared weights: room for thirds in decimals, not for errors."""

DEFAULT_ATTRIBUTION_WINDOW_S = 86_400
MAX_ATTRIBUTION_WINDOW_S = 366 * 86_400

DEFAULT_MAX_EXPECTED_LOSS = 0.01
"""Expected loss of a winner, as a share of its mean, up to which it is promoted automatically."""

DECIDING_SHARE = 0.5
"""Share of the units that an adaptive policy splits evenly in an experiment with automatic
promotion, unless `minAllocation` is stated. At the default floor of other experiments the worse
variants get so few units that being certain takes several times as many in all; see
`benchmarks/calibration/through.py`."""

MAX_MIN_DURATION_S = 366 * 86_400
_MAX_METRICS = 32

_LAYOUT = "\n\t"


def _shown(text: str) -> str:
    if has_controls(text):
        raise problem("INVALID_NAME", "has control characters")
    return text


def _shown_in_lines(text: str) -> str:
    if has_controls(text, _LAYOUT):
        raise problem("INVALID_NAME", "has control characters other than line breaks and tabs")
    return text


Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, strip_whitespace=True),
    AfterValidator(_shown),
]


# Fields that an experiment is created with and that an update may change.
_Share = Annotated[float, Field(ge=0.0, le=1.0)]
_SampleSize = Annotated[int, Field(ge=0, le=10**12)]
_Threshold = Annotated[float, Field(ge=0.5, lt=1.0)]
_RelativeLoss = Annotated[float, Field(gt=0.0, le=1.0)]
_Duration = Annotated[int | None, Field(ge=0, le=MAX_MIN_DURATION_S)]
_ControlShare = Annotated[float | None, Field(ge=0.0, le=MAX_CONTROL_SHARE)]


class UnitKind(StrEnum):
    """Unit of randomisation."""

    IMPRESSION = "impression"
    USER = "user"
    SESSION = "session"


class ExperimentConfig(InputModel):
    """Configuration of an experiment.

    Attributes:
        name: Name for people.
        description: Description for people.
        type: Policy that shares the traffic: a key of `POLICIES`.
        primary_metric: Metric that decides.
        secondary_metrics: Metrics that are compared besides.
        guardrail_metrics: Metrics that must not be harmed.
        metrics: Declarations of these metrics, by name.
        periods: Weights of units of different times; None for all alike. Fixed when the experiment
            is created, as what is kept of the units follows from it.
        traffic_allocation: Share of the units that take part, in [0, 1].
        min_sample_size: Units every variant must have before a winner may be named.
        significance_threshold: Confidence a winner must have, in [0.5, 1).
        auto_promote_winner: Promote a certain winner automatically unless there is an obstacle;
            see `streams.analysis.promotion`. The floor is higher then
            (`DECIDING_SHARE`).
        max_expected_loss: Expected loss of a winner, as a share of its mean, above which it is not
            promoted automatically.
        min_duration: Seconds of events, from the start or the first event to the newest one, before
            a winner is promoted automatically; 0 for none. None: whole weeks, once there is one
            (`promotion.has_lasted`).
        control_share: Share that the control keeps beside a winner that the experiment is concluded
            with, until it is archived; in [0, 0.5]. None: `DEFAULT_CONTROL_SHARE` with automatic
            promotion, else none.
        unit: Unit of randomisation; `impression` for adaptive policies and `user` for fixed ones
            unless stated.
        attribution_window: Seconds after an assignment during which observations count; 0 for no
            limit. A day for impressions, no limit for users and sessions unless stated.
        ignored_units: Ids that are no unit of an experiment on users or sessions, compared without
            capitals and blanks around them: they get the control, and nothing is logged.
        receipt_key: Id of the key that signs its receipts, noted when it starts; None before, and
            where that is not known.
        parameters: Parameters of the policy.
    """

    name: Name
    description: Annotated[str, AfterValidator(_shown_in_lines)] = Field(
        default="", max_length=2_000
    )
    type: str
    primary_metric: MetricName
    secondary_metrics: Annotated[
        tuple[MetricName, ...], Field(max_length=_MAX_METRICS, strict=False)
    ] = ()
    guardrail_metrics: Annotated[
        tuple[MetricName, ...], Field(max_length=_MAX_METRICS, strict=False)
    ] = ()
    metrics: dict[MetricName, MetricSpec] = Field(default_factory=dict)
    periods: PeriodSpec | None = None
    traffic_allocation: _Share = 1.0
    min_sample_size: _SampleSize = 100
    significance_threshold: _Threshold = 0.95
    auto_promote_winner: bool = False
    max_expected_loss: _RelativeLoss = DEFAULT_MAX_EXPECTED_LOSS
    min_duration: _Duration = None
    control_share: _ControlShare = None
    unit: Annotated[UnitKind, Field(strict=False)]
    attribution_window: int = Field(ge=0, le=MAX_ATTRIBUTION_WINDOW_S)
    ignored_units: IgnoredUnits = DEFAULT_IGNORED_UNITS
    receipt_key: int | None = Field(default=None, ge=0, le=MAX_KEY_ID)
    parameters: SerializeAsAny[Policy]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """Choose the policy by `type`, and the defaults that depend on it."""
        if not isinstance(data, Mapping):
            return data
        if not isinstance(data.get("type"), str):
            # Which parameters there are is not known, so none of them can be looked at.
            return {**data, "parameters": None}
        policy = POLICIES.get(data["type"])
        if policy is None:
            known = ", ".join(sorted(POLICIES))
            raise problem(
                "UNKNOWN_TYPE", f"type == {quoted(data['type'])}, must be one of {known}", "type"
            )
        completed = dict(data)
        completed.setdefault("unit", UnitKind.IMPRESSION if policy.adaptive else UnitKind.USER)
        by_impression = completed["unit"] == UnitKind.IMPRESSION
        if "attribution_window" not in completed:
            completed.setdefault(
                "attributionWindow", DEFAULT_ATTRIBUTION_WINDOW_S if by_impression else 0
            )
        parameters = completed.get("parameters", {})
        if isinstance(parameters, Mapping):
            completed["parameters"] = parse(policy, parameters, "config.parameters")
        return completed

    @model_validator(mode="after")
    def _check(self) -> Self:
        compared = (self.primary_metric, *self.secondary_metrics)
        if len(set(compared)) < len(compared):
            raise problem("DUPLICATE_METRIC", "a metric is named twice", "secondaryMetrics")
        named = (*compared, *self.guardrail_metrics)
        if len(set(named)) < len(named):
            raise problem("DUPLICATE_METRIC", "a metric is named twice", "guardrailMetrics")
        components = self._check_ratios()
        n_counted = len(self.counted_metrics)
        if n_counted > MAX_DECLARED:
            message = (
                f"{n_counted} metrics have values of their own, must be at most {MAX_DECLARED}"
            )
            raise problem("TOO_MANY_METRICS", message, "metrics")
        if self.periods is not None:
            self._check_periods()
        for name, spec in self.metrics.items():
            self._check_declared(name, spec, is_component=name in components)
        return self

    def _check_ratios(self) -> frozenset[str]:
        """Return the metrics that ratios are of."""
        if self.spec(self.primary_metric).components and isinstance(
            self.parameters, ContextualPolicy
        ):
            message = f"{self.type} learns from the values of single units, and a ratio has none"
            raise problem("RATIO_NOT_CONTEXTUAL", message, "primaryMetric")
        found: set[str] = set()
        for name, spec in self.metrics.items():
            for part, metric in zip(
                ("numerator", "denominator"), spec.components or (), strict=False
            ):
                if self.spec(metric).components:
                    message = f"{metric} is a ratio itself"
                    raise problem("RATIO_OF_RATIO", message, f"metrics.{name}.{part}")
                found.add(metric)
        return frozenset(found)

    def _check_periods(self) -> None:
        if self.spec(self.primary_metric).components:
            message = "the values of single units are kept by period, and a ratio has none"
            raise problem("RATIO_WITHOUT_PERIODS", message, "periods")
        if isinstance(self.parameters, ContextualPolicy):
            message = f"{self.type} learns from all units alike"
            raise problem("PERIODS_NOT_CONTEXTUAL", message, "periods")

    def _check_declared(self, name: str, spec: MetricSpec, *, is_component: bool) -> None:
        path = f"metrics.{name}"
        role = self.role(name)
        if role is MetricRole.OBSERVED and not is_component:
            message = "it is neither primary nor secondary nor a guardrail, nor is a ratio of it"
            raise problem("UNKNOWN_METRIC", message, path)
        if spec.tolerated_harm is not None and role is not MetricRole.GUARDRAIL:
            message = f"{name} is no guardrail, and only those have a tolerated harm"
            raise problem("NOT_A_GUARDRAIL", message, f"{path}.toleratedHarm")
        is_of_policy = role is MetricRole.PRIMARY and isinstance(self.parameters, BetaPolicy)
        if spec.prior is not None and spec.model_kind is MetricKind.BINARY and is_of_policy:
            message = f"{self.type} has the prior of {name}: priorAlpha and priorBeta"
            raise problem("PRIOR_OF_POLICY", message, f"{path}.prior")

    @property
    def counted_metrics(self) -> tuple[str, ...]:
        """Metrics that have values of their own, sorted: all that are named but the ratios."""
        named = {self.primary_metric, *self.secondary_metrics, *self.guardrail_metrics}
        named.update(*(spec.components or () for spec in self.metrics.values()))
        return tuple(sorted(name for name in named if self.spec(name).components is None))

    def role(self, name: str) -> MetricRole:
        """Return what a metric is for."""
        if name == self.primary_metric:
            return MetricRole.PRIMARY
        if name in self.guardrail_metrics:
            return MetricRole.GUARDRAIL
        return MetricRole.SECONDARY if name in self.secondary_metrics else MetricRole.OBSERVED

    @property
    def kept_control_share(self) -> float:
        """Share that the control keeps beside a winner, stated or by default."""
        if self.control_share is not None:
            return self.control_share
        return DEFAULT_CONTROL_SHARE if self.auto_promote_winner else 0.0

    def spec(self, name: str) -> MetricSpec:
        """Return what is declared of a metric; defaults if nothing is."""
        return self.metrics.get(name, _UNDECLARED)


_UNDECLARED = MetricSpec()


class VariantSpec(InputModel):
    """One variant of an experiment.

    Attributes:
        name: Name for people, unique within the experiment.
        is_control: Whether the others are compared with it; exactly one variant is.
        weight: Share of the traffic under a fixed policy, in (0, 1]; all variants or none have one.
        config: Returned to the caller with an assignment; any JSON object.
    """

    name: Name
    is_control: bool = False
    weight: float | None = Field(default=None, gt=0.0, le=1.0)
    config: dict[str, Any] = Field(default_factory=dict)

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
        tuple[VariantSpec, ...], Field(min_length=2, max_length=MAX_VARIANTS, strict=False)
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
        _check_policy(self.config.parameters, len(names))
        self._check_size(len(names))
        size = len(self.model_dump_json(by_alias=True).encode())
        if size > MAX_DEFINITION_BYTES:
            message = f"{size} bytes as JSON with all defaults, must be <= {MAX_DEFINITION_BYTES}"
            raise problem("DEFINITION_TOO_LARGE", message, self._largest_part())
        return self

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

    @property
    def weights(self) -> tuple[float, ...]:
        """Declared shares of the variants, even when none is declared; they sum to 1."""
        equal = 1.0 / len(self.variants)
        declared = [variant.weight or equal for variant in self.variants]
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


class ParametersUpdate(InputModel):
    """Thresholds among the parameters that a running experiment may change."""

    early_stopping_threshold: _Threshold | None = None


class ExperimentUpdate(InputModel):
    """Fields that `update` may change; fields left out stay."""

    traffic_allocation: _Share | None = None
    min_sample_size: _SampleSize | None = None
    significance_threshold: _Threshold | None = None
    auto_promote_winner: bool | None = None
    max_expected_loss: _RelativeLoss | None = None
    min_duration: _Duration = None
    control_share: _ControlShare = None
    ignored_units: IgnoredUnits | None = None
    parameters: ParametersUpdate | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_metrics(cls, data: Any) -> Any:
        """Refuse another measurement: the units of before could not be measured anew."""
        for name in ("metrics", "periods"):
            if isinstance(data, Mapping) and name in data:
                message = "what is measured is fixed when an experiment is created"
                raise problem("METRICS_FIXED", message, name)
        return data


def parse_definition(config: Mapping[str, Any], variants: Sequence[Any]) -> ExperimentDefinition:
    """Return the checked definition of an experiment.

    Raises:
        InputError: the first thing that is wrong, with its code and path.
    """
    return parse(ExperimentDefinition, {"config": config, "variants": variants})


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


def _check_policy(policy: Policy, n_variants: int) -> None:
    """Refuse a policy that does not fit the number of variants."""
    floors = {
        "minAllocation": policy.min_allocation,
        "initialAllocation": policy.initial_allocation,
    }
    for name, floor in floors.items():
        if floor is not None and floor * n_variants > 1.0:
            message = f"{name} == {floor}, must be <= 1 / number of variants"
            raise problem("FLOOR_TOO_LARGE", message, f"config.parameters.{name}")
    if isinstance(policy, ContextualPolicy):
        coefficients = n_variants * FeatureSpace(policy.features).dimension
        if coefficients > MAX_COEFFICIENTS:
            message = f"variants * entries of the features == {coefficients}, must be at most "
            message += str(MAX_COEFFICIENTS)
            raise problem("TOO_MANY_DIMENSIONS", message, "config.parameters.features")


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
