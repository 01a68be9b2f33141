"""Cells counted naively: lists of everything, counted at the end."""

from collections import Counter, defaultdict
from itertools import zip_longest
from typing import Any

from streams.model.quantities import MICRO, inverse_propensity
from streams.model.variant_weights import NOT_ELIGIBLE, overlap_weights
from streams.model.vectors import unpack
from streams.tallies.cell import Cell, MetricTally, Source, VariantTally
from streams.tallies.pair_sums import pack_pairs
from tests.streams.fold.builders import KEYRING, plan_of


def naive_observations(records):
    """Return the cells of observations that nothing forgets."""
    seen, batches, values = set(), set(), defaultdict(list)
    last_offset: dict[int, int] = {}
    times: defaultdict[int, list[int]] = defaultdict(list)
    duplicates: defaultdict[int, int] = defaultdict(int)
    for offset, (batch, timestamp_ms) in enumerate(records):
        if batch.sequence is not None:
            if (batch.incarnation, batch.sequence) in batches:
                continue
            batches.add((batch.incarnation, batch.sequence))
        for each in batch.observations:
            text, metric = each.assignment_id, each.metric
            experiment = KEYRING.verify(text).experiment
            event = (text, metric, each.event_id)
            last_offset[experiment] = offset
            if each.event_id is not None and event in seen:
                duplicates[experiment] += 1
                continue
            seen.add(event)
            values[text, metric].append(each.value)
            times[experiment].append(each.observed_at_ms or timestamp_ms)
    variants: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for (text, metric), unit_values in values.items():
        claims = KEYRING.verify(text)
        of_pairs = (
            ()
            if metric != "click"
            else overlaps_of(claims.experiment, *claims[1:3], claims.weights)
        )
        weights = inverse_propensity(claims.propensity), of_pairs
        variants[claims.experiment][claims.variant][metric].append((*weights, unit_values))
    return [
        Cell(
            experiment,
            Source.OBSERVATIONS,
            0,
            last_offset[experiment],
            min(times[experiment]),
            max(times[experiment]),
            duplicates[experiment],
            {
                variant: VariantTally(
                    metrics={
                        metric: MetricTally(
                            units=len(units),
                            observations=sum(len(unit) for _, _, unit in units),
                            total=sum(sum(unit) for _, _, unit in units),
                            total_squared=sum(sum(unit) ** 2 for _, _, unit in units),
                            weighted_total=sum(w * sum(unit) for w, _, unit in units),
                            weighted_total_squared=sum(
                                (w * sum(unit)) ** 2 for w, _, unit in units
                            ),
                            overlap_total=by_pair((sum(unit), v) for _, v, unit in units),
                            overlap_cross=by_pair(
                                (sum(unit), squares_of(v)) for _, v, unit in units
                            ),
                            overlap_total_squared=by_pair(
                                (sum(unit) ** 2, squares_of(v)) for _, v, unit in units
                            ),
                            weighted_cross=sum(w * w * sum(unit) for w, _, unit in units),
                            total_cubed=sum(sum(unit) ** 3 for _, _, unit in units),
                            moment=naive_moment(values, experiment, variant, metric),
                            **naive_positive(units),
                            positive_moment=naive_moment(
                                values, experiment, variant, metric, worth=lambda x: x > 0
                            ),
                            overlap_moment=naive_overlap_moment(
                                values, experiment, variant, metric
                            ),
                        )
                        for metric, units in sorted(metrics.items())
                    }
                )
                for variant, metrics in sorted(variants[experiment].items())
            },
            most_events=max(
                (
                    len(unit)
                    for metrics in variants[experiment].values()
                    for units in metrics.values()
                    for _, _, unit in units
                    if len(unit) > 1
                ),
                default=0,
            ),
        )
        for experiment in sorted(variants)
    ]


def naive_positive(units):
    """Return what is kept of units above 0, and of what their values are beyond 1."""
    surplus = [(w, v, sum(unit) - MICRO * (sum(unit) > 0)) for w, v, unit in units]
    return {
        "binary_observations": sum(value in (0, MICRO) for _, _, unit in units for value in unit),
        "positive_units": sum(sum(unit) > 0 for _, _, unit in units),
        "surplus_weighted_total": sum(w * x for w, _, x in surplus),
        "surplus_weighted_cross": sum(w * w * x for w, _, x in surplus),
        "surplus_overlap_total": by_pair((x, v) for _, v, x in surplus),
        "surplus_overlap_cross": by_pair((x, squares_of(v)) for _, v, x in surplus),
    }


def overlaps_of(experiment, variant, propensity, weights):
    return overlap_weights(variant, propensity, weights, plan_of(experiment).n_variants)


def squares_of(weights):
    return tuple(weight**2 for weight in weights)


def naive_moment(values, experiment, variant, metric, worth=lambda value: value):
    """Return the sum of vector times value over the receipts with features."""
    rows = [
        (dict(unpack(KEYRING.verify(text).features)), worth(sum(unit_values)))
        for (text, name), unit_values in values.items()
        if KEYRING.verify(text).features
        and KEYRING.verify(text)[:2] == (experiment, variant)
        and name == metric
    ]
    length = max((1 + max(x) for x, _ in rows), default=0)
    return tuple(sum(x.get(i, 0) * value for x, value in rows) for i in range(length))


def naive_overlap_moment(values, experiment, variant, metric):
    """Return the sum by pair of v^2 times vector times value, likewise."""
    if metric != "click" or not plan_of(experiment).weighted_covariates:
        return ()
    rows = [
        (
            dict(unpack(claims.features)),
            sum(unit_values),
            squares_of(overlaps_of(*claims[:3], weights)),
        )
        for (text, name), unit_values in values.items()
        for claims in (KEYRING.verify(text),)
        for weights in (claims.weights,)
        if claims.features and claims[:2] == (experiment, variant) and name == metric
    ]
    length = max((1 + max(x) for x, _, _ in rows), default=0)
    return tuple(by_pair((x.get(i, 0) * value, v) for x, value, v in rows) for i in range(length))


def naive_overlap_covariates(rows, experiment):
    """Return the sums by pair of v times vector, and of v^2 times x x^T, of packed vectors."""
    if not plan_of(experiment).weighted_covariates:
        return (), ()
    known = [(dict(unpack(packed)), v) for packed, v in rows if packed is not None]
    length = max((1 + max(x) for x, _ in known), default=0)
    return (
        tuple(by_pair((x.get(i, 0), v) for x, v in known) for i in range(length)),
        tuple(
            by_pair((x.get(i, 0) * x.get(j, 0), squares_of(v)) for x, v in known)
            for j in range(length)
            for i in range(j + 1)
        ),
    )


def naive_gram(features):
    """Return the upper triangle of the sum of x x^T, by columns."""
    rows = [dict(unpack(packed)) for packed in features]
    length = max((1 + max(x) for x in rows), default=0)
    return tuple(
        sum(x.get(i, 0) * x.get(j, 0) for x in rows) for j in range(length) for i in range(j + 1)
    )


def naive_impressions(records):
    """Return the cells of impressions that nothing forgets."""
    seen, batches, rows, last_offset = set(), set(), defaultdict(list), {}
    naive_repeatable = defaultdict(list)
    for offset, batch in enumerate(records):
        if (batch.incarnation, batch.sequence) in batches:
            continue
        batches.add((batch.incarnation, batch.sequence))
        for each in batch.groups:
            features = each.features or [None] * len(each.units)
            weights = each.weights or [b""] * len(each.units)
            columns = (
                each.variants,
                each.propensities,
                each.assigned_at_ms,
                each.units,
                features,
                weights,
            )
            for row in zip(*columns, strict=True):
                assignment = (each.experiment, row[0], row[3])
                if each.repeatable and assignment in seen:
                    continue
                if each.repeatable:
                    seen.add(assignment)
                    naive_repeatable[each.experiment].append(row)
                rows[each.experiment].append(row)
                last_offset[each.experiment] = offset
    cells = []
    for experiment, mine in sorted(rows.items()):
        variants = {}
        for variant in sorted({row[0] for row in mine}):
            weights = [inverse_propensity(row[1]) for row in mine if row[0] == variant]
            squares = sum(weight**2 for weight in weights)
            features = [row[4] for row in mine if row[0] == variant and row[4] is not None]
            gram = naive_gram(features)
            of_variant = [row for row in mine if row[0] == variant]
            overlaps = [overlaps_of(experiment, variant, row[1], row[5]) for row in of_variant]
            seen_with = zip((row[4] for row in of_variant), overlaps, strict=True)
            variants[variant] = VariantTally(
                len(weights),
                sum(weights),
                squares,
                by_pair((1, each) for each in overlaps),
                by_pair((1, squares_of(each)) for each in overlaps),
                gram,
                *naive_overlap_covariates(seen_with, experiment),
            )
        times = [row[2] for row in mine]
        variants_of = defaultdict(set)
        for row in naive_repeatable[experiment]:
            variants_of[row[3]].add(row[0])
        cells.append(
            Cell(
                experiment,
                Source.IMPRESSIONS,
                0,
                last_offset[experiment],
                min(times),
                max(times),
                0,
                variants,
                crossed_units=sum(len(found) > 1 for found in variants_of.values()),
                offered=naive_offered(experiment, mine),
            )
        )
    return cells


def naive_offered(experiment, rows):
    """Return how many units could be assigned each variant that was added, by its index."""
    n_started = plan_of(experiment).n_variants
    counts = Counter(
        other
        for variant, propensity, _, _, _, packed in rows
        if overlaps_of(experiment, variant, propensity, packed)
        for other in range(n_started, len(packed))
        if packed[other] != NOT_ELIGIBLE
    )
    return tuple(counts[other] for other in range(max(counts, default=-1) + 1))


def by_pair(rows):
    """Return the sums by pair of rows (factor, weights); 0 where no weights are known."""
    known = [[factor * weight for weight in weights] for factor, weights in rows if weights]
    return pack_pairs(map(sum, zip_longest(*known, fillvalue=0)))  # some of added variants
