"""Plans: what is asked, what they say, and the same as JSON; for the terminal and for HTTP."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import Field
from pydantic.alias_generators import to_camel

from streams.experiments.plan import PlanSpec
from streams.model.errors import InputError, InvalidParameterError
from streams.model.ids import MAX_VARIANTS
from streams.model.validation import InputModel
from streams.planning.assumed import Assumption, ValueKind
from streams.planning.fixed import MAX_UNITS, Design, detectable_lift, units_per_variant
from streams.planning.group_sequential import GroupSequential, group_sequential
from streams.planning.plan import HORIZON_FACTOR, SimulatedRuns, outlook, simulated
from streams.planning.runs import planned_experiment
from streams.policies.bayesian_ab import BayesianAB
from streams.stats.kinds import MetricKind
from streams.stats.sequential.group_sequential import MAX_LOOKS, Spending

MAX_SIMULATIONS = 100_000

WEEKS = (1, 2, 4, 8)
DAYS_OF_WEEK = 7


class PlanQuestion(InputModel):
    """Question of a plan by formulas.

    Attributes:
        baseline: Mean of the metric per unit under the control.
        lift: Lift to detect, relative to it.
        variants: Number of variants, including the control.
        metric_kind: Distribution of the values of a unit.
        deviation: Standard deviation of a unit's value; of a continuous metric alone.
        alpha: Largest probability of a wrong winner, in (0, 0.5].
        power: Probability of detecting the lift, in [0.5, 1).
        looks: Number of looks of the group sequential test.
        spending: How the error of that test is spent over its looks.
        daily_units: Units per day, to have days as well; None if it is not known.
    """

    baseline: float = Field(ge=-1e12, le=1e12)
    lift: float = Field(ge=1e-6, le=1e6)
    variants: int = Field(default=2, ge=2, le=MAX_VARIANTS)
    metric_kind: Annotated[ValueKind, Field(strict=False)] = ValueKind.BINARY
    deviation: float | None = Field(default=None, ge=1e-9, le=1e12)
    alpha: float = Field(default=0.05, gt=1e-9, le=0.5)
    power: float = Field(default=0.8, ge=0.5, le=0.999999)
    looks: int = Field(default=5, ge=2, le=MAX_LOOKS)
    spending: Annotated[Spending, Field(strict=False)] = Spending.OBRIEN_FLEMING
    daily_units: int | None = Field(default=None, ge=1, le=MAX_UNITS)


class PlanRequest(PlanQuestion):
    """Question of a plan that is also simulated.

    Attributes:
        policy: Policy of the bandit.
        parameters: Parameters of the policy.
        min_sample_size: The experiments' `minSampleSize`; None for the default.
        horizon: Units after which a simulated experiment ends; None for four times the fixed size.
        simulations: Number of simulated experiments; 0 for formulas alone.
        seed: Seed of the simulations.
    """

    policy: str = Field(default="thompson_sampling", max_length=64)
    parameters: dict[str, Any] = Field(default_factory=dict, max_length=32)
    min_sample_size: int | None = Field(default=None, ge=0, le=MAX_UNITS)
    horizon: int | None = Field(default=None, ge=1, le=MAX_UNITS)
    simulations: int = Field(default=0, ge=0, le=MAX_SIMULATIONS)
    seed: int = Field(default=0, ge=0, lt=2**63)


@dataclass(frozen=True, slots=True)
class PlanResult:
    """Arguments and result of a plan.

    Attributes:
        assumed: What is supposed of the metric.
        design: What is asked of the test.
        per_variant: Units a variant of a test of fixed size.
        group: The same test with planned looks.
        policy: Type of the bandit's policy.
        sequential: Outlook of sequential tests; None if not simulated.
        bandit: Outlook of bandits; None if none were simulated.
        daily_units: Units a day; None if it is not known.
    """

    assumed: Assumption
    design: Design
    per_variant: int
    group: GroupSequential
    policy: str
    sequential: SimulatedRuns | None
    bandit: SimulatedRuns | None
    daily_units: int | None

    @property
    def fixed_units(self) -> int:
        """Units of a test of fixed size."""
        return self.per_variant * self.design.n_variants


def planned(request: PlanRequest, advance: Callable[[int], None] = lambda _: None) -> PlanResult:
    """Return the plan that a request asks for.

    The tests of fixed size and with planned looks are formulas. The sequential test and the bandit
    are simulated through the code that allocates and decides for real experiments.

    Args:
        request: The question.
        advance: Called with the number of simulated experiments that have ended since the last
            call, of `2 * simulations`.

    Raises:
        InputError: values do not fit together (`OUT_OF_RANGE`), or need more units than can be
            counted; the policy does not move the weights (`NOT_ADAPTIVE`), or as
            `planned_experiment`.
    """
    try:
        return _planned(request, advance)
    except InvalidParameterError as error:
        raise InputError("OUT_OF_RANGE", error.message, error.path) from error


def _planned(request: PlanRequest, advance: Callable[[int], None]) -> PlanResult:
    assumed = Assumption(request.metric_kind, request.baseline, request.lift, request.deviation)
    design = Design(request.variants, request.alpha, request.power)
    per_variant = units_per_variant(assumed, design)
    spec = PlanSpec(
        baseline=request.baseline, lift=request.lift, units=per_variant, deviation=request.deviation
    )
    # Without a declared kind a plan without a deviation is that of a rate.
    kind = MetricKind.COUNT if request.metric_kind is ValueKind.COUNT else None
    sequential, bandit = (
        planned_experiment(design, policy, parameters, request.min_sample_size, spec, kind)
        for policy, parameters in ((BayesianAB.type, {}), (request.policy, request.parameters))
    )
    if not bandit.definition.config.parameters.adaptive:
        message = f"{request.policy} does not move the weights"
        raise InputError("NOT_ADAPTIVE", message, "policy")
    fixed_units = per_variant * request.variants
    end = request.horizon or HORIZON_FACTOR * fixed_units
    outlooks = {}
    if request.simulations:
        for name, experiment in (("sequential", sequential), ("bandit", bandit)):
            runs = simulated(experiment, assumed, end, request.simulations, request.seed, advance)
            outlooks[name] = outlook(runs, design, end, fixed_units)
    return PlanResult(
        assumed,
        design,
        per_variant,
        group_sequential(per_variant, design, request.looks, request.spending),
        bandit.definition.config.type,
        outlooks.get("sequential"),
        outlooks.get("bandit"),
        request.daily_units,
    )


def plan_json(plan: PlanResult) -> dict[str, Any]:
    """Return the same as a JSON object."""
    daily = plan.daily_units
    return {
        "assumed": _camel(asdict(plan.assumed)) | {"best": plan.assumed.best},
        "design": _camel(asdict(plan.design)),
        "dailyUnits": daily,
        "fixed": {
            "unitsPerVariant": plan.per_variant,
            "units": plan.fixed_units,
            "days": days(plan.fixed_units, daily),
        },
        "groupSequential": {
            "spending": plan.group.spending,
            "unitsPerVariant": plan.group.per_variant,
            "expectedUnitsPerVariant": plan.group.expected,
            "looks": [
                asdict(look) | {"critical": look.critical if math.isfinite(look.critical) else None}
                for look in plan.group.looks
            ],
        },
        "sequential": _outlook_json(plan.sequential, daily),
        "bandit": None
        if plan.bandit is None
        else {"policy": plan.policy, **(_outlook_json(plan.bandit, daily) or {})},
        "detectable": None
        if daily is None
        else [
            {
                "weeks": weeks,
                "lift": detectable_lift(plan.assumed, plan.design, daily * weeks * DAYS_OF_WEEK),
            }
            for weeks in WEEKS
        ],
    }


def _outlook_json(found: SimulatedRuns | None, daily_units: int | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return _camel(asdict(found)) | {
        "medianDays": days(found.median_units, daily_units),
        "powerDays": days(found.power_units, daily_units),
    }


def _camel(fields: dict[str, Any]) -> dict[str, Any]:
    return {to_camel(name): value for name, value in fields.items()}


def days(units: int | None, daily_units: int | None) -> int | None:
    """Return the days in which so many units come; None if either is not known."""
    return None if units is None or daily_units is None else math.ceil(units / daily_units)


def formula_plan(question: PlanQuestion) -> dict[str, Any]:
    """Return the plan by formulas that a question asks for, as JSON.

    Raises:
        InputError: as `planned`.
    """
    return plan_json(planned(PlanRequest(**question.model_dump())))
