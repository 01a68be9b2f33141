"""`experiment evaluate`: what another policy would have earned on an experiment's own log."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
import typer

from streams.cli import terminal
from streams.cli.evaluation.views import EvaluationQuery, evaluation_json, evaluation_view
from streams.cli.log_options import (
    CORES,
    Archive,
    Periods,
    PolicyParameters,
    Processes,
    Until,
    log_of,
    parameters_of,
    periods_of,
    until_of,
)
from streams.cli.progress import counting
from streams.cli.replay.progress import watched
from streams.cli.terminal import API_DEFAULT, Api, AsJson, ExperimentId
from streams.experiments.lifecycle import Experiment
from streams.model.errors import InputError, quoted
from streams.model.experiment_keys import named_experiment
from streams.replay.history import experiment_of
from streams.replay.off_policy.report import evaluate_target
from streams.replay.off_policy.rules import WEIGHT_TOLERANCE, Weigh, fixed, policy_of
from streams.replay.off_policy.target import OwnRun, batch_size, replayed
from streams.replay.partitions import FoldInputs
from streams.replay.unit_log import unit_log
from streams.replay.what_if import Assumptions


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(evaluate)


def evaluate(
    experiment_id: ExperimentId,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE", help="Policy to evaluate: ucb, … By default the experiment's own."
        ),
    ] = None,
    parameter: PolicyParameters = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE,…",
            help="Fixed shares instead of a policy, one per variant; they sum to 1.",
        ),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metric other than the primary one.")] = None,
    periods: Periods = None,
    every: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="UNITS",
            help="Units between two allocations; 100, or a 2,000th of a larger log, unless given.",
        ),
    ] = None,
    run: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="UNITS",
            help="Let the policy learn from a separate run of about this many units, drawn from "
            "the log, and not from all of the log.",
        ),
    ] = None,
    until: Until = None,
    archive: Archive = None,
    processes: Processes = CORES,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
) -> None:
    """Estimate what another policy would have earned on the units of this experiment.

    The policy is replayed over the log, and every unit is weighed by its share over the logged
    propensity. It reads only. Kafka and the receipt keys come from the EXPERIMENT_ variables where
    they name a Kafka or a Redis, or else are those of the embedded stack with the port of --api.
    """
    settings = terminal.settings_of(api)
    source, inputs = log_of(settings, archive), FoldInputs.of(settings, until_ms=until_of(until))
    assumptions = Assumptions(
        policy, parameters_of(parameter or []), metric=metric, periods=periods_of(periods)
    )
    actual = experiment_of(source, inputs, named_experiment(experiment_id))
    supposed = assumptions.experiment(actual)
    weigh = _weigh(supposed, actual, weights, is_policy=bool(policy or parameter or run))
    with watched() as watcher:
        log = unit_log(
            source,
            inputs,
            actual,
            supposed.definition.config.primary_metric,
            processes=processes,
            watcher=watcher,
        )
    log = replace(log, by_period=supposed.definition.config.periods is not None)
    size = every or batch_size(log.n_units)
    own = None if run is None else own_run(log.n_units, run)
    with counting("replaying the policy over units", log.n_units) as advance:
        found = evaluate_target(log, replayed(log, weigh, size, own, advance))
    asked = EvaluationQuery(
        supposed, size, is_fixed=weights is not None, is_own_run=own is not None
    )
    if as_json:
        terminal.print_json(evaluation_json(asked, found, log.unmatched))
    else:
        terminal.out.print(evaluation_view(asked, found, log.unmatched))


def own_run(n_units: int, n_wanted: int) -> OwnRun:
    """Return a run of about so many units, drawn from a log of more.

    Raises:
        InputError: the log has fewer.
    """
    if n_wanted > n_units:
        message = f"a run of {n_wanted:,} units cannot be drawn from {n_units:,}"
        raise InputError("OUT_OF_RANGE", message, "--run")
    return OwnRun(n_units / n_wanted, np.random.default_rng(0).random(n_units))


def shares_of(text: str, n_arms: int) -> tuple[float, ...]:
    """Return shares written as `a,b,…`.

    Raises:
        InputError: they are not numbers >= 0 that sum to 1, one a variant.

    Examples:
        >>> shares_of("0.25,0.75", 2)
        (0.25, 0.75)
    """
    try:
        shares = tuple(map(float, text.split(",")))
    except ValueError as error:
        raise InputError(
            "WRONG_TYPE", f"{quoted(text)} is not numbers A,B,…", "--weights"
        ) from error
    if len(shares) != n_arms:
        message = f"{len(shares)} weights, must be one for each of {n_arms} variants"
        raise InputError("WEIGHTS_INCOMPLETE", message, "--weights")
    if not (min(shares) >= 0.0 and abs(sum(shares) - 1.0) <= WEIGHT_TOLERANCE):
        message = f"{quoted(text)}, must be >= 0 and sum to 1"
        raise InputError("WEIGHTS_DO_NOT_SUM", message, "--weights")
    return shares


def _weigh(
    supposed: Experiment, actual: Experiment, weights: str | None, *, is_policy: bool
) -> Weigh:
    if weights is None:
        return policy_of(supposed, actual)
    if is_policy:
        raise InputError(
            "OPTIONS_CONFLICT", "either a policy, or weights that never learn", "--weights"
        )
    return fixed(shares_of(weights, len(supposed.definition.variants)))
