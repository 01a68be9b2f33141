"""A plan as tables and sentences."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.text import Text

from streams.cli.numbers import number
from streams.cli.tables import table_of
from streams.planning.fixed import detectable_lift
from streams.planning.plan import SimulatedRuns, lost_by_fixed_size
from streams.planning.planned import DAYS_OF_WEEK, WEEKS, PlanResult, days


def plan_view(plan: PlanResult) -> RenderableType:
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


def _head(plan: PlanResult) -> Text:
    assumed, design = plan.assumed, plan.design
    spread = ""
    if assumed.deviation is not None:
        spread = f", standard deviation {number(assumed.deviation, 6)}"
    baseline, best = (number(each, 6) for each in (assumed.baseline, assumed.best))
    return Text.assemble(
        (
            f"{baseline} per unit against {best} (+{_percent(assumed.lift)})",
            "bold",
        ),
        f" of a {assumed.kind} metric{spread}; {design.n_variants} variants, the last is the best. "
        f"Wrong winners in at most {_percent(design.alpha)}, power {_percent(design.power)}.",
    )


def _tests(plan: PlanResult, sequential: SimulatedRuns, bandit: SimulatedRuns) -> RenderableType:
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


def _fixed(plan: PlanResult) -> str:
    return (
        f"Fixed size: give every variant {plan.per_variant:,} units, "
        f"{_when(plan.fixed_units, plan.daily_units)} in all, and look once, at the end."
    )


def _group(plan: PlanResult) -> str:
    """Return what planning a few looks is good for."""
    n_variants, found = plan.design.n_variants, plan.group
    return (
        f"Planned looks: look {len(found.looks)} times and no more, as below; it takes "
        f"{_when(found.per_variant * n_variants, plan.daily_units)} at most, and "
        f"{_when(round(found.expected * n_variants), plan.daily_units)} on average if the lift is "
        "there."
    )


def _looks(plan: PlanResult) -> RenderableType:
    table = table_of(">look", ">units a variant", ">stop if |z| reaches", ">stopped by then")
    for nth, look in enumerate(plan.group.looks, 1):
        critical = "never" if math.isinf(look.critical) else f"{look.critical:.3f}"
        table.add_row(f"{nth}", f"{look.units:,}", critical, f"{look.stopped:.1%}")
    return table


def _sequential(plan: PlanResult, found: SimulatedRuns) -> str:
    """Return what looking at any time costs."""
    start = "Sequential: look whenever you like, and stop at `conclude_winner`."
    by_then = f"By the fixed size {_percent(found.found_by_fixed_size)} have found it"
    if found.power_units is None:
        return f"{start} {by_then}."
    wanted, ratio = _percent(plan.design.power), found.power_units / plan.fixed_units
    return f"{start} {by_then}; for {wanted} it takes {ratio:.1f} times that size."


def _bandit(plan: PlanResult, found: SimulatedRuns) -> str:
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


def _lifts(plan: PlanResult, daily_units: int) -> RenderableType:
    table = table_of("fixed size of", ">units", ">finds a lift of")
    for weeks in WEEKS:
        units = daily_units * weeks * DAYS_OF_WEEK
        lift = detectable_lift(plan.assumed, plan.design, units)
        table.add_row(
            f"{weeks} week{'s' * (weeks > 1)}",
            f"{units:,}",
            "none" if lift is None else f"{lift:.1%}",
        )
    return table


def _note(found: SimulatedRuns) -> str:
    error = _percent(1.96 * math.sqrt(0.25 / found.n_runs))
    return (
        f"Lost is against the best variant over {found.horizon:,} units, with all users given the "
        f"winner once there is one. By {found.n_runs:,} simulated experiments each: shares are "
        f"right to {error} of all, units to about 5%."
    )


def _when(units: int | None, daily_units: int | None) -> str:
    if units is None:
        return "never"
    n_days = days(units, daily_units)
    return f"{units:,}" if n_days is None else f"{units:,} ({n_days:,} days)"


def _percent(share: float) -> str:
    """Return a share as per cent, with a decimal where it has one.

    >>> _percent(0.8), _percent(0.025)
    ('80%', '2.5%')
    """
    return f"{100.0 * share:.1f}".removesuffix(".0") + "%"
