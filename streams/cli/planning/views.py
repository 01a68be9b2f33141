"""A plan as tables and sentences, and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pydantic.alias_generators import to_camel
from rich.console import Group, RenderableType
from rich.text import Text

from streams.cli.tables import table_of
from streams.planning.assumed import Assumed
from streams.planning.fixed import Design, detectable_lift
from streams.planning.group_sequential import GroupSequential
from streams.planning.plan import Outlook, lost_by_fixed_size

WEEKS = (1, 2, 4, 8)
_DAYS_OF_WEEK = 7


@dataclass(frozen=True, slots=True)
class Plan:
    """Arguments and result of a plan.

    Attributes:
        assumed: What is supposed of the metric.
        design: What is asked of the test.
        per_variant: Units a variant of a test of fixed size.
        group: The same test with planned looks.
        policy: Type of the bandit's policy.
        sequential: What comes of sequential tests; None if none were simulated.
        bandit: What comes of bandits; None if none were simulated.
        daily_units: Units a day; None if it is not known.
    """

    assumed: Assumed
    design: Design
    per_variant: int
    group: GroupSequential
    policy: str
    sequential: Outlook | None
    bandit: Outlook | None
    daily_units: int | None

    @property
    def fixed_units(self) -> int:
        """Units of a test of fixed size."""
        return self.per_variant * self.design.n_variants


def plan_view(plan: Plan) -> RenderableType:
    """Return what is supposed, a table of the three tests, and what to take away from it."""
    parts: list[RenderableType] = [_head(plan)]
    if plan.sequential is None or plan.bandit is None:
        parts.append(Text("\n".join((_fixed(plan), _group(plan)))))
    else:
        parts += [
            _tests(plan, plan.sequential, plan.bandit),
            Text("\n".join((_fixed(plan), _group(plan), _sequential(plan, plan.sequential)))),
            Text(_bandit(plan, plan.bandit)),
        ]
    parts.append(_looks(plan))
    if plan.daily_units is not None:
        parts.append(_lifts(plan, plan.daily_units))
    if plan.sequential is not None:
        parts.append(Text(_note(plan.sequential), "dim"))
    return Group(*parts)


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return the same as a JSON object."""
    daily = plan.daily_units
    return {
        "assumed": _camel(asdict(plan.assumed)) | {"best": plan.assumed.best},
        "design": _camel(asdict(plan.design)),
        "dailyUnits": daily,
        "fixed": {
            "unitsPerVariant": plan.per_variant,
            "units": plan.fixed_units,
            "days": _days(plan.fixed_units, daily),
        },
        "groupSequential": {
            "spending": plan.group.spending,
            "unitsPerVariant": plan.group.per_variant,
            "expectedUnitsPerVariant": plan.group.expected,
            "looks": [asdict(look) for look in plan.group.looks],
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
                "lift": detectable_lift(plan.assumed, plan.design, daily * weeks * _DAYS_OF_WEEK),
            }
            for weeks in WEEKS
        ],
    }


def _head(plan: Plan) -> Text:
    assumed, design = plan.assumed, plan.design
    spread = "" if assumed.deviation is None else f", standard deviation {assumed.deviation:g}"
    return Text.assemble(
        (
            f"{assumed.baseline:g} per unit against {assumed.best:g} (+{_percent(assumed.lift)})",
            "bold",
        ),
        f" of a {assumed.kind} metric{spread}; {design.n_variants} variants, the last is the best. "
        f"Wrong winners in at most {_percent(design.alpha)}, power {_percent(design.power)}.",
    )


def _tests(plan: Plan, sequential: Outlook, bandit: Outlook) -> RenderableType:
    table = table_of(
        "test",
        ">half found it by",
        f">{_percent(plan.design.power)} by",
        f">found by {sequential.horizon:,}",
        ">wrong",
        ">best variant gets",
        ">lost",
    )
    horizon = sequential.horizon
    lost = lost_by_fixed_size(plan.assumed, plan.design, plan.fixed_units, horizon)
    table.add_row(
        "fixed size",
        "",
        _when(plan.fixed_units, plan.daily_units),
        _percent(plan.design.power),
        "",
        _percent(1.0 - lost / (horizon * plan.assumed.difference)),
        f"{lost:,.0f}",
    )
    for name, found in (("sequential", sequential), (f"bandit, {plan.policy}", bandit)):
        table.add_row(
            name,
            _when(found.median_units, plan.daily_units),
            _when(found.power_units, plan.daily_units),
            _percent(found.found),
            _percent(found.wrong),
            _percent(found.share_best),
            f"{found.lost:,.0f}",
        )
    return table


def _fixed(plan: Plan) -> str:
    return (
        f"Fixed size: give every variant {plan.per_variant:,} units, "
        f"{_when(plan.fixed_units, plan.daily_units)} in all, and look once, at the end."
    )


def _group(plan: Plan) -> str:
    """Return what planning a few looks is good for."""
    n_variants, found = plan.design.n_variants, plan.group
    return (
        f"Planned looks: look {len(found.looks)} times and no more, as below; it takes "
        f"{_when(found.per_variant * n_variants, plan.daily_units)} at most, and "
        f"{_when(round(found.expected * n_variants), plan.daily_units)} on average if the lift is "
        "there."
    )


def _looks(plan: Plan) -> RenderableType:
    table = table_of(">look", ">units a variant", ">stop if |z| reaches", ">stopped by then")
    for number, look in enumerate(plan.group.looks, 1):
        critical = "never" if math.isinf(look.critical) else f"{look.critical:.3f}"
        table.add_row(f"{number}", f"{look.units:,}", critical, f"{look.stopped:.1%}")
    return table


def _sequential(plan: Plan, found: Outlook) -> str:
    """Return what looking at any time costs."""
    start = "Sequential: look whenever you like, and stop at `conclude_winner`."
    by_then = f"By the fixed size {_percent(found.found_by_fixed_size)} have found it"
    if found.power_units is None:
        return f"{start} {by_then}."
    wanted, ratio = _percent(plan.design.power), found.power_units / plan.fixed_units
    return f"{start} {by_then}; for {wanted} it takes {ratio:.1f} times that size."


def _bandit(plan: Plan, found: Outlook) -> str:
    """Return what a bandit is for, and what it is not."""
    even = found.horizon * (1.0 - 1.0 / plan.design.n_variants) * plan.assumed.difference
    earned = (
        f"Bandit: of {found.horizon:,} units the best variant gets {_percent(found.share_best)}; "
        f"an even split for ever would lose {even:,.0f}, and this {found.lost:,.0f}."
    )
    if found.median_units is not None:
        return earned
    return (
        f"{earned} It moves the traffic and proves little: {_percent(found.found)} of them are "
        "ever certain of their winner."
    )


def _lifts(plan: Plan, daily_units: int) -> RenderableType:
    table = table_of("fixed size of", ">units", ">finds a lift of")
    for weeks in WEEKS:
        units = daily_units * weeks * _DAYS_OF_WEEK
        lift = detectable_lift(plan.assumed, plan.design, units)
        table.add_row(
            f"{weeks} week{'s' * (weeks > 1)}",
            f"{units:,}",
            "none" if lift is None else f"{lift:.1%}",
        )
    return table


def _note(found: Outlook) -> str:
    error = _percent(1.96 * math.sqrt(0.25 / found.n_runs))
    return (
        f"Lost is against the best variant over {found.horizon:,} units, with everybody given the "
        f"winner once there is one. By {found.n_runs:,} simulated experiments each: shares are "
        f"right to {error} of all, units to about 5%."
    )


def _outlook_json(found: Outlook | None, daily_units: int | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return _camel(asdict(found)) | {
        "medianDays": _days(found.median_units, daily_units),
        "powerDays": _days(found.power_units, daily_units),
    }


def _camel(fields: dict[str, Any]) -> dict[str, Any]:
    return {to_camel(name): value for name, value in fields.items()}


def _days(units: int | None, daily_units: int | None) -> int | None:
    return None if units is None or daily_units is None else math.ceil(units / daily_units)


def _when(units: int | None, daily_units: int | None) -> str:
    if units is None:
        return "never"
    days = _days(units, daily_units)
    return f"{units:,}" if days is None else f"{units:,} ({days:,} days)"


def _percent(share: float) -> str:
    """Return a share as per cent, with a decimal where it has one.

    >>> _percent(0.8), _percent(0.025)
    ('80%', '2.5%')
    """
    return f"{100.0 * share:.1f}".removesuffix(".0") + "%"
