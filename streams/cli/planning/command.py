"""`experiment plan`: units and days that an experiment needs to detect a lift."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli import terminal
from streams.cli.log_options import PolicyParameters, parameters_of
from streams.cli.planning.views import plan_view
from streams.cli.progress import counting
from streams.cli.terminal import AsJson
from streams.model.ids import MAX_VARIANTS
from streams.model.validation import parse
from streams.planning.assumed import ValueKind
from streams.planning.fixed import MAX_UNITS
from streams.planning.planned import (
    MAX_SIMULATIONS,
    PlanRequest,
    plan_json,
    planned,
)
from streams.stats.sequential.group_sequential import MAX_LOOKS, Spending


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(plan)


def plan(
    baseline: Annotated[
        float, typer.Option(help="Mean of the metric per unit under the control, as 0.05.")
    ],
    lift: Annotated[
        float, typer.Option(help="Lift to detect, relative to it: 0.1 is ten per cent more.")
    ],
    variants: Annotated[
        int,
        typer.Option(min=2, max=MAX_VARIANTS, help="Number of variants, including the control."),
    ] = 2,
    metric_kind: Annotated[
        ValueKind, typer.Option(help="Values of a unit: 0 or 1, a count, or any number.")
    ] = ValueKind.BINARY,
    deviation: Annotated[
        float | None,
        typer.Option(help="Standard deviation of a unit's value; for a continuous metric."),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Largest probability of a wrong winner.")] = 0.05,
    power: Annotated[float, typer.Option(help="Probability of detecting the lift.")] = 0.8,
    looks: Annotated[
        int,
        typer.Option(min=2, max=MAX_LOOKS, help="Number of looks of the group sequential test."),
    ] = 5,
    spending: Annotated[
        Spending, typer.Option(help="How the error of that test is spent over its looks.")
    ] = Spending.OBRIEN_FLEMING,
    daily_units: Annotated[
        int | None, typer.Option(min=1, max=MAX_UNITS, help="Units per day, to show days as well.")
    ] = None,
    policy: Annotated[
        str, typer.Option(metavar="TYPE", help="Policy of the bandit.")
    ] = "thompson_sampling",
    parameter: PolicyParameters = None,
    min_sample_size: Annotated[
        int | None,
        typer.Option(min=0, help="The experiments' `minSampleSize`, if it is not the default."),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_UNITS,
            help="Units after which a simulated experiment ends; four times the fixed size "
            "unless given.",
        ),
    ] = None,
    simulations: Annotated[
        int,
        typer.Option(
            min=0,
            max=MAX_SIMULATIONS,
            help="Number of simulated experiments; 0 for formulas alone.",
        ),
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulations.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show how many units a fixed-size, a group sequential, a sequential test and a bandit need.

    The first two are formulas. The others are simulated through the code that allocates and
    decides for real experiments; no server is needed.
    """
    asked = {
        "baseline": baseline,
        "lift": lift,
        "variants": variants,
        "metricKind": metric_kind,
        "deviation": deviation,
        "alpha": alpha,
        "power": power,
        "looks": looks,
        "spending": spending,
        "dailyUnits": daily_units,
        "policy": policy,
        "parameters": parameters_of(parameter or []),
        "minSampleSize": min_sample_size,
        "horizon": horizon,
        "simulations": simulations,
        "seed": seed,
    }
    request = parse(PlanRequest, asked)
    if simulations:
        with counting("simulating experiments", 2 * simulations) as advance:
            made = planned(request, advance)
    else:
        made = planned(request)
    terminal.show(made, plan_json, plan_view, as_json=as_json)
