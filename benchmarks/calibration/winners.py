"""Power and speed of finding the better variant."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from benchmarks.calibration.errors import describe, judged, slug
from benchmarks.calibration.results import Claim, Mean, Measure, Result
from benchmarks.calibration.row import Progress, Row, Section, Size, thinned
from benchmarks.simulation import claims
from benchmarks.simulation.critical_values import OTHERS, CriticalValue
from benchmarks.simulation.proportion import Proportion
from benchmarks.simulation.stopping import Rule
from benchmarks.simulation.traffic import Traffic, Weights
from streams.experiments.definition import DECIDING_SHARE

LEAST_UNITS = 9_090
"""Mean units below which no rule can promise 5 % of errors for 5 % against 4 %."""

MOST_TIMES = 3.0
"""Times of `LEAST_UNITS` within which a winner is to be found on average."""

_QUICK_LOOKS = 41
_QUICK_UNITS = 1_000


def power() -> Section:
    """Return the experiments of 10 % against 11 %."""
    (traffic, sequence), (_, planned) = claims.power()
    return Section(
        "power",
        "Power beside other rules",
        "11 % against 10 %, up to 20,000 units a variant, looked at every 200 units of both. "
        "All rules see the same data. The fixed horizon looks once, at the end: that is the "
        "most there is to have; the others may stop earlier, and two of them are wrong too "
        "often when there is nothing to find (table above).",
        {
            "right": "right winner",
            "wrong": "wrong winner",
            "missed": "sequence ever missed",
            "units": "mean units of both",
        },
        (
            Row(
                "planned",
                {"rule": "ours, 20,000 units a variant planned"},
                partial(_found, traffic, planned),
                4_000,
                400,
                (
                    Claim("right", at_least=0.8),
                    Claim("wrong", at_most=0.05),
                    Claim("missed", at_most=0.05),
                ),
            ),
            Row(
                "sequence",
                {"rule": "ours, no size planned"},
                partial(_found, traffic, sequence),
                4_000,
                400,
                (Claim("wrong", at_most=0.05), Claim("missed", at_most=0.05)),
            ),
            *(
                Row(slug(rule.name), {"rule": rule.name}, partial(_found, traffic, rule), 4_000)
                for rule in reversed(OTHERS)
            ),
        ),
    )


def promotion() -> Section:
    """Return the experiments of 5 % against 4 %."""
    return Section(
        "promotion",
        "Units until a winner is declared",
        "5 % against 4 %, two variants. No rule that errs in at most 5 % of the experiments can "
        f"do with less than {LEAST_UNITS:,} units of both on average, so that number is the "
        "measure: three times of it is the bound, twice is the aim. A bandit that starves the "
        "loser is slow to learn that it loses, whatever the rule: the floor decides. It is 0.25 "
        "for each of two variants with automatic promotion. *Lost* are the clicks that "
        "the worse variant cost until then. At most 100,000 units (200,000 "
        "under Thompson sampling) are simulated; experiments without a winner count with all of "
        "them.",
        {
            "right": "right winner",
            "wrong": "wrong winner",
            "missed": "sequence ever missed",
            "units": "mean units",
            "times": "over the bound",
            "lost": "clicks lost",
        },
        tuple(_promotion(traffic, rule) for traffic, rule in claims.promotion()),
    )


def _promotion(traffic: Traffic, rule: Rule) -> Row:
    cells = describe(traffic, rule)
    floor = f"{traffic.least_share:g}" if traffic.weights.move else ""
    shown = {"shares": cells["shares"], "floor": floor, "compared by": cells["compared by"]}
    always = (Claim("wrong", at_most=0.05), Claim("missed", at_most=0.05))
    # The weights 1 / p are what the other readings are there to replace.
    sooner = (Claim("right", at_least=0.95), Claim("times", at_most=MOST_TIMES))
    deciding = DECIDING_SHARE / len(traffic.rates)
    is_meant = traffic.weights is not Weights.THOMPSON or traffic.least_share == deciding
    return Row(
        slug(" ".join(shown.values())),
        shown,
        partial(_promoted, traffic, rule),
        2_000,
        100 if is_meant else 0,
        (*always, *sooner) if is_meant else always,
    )


def _found(traffic: Traffic, rule: Rule | CriticalValue, size: Size, progress: Progress) -> Result:
    if size.is_quick:
        traffic = replace(traffic, looks=_QUICK_LOOKS, units_per_look=_QUICK_UNITS)
    return _result(traffic, rule, size, progress)


def _promoted(traffic: Traffic, rule: Rule, size: Size, progress: Progress) -> Result:
    if size.is_quick:
        every = traffic.looks * traffic.units_per_look
        traffic = replace(traffic, looks=every // 500, units_per_look=500)
    return _result(traffic, rule, size, progress)


def _result(traffic: Traffic, rule: Rule | CriticalValue, size: Size, progress: Progress) -> Result:
    found = judged(traffic, rule, size, progress)
    right = Proportion(found.declared.events - found.wrong.events, size.repetitions)
    measures: dict[str, Measure] = {
        "right": right,
        "wrong": found.wrong,
        "units": Mean(found.mean_units, found.error_units, size.repetitions),
        "times": Mean(
            found.mean_units / LEAST_UNITS, found.error_units / LEAST_UNITS, size.repetitions
        ),
        "lost": Mean(found.mean_lost),
    }
    if isinstance(rule, Rule):
        measures["missed"] = found.missed
    looks, shares = thinned(found.declared_by, size.repetitions)
    units = [look * traffic.units_per_look for look in looks]
    return Result(size.repetitions, measures, {"named": (units, shares)})
