"""Configuration of an experiment, as its author writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    SerializeAsAny,
    model_validator,
)

from streams.experiments.config_fields import (
    ControlShare,
    Description,
    Duration,
    Key,
    Name,
    NegligibleDifference,
    Overrides,
    RelativeLoss,
    SampleSize,
    Share,
    Threshold,
    ValueField,
)
from streams.experiments.covariates import MAX_COVARIATES, Covariate, check_covariates
from streams.experiments.dimensions import Dimensions, check_dimensions
from streams.experiments.exposure import Exposure
from streams.experiments.holdouts import HoldoutSpec
from streams.experiments.ignored_units import DEFAULT_IGNORED_UNITS, IgnoredUnits
from streams.experiments.labels import Owner, Tags
from streams.experiments.metrics import (
    MAX_WINDOW_S,
    ConversionWindow,
    MetricName,
    MetricSpec,
)
from streams.experiments.plan import PlanSpec
from streams.experiments.promotion_state import DEFAULT_CONTROL_SHARE
from streams.experiments.schedule import HoldOn, ScheduleSpec
from streams.experiments.shared_units import LayerSpec
from streams.experiments.statistics.metric_model import MetricRole
from streams.experiments.time_weights import PeriodSpec
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import quoted
from streams.model.receipts import MAX_KEY_ID
from streams.model.validation import InputModel, JsonList, JsonObject, parse, problem
from streams.policies.base import BetaPolicy, Policy
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.registry import POLICIES
from streams.stats.alternative import Alternative
from streams.stats.kinds import MetricKind
from streams.tallies.cohorts import MAX_CONVERSION_WINDOWS, MIN_CONVERSION_WINDOW_S
from streams.tallies.plan import MAX_DECLARED
from streams.targeting.rule import Targeting

DEFAULT_ATTRIBUTION_WINDOW_S = 86_400
MAX_ATTRIBUTION_WINDOW_S = MAX_WINDOW_S

DEFAULT_MAX_EXPECTED_LOSS = 0.01
"""Expected loss of a winner, as a share of its mean, up to which it is promoted automatically."""

NEGLIGIBLE_DIFFERENCE = 0.01
"""Differences from the leader below this share of its mean count as none, unless a plan or the
author says otherwise."""

_MAX_METRICS = 32
_MAX_SPECS = 256  # more than can be accepted: a ratio and both of its parts for each that is named


class ExperimentConfig(InputModel):
    """Configuration of an experiment.

    Attributes:
        name: Name for people.
        key: Name for programs, by which ad servers ask; the experiment's number is its hash, so it
            is unique permanently and fixed when the experiment is created. None without one.
        description: Description for people.
        owner: Person or team responsible for it; None without one.
        tags: Words by which people find it.
        type: Policy that allocates the traffic: a key of `POLICIES`.
        primary_metric: Metric that decides the experiment.
        secondary_metrics: Metrics that are also compared.
        guardrail_metrics: Metrics that must not be harmed.
        metrics: Declarations of these metrics, by name.
        periods: Weights of units by assignment time (non-stationarity); None for equal weights.
            Fixed when the experiment is created, since it determines the stored sums.
        covariates: Numbers that are sent with a unit's assignment and explain part of its values;
            not under a contextual policy. Fixed when the experiment is created.
        dimensions: Attributes of a request by whose values the statistics are broken down. Fixed
            when the experiment is created.
        plan: Lift to detect, and planned size; None without one. Fixed when the experiment is
            created.
        negligible_difference: Difference from the leader, as a share of its mean, below which it is
            negligible; in (0, 1]. None: half the planned lift, and without a plan
            `NEGLIGIBLE_DIFFERENCE`.
        traffic_allocation: Share of the units that take part, in [0, 1].
        min_sample_size: Units every variant must have before a winner may be named.
        significance_threshold: Confidence a winner must have, in [0.5, 1).
        alternative: Whether the control may win, too (`two_sided`), or only a variant that is
            better than it (`better`), which then has all of the error. Fixed when the experiment is
            created.
        auto_promote_winner: Promote a certain winner automatically unless there is an obstacle;
            see `streams.analysis.promotion`. The floor is higher then
            (`DECIDING_SHARE`).
        max_expected_loss: Expected loss of a winner, as a share of its mean, above which it is not
            promoted automatically.
        min_duration: Seconds of events, from the start or the first event to the newest one, before
            a winner is promoted automatically; 0 for none. None: whole weeks, one at least
            (`promotion.has_lasted`).
        control_share: Share that the control keeps beside a winner that the experiment is concluded
            with, until it is archived; in [0, 0.5]. None: `DEFAULT_CONTROL_SHARE` with automatic
            promotion, else none.
        unit: Unit of randomisation; `impression` for adaptive policies and `user` for fixed ones
            unless stated.
        exposure: Whether a unit counts from its assignment on or from its first exposure. Fixed
            when the experiment is created.
        attribution_window: Seconds after an assignment during which observations count; 0 for no
            limit. A day for impressions, no limit for users and sessions unless stated. With
            `exposure` "event", seconds after an assignment during which an exposure counts, and
            after the first exposure during which observations do.
        conversion_window: Seconds after the assignment of a unit during which its observations
            count, of metrics that state nothing else; 0 for none. Comparisons count the units whose
            window is over. None: the attribution window for users and sessions, none for
            impressions. Fixed when the experiment is created.
        ignored_units: Ids that do not identify a user or session, compared without case and
            surrounding blanks: they get the control, and nothing is logged.
        overrides: Name of the variant that a unit always gets, by its id, for testing; nothing is
            logged. With impressions, by the id of the user or session.
        holdout: The holdout, if this experiment is one; None otherwise.
        layer: Part of the units of a layer: experiments of one layer have no unit in common. None
            for all units. Of users or sessions. Fixed when the experiment is created.
        schedule: Start, ramp and end by time; None for manual.
        targeting: Rule over the attributes of a request; one that does not match it gets the
            control, and nothing is logged. None for no rule. Fixed when the experiment is created.
        value_field: Field of the variants' configurations that is the value of the experiment as a
            feature flag; None for the whole configuration.
        receipt_key: Id of the key that signs its receipts, recorded at the start; None before it or
            if unknown.
        parameters: Parameters of the policy.
    """

    name: Name
    key: Key | None = None
    description: Description = Field(default="", max_length=2_000)
    owner: Owner | None = None
    tags: Tags = ()
    type: str
    primary_metric: MetricName
    secondary_metrics: Annotated[tuple[MetricName, ...], JsonList(max_length=_MAX_METRICS)] = ()
    guardrail_metrics: Annotated[tuple[MetricName, ...], JsonList(max_length=_MAX_METRICS)] = ()
    metrics: Annotated[dict[MetricName, MetricSpec], JsonObject(_MAX_SPECS)] = Field(
        default_factory=dict
    )
    periods: PeriodSpec | None = None
    covariates: Annotated[tuple[Covariate, ...], JsonList(max_length=MAX_COVARIATES)] = ()
    dimensions: Dimensions = ()
    plan: PlanSpec | None = None
    negligible_difference: NegligibleDifference = None
    traffic_allocation: Share = 1.0
    min_sample_size: SampleSize = 100
    significance_threshold: Threshold = 0.95
    alternative: Annotated[Alternative, Field(strict=False)] = Alternative.TWO_SIDED
    auto_promote_winner: bool = False
    max_expected_loss: RelativeLoss = DEFAULT_MAX_EXPECTED_LOSS
    min_duration: Duration = None
    control_share: ControlShare = None
    unit: Annotated[UnitKind, Field(strict=False)]
    exposure: Annotated[Exposure, Field(strict=False)] = Exposure.ASSIGNMENT
    attribution_window: int = Field(ge=0, le=MAX_ATTRIBUTION_WINDOW_S)
    conversion_window: ConversionWindow = None
    ignored_units: IgnoredUnits = DEFAULT_IGNORED_UNITS
    overrides: Overrides = Field(default_factory=dict)
    holdout: HoldoutSpec | None = None
    layer: LayerSpec | None = None
    targeting: Targeting | None = None
    schedule: ScheduleSpec | None = None
    value_field: ValueField | None = None
    receipt_key: int | None = Field(default=None, ge=0, le=MAX_KEY_ID)
    parameters: SerializeAsAny[Policy]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """Choose the policy by `type`, and the defaults that depend on it."""
        if not isinstance(data, Mapping):
            return data
        if not isinstance(data.get("type"), str):
            # The parameters depend on the type, so they cannot be checked.
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
            message = f"{n_counted} metrics are counted, must be at most {MAX_DECLARED}"
            raise problem("TOO_MANY_METRICS", message, "metrics")
        if self.periods is not None:
            self._check_periods()
        self._check_winsorized()
        self._check_quantile()
        if self.covariates and isinstance(self.parameters, ContextualPolicy):
            message = f"{self.type} reads features, and covariates beside them are not kept apart"
            raise problem("COVARIATES_NOT_CONTEXTUAL", message, "covariates")
        check_covariates(self.covariates)
        check_dimensions(self.dimensions)
        if self.unit is UnitKind.IMPRESSION and self.holdout is not None:
            message = "every impression is another unit, which no other experiment knows"
            raise problem("NEEDS_LASTING_UNIT", message, "holdout")
        held = () if self.schedule is None else self.schedule.hold_on
        if HoldOn.GUARDRAIL in held and not self.guardrail_metrics:
            raise problem("HOLD_NOT_USED", "there are no guardrailMetrics", "schedule.holdOn")
        self._check_windows()
        if self.plan is not None:
            self._check_plan(self.plan)
        for name, spec in self.metrics.items():
            self._check_declared(name, spec, is_component=name in components)
        return self

    def _check_ratios(self) -> frozenset[str]:
        """Return the numerators and denominators of ratios."""
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
                if self.spec(metric).winsorize is not None:
                    message = f"{name} is of the values of {metric} as they are; declare a cap"
                    raise problem("WINSORIZE_NOT_USED", message, f"metrics.{metric}.winsorize")
                found.add(metric)
        return frozenset(found)

    def _check_quantile(self) -> None:
        if self.spec(self.primary_metric).percentile is None:
            return
        if self.periods is not None:
            message = "sums of values are kept by period, and they have no quantile"
            raise problem("QUANTILE_WITHOUT_PERIODS", message, "periods")
        if isinstance(self.parameters, ContextualPolicy):
            message = f"{self.type} learns from the values of single units, and not their quantile"
            raise problem("QUANTILE_NOT_CONTEXTUAL", message, "primaryMetric")
        if self.plan is not None:
            message = "a plan is of a mean, and quantiles are compared at any time without one"
            raise problem("PLAN_NOT_USED", message, "plan")

    def _check_winsorized(self) -> None:
        if self.spec(self.primary_metric).winsorize is None:
            return
        path = f"metrics.{self.primary_metric}.winsorize"
        if self.periods is not None:
            message = "values are kept by period as they are; declare a cap"
            raise problem("WINSORIZE_NOT_USED", message, path)
        if isinstance(self.parameters, ContextualPolicy):
            message = f"{self.type} learns from values as they are; declare a cap"
            raise problem("WINSORIZE_NOT_USED", message, path)

    def _check_periods(self) -> None:
        if self.spec(self.primary_metric).components:
            message = "the values of single units are kept by period, and a ratio has none"
            raise problem("RATIO_WITHOUT_PERIODS", message, "periods")
        if isinstance(self.parameters, ContextualPolicy):
            message = f"{self.type} learns from all units alike"
            raise problem("PERIODS_NOT_CONTEXTUAL", message, "periods")

    def _check_windows(self) -> None:
        longest, stated = self.attribution_window, {"conversionWindow": self.conversion_window}
        for name, spec in self.metrics.items():
            stated[f"metrics.{name}.conversionWindow"] = spec.conversion_window
        for path, window_s in stated.items():
            if longest and window_s and window_s > longest:
                message = f"{window_s} s, and observations are refused after {longest} s"
                raise problem("WINDOW_TOO_LONG", message, path)
        for name, spec in self.metrics.items():
            if spec.components and len(set(map(self._span, spec.components))) > 1:
                message = "numerator and denominator have different conversion windows"
                raise problem("WINDOWS_DIFFER", message, f"metrics.{name}.denominator")
            last_s = self.conversion_window_s(name) or self.attribution_window
            if last_s and spec.conversion_delay >= last_s:
                message = f"{spec.conversion_delay} s, and no observation counts after {last_s} s"
                raise problem("DELAY_TOO_LONG", message, f"metrics.{name}.conversionDelay")
        n_windows = len(set(self.conversion_windows.values()))
        if n_windows > MAX_CONVERSION_WINDOWS:
            message = f"{n_windows} different ones, must be at most {MAX_CONVERSION_WINDOWS}"
            raise problem("TOO_MANY_WINDOWS", message, "metrics")

    def _check_plan(self, plan: PlanSpec) -> None:
        spec = self.spec(self.primary_metric)
        code, message, path = plan.refusal(spec.model_kind, spec.direction) or ("", "", "")
        if code:
            raise problem(code, message, f"plan.{path}")

    def _check_declared(self, name: str, spec: MetricSpec, *, is_component: bool) -> None:
        path = f"metrics.{name}"
        role = self.role(name)
        if role is MetricRole.OBSERVED and not is_component:
            message = "it is neither primary nor secondary nor a guardrail, nor is a ratio of it"
            raise problem("UNKNOWN_METRIC", message, path)
        of_guardrails = {
            "toleratedHarm": spec.tolerated_harm,
            "mode": spec.mode,
            "margin": spec.margin,
        }
        for field, value in of_guardrails.items():
            if value is not None and role is not MetricRole.GUARDRAIL:
                message = f"{name} is no guardrail, and only those have a {field}"
                raise problem("NOT_A_GUARDRAIL", message, f"{path}.{field}")
        is_of_policy = role is MetricRole.PRIMARY and isinstance(self.parameters, BetaPolicy)
        if spec.prior is not None and spec.model_kind is MetricKind.BINARY and is_of_policy:
            message = f"{self.type} has the prior of {name}: priorAlpha and priorBeta"
            raise problem("PRIOR_OF_POLICY", message, f"{path}.prior")

    @property
    def layer_unit(self) -> UnitKind:
        """Unit that its layer divides; of impressions the user who makes the request."""
        return UnitKind.USER if self.unit is UnitKind.IMPRESSION else self.unit

    @property
    def counted_metrics(self) -> tuple[str, ...]:
        """Metrics whose values are counted, sorted: all that are named except the ratios."""
        named = {self.primary_metric, *self.secondary_metrics, *self.guardrail_metrics}
        named.update(*(spec.components or () for spec in self.metrics.values()))
        return tuple(sorted(name for name in named if self.spec(name).components is None))

    @property
    def sliced_metrics(self) -> tuple[str, ...]:
        """Metrics that are broken down by dimension: all that are named but quantiles."""
        named = (self.primary_metric, *self.secondary_metrics, *self.guardrail_metrics)
        return tuple(name for name in named if self.spec(name).percentile is None)

    @property
    def conversion_windows(self) -> dict[str, int]:
        """Conversion window in seconds of the `counted_metrics` that have one."""
        found = {name: self.conversion_window_s(name) for name in self.counted_metrics}
        return {name: window_s for name, window_s in found.items() if window_s}

    def conversion_window_s(self, name: str) -> int:
        """Return the conversion window of a metric in seconds; 0 for none."""
        spec = self.spec(name)
        if spec.components is not None:
            return self.conversion_window_s(spec.components[0])
        for stated in (spec.conversion_window, self.conversion_window):
            if stated is not None:
                return stated
        if self.unit is UnitKind.IMPRESSION or not self.attribution_window:
            return 0
        # No later observation counts, so a longer window only waits.
        return max(self.attribution_window, MIN_CONVERSION_WINDOW_S)

    def maturity_s(self, name: str) -> int:
        """Return the seconds after which comparisons of a metric include a unit; 0 for at once."""
        spec = self.spec(name)
        if spec.components is not None:
            return self.maturity_s(spec.components[0])
        return self.conversion_window_s(name) if spec.only_mature else 0

    def is_only_mature(self, name: str) -> bool:
        """Return whether comparisons of a metric leave out units whose window is not over."""
        spec = self.spec(name)
        return (
            spec.only_mature if spec.components is None else self.is_only_mature(spec.components[0])
        )

    @property
    def conversion_delays(self) -> dict[str, int]:
        """Conversion delay in seconds of the `counted_metrics` that have one."""
        found = {name: self.spec(name).conversion_delay for name in self.counted_metrics}
        return {name: delay_s for name, delay_s in found.items() if delay_s}

    def _span(self, name: str) -> tuple[int, int]:
        return self.conversion_window_s(name), self.maturity_s(name)

    def role(self, name: str) -> MetricRole:
        """Return the role of a metric."""
        if name == self.primary_metric:
            return MetricRole.PRIMARY
        if name in self.guardrail_metrics:
            return MetricRole.GUARDRAIL
        return MetricRole.SECONDARY if name in self.secondary_metrics else MetricRole.OBSERVED

    @property
    def planned_information(self) -> float | None:
        """Planned information: variance of the compared sum; None without a plan."""
        spec = self.spec(self.primary_metric)
        return None if self.plan is None else self.plan.information(spec.model_kind, spec.direction)

    @property
    def negligible_share(self) -> float:
        """Share of the leader's mean below which a difference is negligible."""
        if self.negligible_difference is not None:
            return self.negligible_difference
        return NEGLIGIBLE_DIFFERENCE if self.plan is None else min(self.plan.lift / 2.0, 1.0)

    @property
    def kept_control_share(self) -> float:
        """Share that the control keeps beside a winner, stated or by default."""
        if self.control_share is not None:
            return self.control_share
        return DEFAULT_CONTROL_SHARE if self.auto_promote_winner else 0.0

    def spec(self, name: str) -> MetricSpec:
        """Return the declaration of a metric; defaults if it is undeclared."""
        return self.metrics.get(name, _UNDECLARED)


_UNDECLARED = MetricSpec()
