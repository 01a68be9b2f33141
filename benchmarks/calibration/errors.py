"""Frequency of errors of a rule, and of misses of its sequence, under many looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from benchmarks.calibration.results import Claim, Result
from benchmarks.calibration.row import Progress, Row, Section, Size, thinned
from benchmarks.simulation import claims, critical_values, stopping
from benchmarks.simulation.critical_values import OTHERS, CriticalValue
from benchmarks.simulation.proportion import Proportion
from benchmarks.simulation.stopping import ComparedSums, Outcome, Rule
from benchmarks.simulation.traffic import Traffic

ALPHA = 0.05
_SEED = 2026_11
_QUICK_LOOKS = 200
_QUICK_REPETITIONS = 200
_MANY_ARMS = 10
_PEEKS = 200
_LEFT_OUT = str.maketrans("", "", "/,%")

NAMED = Claim("named", at_most=ALPHA)
MISSED = Claim("missed", at_most=ALPHA)
_PEEKING = Traffic((0.1, 0.1), looks=1_000, units_per_look=200)


def errors() -> Section:
    """Return the experiments without a best variant."""
    return Section(
        "errors",
        "Errors at any time, and coverage at every look",
        "All variants are equal, and every experiment is looked at 1,000 times. *Ever declared* is "
        "the share of experiments in which a variant was declared at any of the looks: every one "
        "is an error. *Ever missed* is the share in which the confidence sequence of the first "
        "variant against the second, at 95 %, lost the true difference at any look. At most 5 % "
        "of each are claimed, so that a sequence covers at every look at once with 95 % or more.",
        {"named": "ever declared", "missed": "ever missed"},
        tuple(_row(traffic, rule) for traffic, rule in claims.without_a_winner()),
    )


def peeking() -> Section:
    """Return what others do, on the same data."""
    ours = {
        "sequence": Rule(ComparedSums.PLAIN),
        "planned": Rule(ComparedSums.PLAIN, plan=claims.POWER_PLAN),
    }
    return Section(
        "peeking",
        "What looking costs other rules",
        "Two equal variants with a rate of 10 %, looked at every 200 units. A rule that is "
        "right in 95 % of the cases when it is asked once is wrong far more often when it is "
        "asked again and again.",
        {"peeked": "declared within 200 looks", "named": "within 1,000 looks"},
        (
            *(
                Row(
                    name,
                    {"rule": _OURS[name]},
                    partial(_peeked, rule),
                    4_000,
                    _QUICK_REPETITIONS,
                    (NAMED,),
                )
                for name, rule in ours.items()
            ),
            *(
                Row(slug(rule.name), {"rule": rule.name}, partial(_peeked, rule), 4_000)
                for rule in OTHERS
                if not rule.only_last
            ),
        ),
    )


_OURS = {
    "sequence": "ours, no size planned",
    "planned": "ours, 20,000 units a variant planned",
}


def name_of(cells: Mapping[str, str]) -> str:
    """Return the name of the row with these cells."""
    return slug(" ".join(cells.values()).translate(_LEFT_OUT))


def slug(text: str) -> str:
    """Return a text as part of a command."""
    kept = "".join(letter if letter.isalnum() or letter == "." else "-" for letter in text.lower())
    return "-".join(part for part in kept.split("-") if part)


def describe(traffic: Traffic, rule: Rule) -> dict[str, str]:
    """Return the cells of a setting."""
    compared = {
        ComparedSums.PLAIN: "plain sums",
        ComparedSums.OVERLAP: "overlap weights",
        ComparedSums.INVERSE: "weights 1 / p",
    }[rule.reading]
    if rule.plan is not None:
        compared += f", {rule.plan.units:,} planned"
    rates = f"{traffic.rates[0]:.1%}".replace(".0%", "%").replace("%", " %")
    notes = (", rates swing by 80 %" if traffic.swing else "") + (
        ", log-normal amounts" if traffic.amounts else ""
    )
    return {
        "variants": str(len(traffic.rates)),
        "rates": rates + notes,
        "shares": str(traffic.weights).replace("_", "-"),
        "compared by": compared,
    }


def _row(traffic: Traffic, rule: Rule) -> Row:
    cells = describe(traffic, rule)
    return Row(
        slug(" ".join(cells.values()).replace("80 %", "").replace(",", "")),
        cells,
        partial(_erred, traffic, rule),
        _repetitions(traffic, rule),
        _QUICK_REPETITIONS,
        (NAMED, MISSED),
    )


def _repetitions(traffic: Traffic, rule: Rule) -> int:
    """Return how many experiments are run; a planned test uses nearly all of its error."""
    if rule.plan is not None:
        return 8_000
    return 1_000 if len(traffic.rates) == _MANY_ARMS else 2_000


def _erred(traffic: Traffic, rule: Rule, size: Size, progress: Progress) -> Result:
    looks = _QUICK_LOOKS if size.is_quick else traffic.looks
    found = stopping.run(replace(traffic, looks=looks), rule, size.repetitions, _SEED, progress)
    return Result(
        size.repetitions,
        {"named": found.declared, "missed": found.missed},
        {
            "named": thinned(found.declared_by, size.repetitions),
            "missed": thinned(found.missed_by, size.repetitions),
        },
    )


def _peeked(rule: Rule | CriticalValue, size: Size, progress: Progress) -> Result:
    looks = _QUICK_LOOKS if size.is_quick else _PEEKING.looks
    found = judged(replace(_PEEKING, looks=looks), rule, size, progress)
    return Result(
        size.repetitions,
        {
            "peeked": Proportion(found.declared_by[_PEEKS - 1], size.repetitions),
            "named": found.declared,
        },
        {"named": thinned(found.declared_by, size.repetitions)},
    )


def judged(traffic: Traffic, rule: Rule | CriticalValue, size: Size, progress: Progress) -> Outcome:
    """Return what a rule does, of ours or of others; all see the same data."""
    if isinstance(rule, Rule):
        return stopping.run(traffic, rule, size.repetitions, _SEED, progress)
    return critical_values.run(traffic, rule, size.repetitions, _SEED, progress)
