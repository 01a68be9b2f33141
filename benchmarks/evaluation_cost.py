"""Cost of one evaluation: from the tally of an experiment to its snapshot.

    python -m benchmarks.evaluation_cost [--variants 10] [--metrics 5] [--plan] [--rounds 200]

Ten variants and five metrics: a binary primary one, three secondary ones (binary, count, revenue)
and a continuous guardrail; or the primary one alone. With `--plan`, a number of units is planned.
It is processor time, which a busy machine disturbs least: the median of the rounds, and the
fastest. The parts are those of the inference, alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from benchmarks.posteriors import tallied
from streams.analysis.evaluate import evaluate
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import Snapshot
from streams.policies.arm_posteriors import best_of_arms
from streams.stats.bayes.lift import lifts_vs_control
from streams.stats.bayes.value_remaining import relative_value_remaining
from streams.stats.direction import Direction
from streams.stats.families.registry import FAMILIES
from streams.stats.kinds import MetricKind
from streams.stats.numerics.tabulated import TabulatedPosteriors
from streams.stats.sample import Sample
from streams.tallies.cell import Tally
from streams.tallies.weights import weighted

_NAMES = ("click", "visits", "revenue", "latency")
_CONFIG = {
    "name": "benchmark",
    "primaryMetric": "click",
    "secondaryMetrics": ["revenue", "signup", "visits"],
    "guardrailMetrics": ["latency"],
    "metrics": {"latency": {"direction": "decrease", "toleratedHarm": 0.1}},
}

_ALONE = {"name": "benchmark", "primaryMetric": "click"}
_PLAN = {"plan": {"baseline": 0.1, "lift": 0.1, "units": 20_000}}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants", type=int, default=10)
    parser.add_argument("--metrics", type=int, choices=(1, 5), default=5)
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    metrics = tallied(arguments.variants)
    clicks = [Sample.of(each.units, each.metric) for each in metrics[0]]
    posteriors = FAMILIES[MetricKind.BINARY].posteriors(clicks)
    table = TabulatedPosteriors.of(posteriors)
    steps: dict[str, Callable[[], object]] = {
        f"evaluation, {policy}": evaluation(
            policy, arguments.variants, arguments.metrics, is_planned=arguments.plan
        )
        for policy in ("thompson_sampling", "bayesian_ab")
    }
    steps["of it: table of one metric"] = lambda: TabulatedPosteriors.of(posteriors)
    steps["of it: lift of one metric"] = lambda: lifts_vs_control(
        table, 0, directions=[Direction.INCREASE]
    )
    steps["of it: value remaining"] = lambda: relative_value_remaining(table, 1)
    print(f"{arguments.variants} variants, {arguments.metrics} metrics; {arguments.rounds} rounds")
    for name, step in steps.items():
        median_ms, fastest_ms = _median_and_fastest_ms(step, arguments.rounds)
        print(f"{name:34}  median {median_ms:6.2f} ms, fastest {fastest_ms:6.2f} ms")


def evaluation(
    policy: str, n_variants: int, n_metrics: int, *, is_planned: bool = False
) -> Callable[[], Snapshot]:
    """Return what evaluates an experiment of this policy, variants and metrics."""
    is_alone = n_metrics == 1
    definition = parse_definition(
        (_ALONE if is_alone else _CONFIG) | {"type": policy} | (_PLAN if is_planned else {}),
        [{"name": f"V{index}", "isControl": index == 0} for index in range(n_variants)],
    )
    experiment = Experiment(7, definition, Status.RUNNING, 3, 1, 1, 2)
    weights = evaluate(experiment, Tally(), ()).allocation.weights
    columns = tallied(n_variants)
    variants = {}
    for index, weight in enumerate(weights):
        metrics = {name: column[index].metric for name, column in zip(_NAMES, columns, strict=True)}
        metrics["signup"] = metrics["click"]
        if is_alone:
            metrics = {"click": metrics["click"]}
        units = columns[0][index].units
        variants[index] = weighted(units, metrics, weight << 16)
    tally = Tally(1, 2, 0, variants)

    def run() -> Snapshot:
        best_of_arms.cache_clear()  # what is remembered of the last round
        return evaluate(experiment, tally, ())

    return run


def _median_and_fastest_ms(step: Callable[[], object], rounds: int) -> tuple[float, float]:
    durations = []
    for _ in range(rounds):
        began = time.process_time()
        step()
        durations.append(time.process_time() - began)
    return statistics.median(durations) * 1e3, min(durations) * 1e3


if __name__ == "__main__":
    main()
