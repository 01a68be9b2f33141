"""Claims about the stopping rules, as settings of the simulation."""

from __future__ import annotations

from benchmarks.simulation.amounts import LogNormal
from benchmarks.simulation.stopping import ComparedSums, Rule
from benchmarks.simulation.traffic import Traffic, Weights
from streams.experiments.plan import PlanSpec

RATES = (0.004, 0.01, 0.1)
N_ARMS = (2, 3, 10)
N_DRIFTING = (2, 3, 5, 10)

_PLAIN = Rule(ComparedSums.PLAIN)
_OVERLAP = Rule(ComparedSums.OVERLAP)
_INVERSE = Rule(ComparedSums.INVERSE)


POWER_PLAN = PlanSpec(baseline=0.1, lift=0.1, units=20_000)
"""Plan of 10 % against 11 %."""


def _planned(traffic: Traffic) -> Rule:
    """Return the rule with a plan of a fifth of all units."""
    units = traffic.looks * traffic.units_per_look // (5 * len(traffic.rates))
    return Rule(ComparedSums.PLAIN, plan=PlanSpec(baseline=traffic.rates[0], lift=0.1, units=units))


def without_a_winner() -> tuple[tuple[Traffic, Rule], ...]:
    """Return experiments of 1,000 looks whose variants are equal: at most 5 % may name one.

    Every rule at every rate and number of variants, a million units each; then what is hardest:
    rates that swing while the weights move, and amounts whose large values are rare.
    """
    equal = [(rate,) * n_arms for rate in RATES for n_arms in N_ARMS]
    fixed = [Traffic(rates, units_per_look=1_000) for rates in equal]
    moving = [Traffic(rates, Weights.THOMPSON, units_per_look=1_000) for rates in equal]
    swinging = [
        Traffic((0.1,) * n_arms, weights, units_per_look=1_000, swing=0.8)
        for weights in (Weights.THOMPSON, Weights.TOP_TWO)
        for n_arms in N_DRIFTING
    ]
    spent = [Traffic((0.1, 0.1), weights, amounts=(LogNormal(1.0),) * 2) for weights in Weights]
    return (
        *((traffic, rule) for traffic in fixed for rule in (_PLAIN, _planned(traffic))),
        *((traffic, rule) for traffic in moving for rule in (_OVERLAP, _INVERSE)),
        *((traffic, _OVERLAP) for traffic in swinging),
        *((traffic, _OVERLAP if traffic.weights.move else _PLAIN) for traffic in spent),
    )


def power() -> tuple[tuple[Traffic, Rule], ...]:
    """Return the experiments of 10 % against 11 %, 20,000 units a variant."""
    traffic = Traffic((0.11, 0.10), looks=203, units_per_look=200)
    return (
        (traffic, _PLAIN),
        (traffic, Rule(ComparedSums.PLAIN, plan=POWER_PLAN)),
    )


def promotion() -> tuple[tuple[Traffic, Rule], ...]:
    """Return the experiments of 5 % against 4 %: who is promoted after how many units.

    No rule can do with less than 9,090 units on average. A bandit that starves the loser is slow
    to learn that it loses, whatever the rule: the floor decides.
    """
    rates = (0.05, 0.04)
    return (
        (Traffic(rates), _PLAIN),
        (Traffic(rates, Weights.TOP_TWO), _OVERLAP),
        *(
            (Traffic(rates, Weights.THOMPSON, floor=floor, units_per_look=200), _OVERLAP)
            for floor in (0.25, 0.2, 0.1, 0.05, None)
        ),
        (Traffic(rates, Weights.THOMPSON, units_per_look=200), _INVERSE),
    )
