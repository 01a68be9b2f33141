"""The table of variants: units, means, both intervals, and a status of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dashboard.views.facts import ExperimentFacts
from dashboard.views.text import count, lift, percent, probability
from streams.experiments.statistics.variant_report import AgainstControl
from streams.experiments.stats_response import VariantStats

COLORS = 8
"""Variants with a distinct color; further ones are gray, hollow and dashed."""


@dataclass(frozen=True, slots=True)
class VariantRow:
    """A row of the table.

    Attributes:
        index: Index of the variant.
        id, name: Of the variant.
        is_control, is_active: As in the statistics.
        units: Units assigned, or exposed where these count.
        mean, mean_range: Posterior mean of the primary metric and its credible interval.
        probability_best: Posterior probability that its mean is the best.
        traffic: Share of the units that it gets now.
        share: The same in percent, for a bar.
        difference, relative, credible, sequence: Against the control; empty of the control, and
            `relative` also where the control may be 0 or less.
        status: Verdict against the control, by the sequence alone; empty of the control.
        tone: Of the status: `better`, `worse` or `open`.
    """

    index: int
    id: str
    name: str
    is_control: bool
    is_active: bool
    units: str
    mean: str
    mean_range: str
    probability_best: str
    traffic: str
    share: str
    difference: str = ""
    relative: str = ""
    credible: str = ""
    sequence: str = ""
    status: str = ""
    tone: str = "open"


def variant_rows(facts: ExperimentFacts) -> list[VariantRow]:
    """Return a row for each variant, in the order of the definition."""
    return [_row(facts, index) for index in range(len(facts.stats.variants))]


def counted_units(stats: VariantStats) -> int:
    """Return the units of a variant that count: exposed ones where exposures count."""
    return stats.assignments if stats.exposures is None else stats.exposures


def distinct(facts: ExperimentFacts, indices: Iterable[int]) -> set[int]:
    """Return the variants that are distinguished: the control, the leader, the most probable."""
    variants, evidence = facts.stats.variants, facts.evidence
    leader = None if evidence is None else evidence.leader
    order = sorted(
        indices,
        key=lambda each: (
            each != facts.control,
            each != leader,
            -variants[each].stats.probability_best,
        ),
    )
    return set(order[:COLORS])


def colors(facts: ExperimentFacts) -> tuple[str, ...]:
    """Return the classes that color the variants, by index.

    The color of a place in the definition stays with it while it is distinguished, so that few
    colors change with the ranks; the others take colors that are free.
    """
    n_variants = len(facts.stats.variants)
    chosen = distinct(facts, range(n_variants))
    free = iter([color for color in range(COLORS) if color not in chosen])
    found = []
    for index in range(n_variants):
        color = index if index < COLORS else next(free) if index in chosen else None
        found.append(f"v{color}" if index in chosen else "vx")
    return tuple(found)


def verdict(facts: ExperimentFacts, metric: str, against: AgainstControl) -> tuple[str, str]:
    """Return the verdict on a variant and its tone, by the confidence sequence alone."""
    lower, upper = against.sequence_lower, against.sequence_upper
    if facts.is_decrease(metric):
        lower, upper = (
            None if upper is None else -upper,
            None if lower is None else -lower,
        )
    if lower is not None and lower > 0:
        return "Better", "better"
    if upper is not None and upper < 0:
        return "Worse", "worse"
    if lower is None and upper is None:
        return "Too early", "open"
    return "Not decided", "open"


def _row(facts: ExperimentFacts, index: int) -> VariantRow:
    variant, scale = facts.stats.variants[index], facts.scale
    stats = variant.stats
    report = stats.metrics.get(facts.metric)
    width = None if stats.lower is None or stats.upper is None else stats.upper - stats.lower
    row = {
        "index": index,
        "id": variant.id,
        "name": variant.name,
        "is_control": variant.is_control,
        "is_active": variant.is_active,
        "units": count(counted_units(stats)),
        "mean": scale.value(stats.mean, width),
        "mean_range": (
            "no values yet"
            if stats.lower is None or stats.upper is None
            else f"{scale.value(stats.lower, width)} to {scale.value(stats.upper, width)}"
        ),
        "probability_best": probability(stats.probability_best) if variant.is_active else "–",
        "traffic": percent(stats.allocation),
        "share": f"{100 * stats.allocation:.2f}%",
    }
    against = None if report is None else report.against_control
    if against is None:
        return VariantRow(**row)  # type: ignore[arg-type]
    status, tone = verdict(facts, facts.metric, against)
    spread = against.difference_upper - against.difference_lower
    has_sequence = against.sequence_lower is not None or against.sequence_upper is not None
    return VariantRow(
        **row,  # type: ignore[arg-type]
        difference=scale.difference(against.difference, spread),
        relative="" if against.relative is None else lift(against),
        credible=scale.interval(against.difference_lower, against.difference_upper),
        sequence=(
            scale.interval(against.sequence_lower, against.sequence_upper)
            if has_sequence
            else "too early to decide"
        ),
        status=status,
        tone=tone,
    )
