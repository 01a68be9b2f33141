"""Cells of tallies: integers of any size, in canonical order, so equal cells give equal bytes."""

from __future__ import annotations

from schemas.catalogue import STATE_BYTES
from schemas.codec import Codec, Record
from streams.model.ids import experiment_id, experiment_number
from streams.model.integers import integer, integer_bytes
from streams.tallies.cell import Cell, MetricTally, ProductTally, Source, VariantTally
from streams.tallies.periods import FINEST_SHIFT, Period, PeriodTally
from streams.wire.records import (
    SINGLE_OBJECT,
    check_range,
    event_errors,
    member,
    read,
)

_SHIFTS = 63  # a period is as long as a 64-bit time at most


def encode_cell(cell: Cell, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of a cell: variants by index, metrics and products by name."""
    record = {
        "experiment_id": experiment_id(cell.experiment),
        "source": cell.source.value,
        "partition": cell.partition,
        "hw": cell.hw,
        "first_at_ms": cell.first_at_ms,
        "last_at_ms": cell.last_at_ms,
        "duplicates": cell.duplicates,
        "unremembered": cell.unremembered,
        "crossed_units": cell.crossed_units,
        "most_events": cell.most_events,
        "full_units": cell.full_units,
        "variants": [
            _variant_record(index, tally) for index, tally in sorted(cell.variants.items())
        ],
    }
    return codec.encode("tally_cell", record)


def decode_cell(value: bytes | None, codec: Codec = SINGLE_OBJECT) -> Cell:
    """Return the cell in a Kafka record.

    Raises:
        EventError: the record cannot be read, or a field is invalid.
    """
    record = read("tally_cell", value, codec, STATE_BYTES)
    with event_errors():
        return Cell(
            experiment=experiment_number(record["experiment_id"]),
            source=member(Source, record["source"], "source"),
            partition=record["partition"],
            hw=record["hw"],
            first_at_ms=record["first_at_ms"],
            last_at_ms=record["last_at_ms"],
            duplicates=record["duplicates"],
            variants={variant["index"]: _variant(variant) for variant in record["variants"]},
            unremembered=record["unremembered"],
            crossed_units=record["crossed_units"],
            most_events=record["most_events"],
            full_units=record["full_units"],
        )


def _variant_record(index: int, tally: VariantTally) -> Record:
    return {
        "index": index,
        "units": tally.units,
        "weight": integer_bytes(tally.weight),
        "weight_squared": integer_bytes(tally.weight_squared),
        "metrics": [_metric_record(name, metric) for name, metric in sorted(tally.metrics.items())],
        "gram": [integer_bytes(entry) for entry in tally.gram],
        "overlap": integer_bytes(tally.overlap),
        "overlap_squared": integer_bytes(tally.overlap_squared),
        "products": [
            {
                "first": first,
                "second": second,
                "total": integer_bytes(product.total),
                "weighted_total": integer_bytes(product.weighted_total),
                "overlap_total": integer_bytes(product.overlap_total),
            }
            for (first, second), product in sorted(tally.products.items())
        ],
        "periods": [
            {
                "shift": period.shift,
                "number": period.number,
                "units": each.units,
                "units_with_value": each.units_with_value,
                "total": integer_bytes(each.total),
                "total_squared": integer_bytes(each.total_squared),
                "arrivals": each.arrivals,
                "positive_units": each.positive_units,
            }
            for period, each in sorted(tally.periods.items())
        ],
    }


def _metric_record(name: str, tally: MetricTally) -> Record:
    return {
        "name": name,
        "units": tally.units,
        "observations": tally.observations,
        "total": integer_bytes(tally.total),
        "total_squared": integer_bytes(tally.total_squared),
        "weighted_total": integer_bytes(tally.weighted_total),
        "weighted_total_squared": integer_bytes(tally.weighted_total_squared),
        "moment": [integer_bytes(entry) for entry in tally.moment],
        "overlap_total": integer_bytes(tally.overlap_total),
        "overlap_cross": integer_bytes(tally.overlap_cross),
        "overlap_total_squared": integer_bytes(tally.overlap_total_squared),
        "weighted_cross": integer_bytes(tally.weighted_cross),
        "binary_observations": tally.binary_observations,
        "positive_units": tally.positive_units,
        "surplus_weighted_total": integer_bytes(tally.surplus_weighted_total),
        "surplus_weighted_cross": integer_bytes(tally.surplus_weighted_cross),
        "surplus_overlap_total": integer_bytes(tally.surplus_overlap_total),
        "surplus_overlap_cross": integer_bytes(tally.surplus_overlap_cross),
        "positive_moment": [integer_bytes(entry) for entry in tally.positive_moment],
    }


def _variant(record: Record) -> VariantTally:
    return VariantTally(
        units=record["units"],
        weight=integer(record["weight"], "weight"),
        weight_squared=integer(record["weight_squared"], "weight_squared"),
        metrics={metric["name"]: _metric(metric) for metric in record["metrics"]},
        gram=_integers(record, "gram"),
        overlap=integer(record["overlap"], "overlap"),
        overlap_squared=integer(record["overlap_squared"], "overlap_squared"),
        products={
            (product["first"], product["second"]): ProductTally(
                integer(product["total"], "total"),
                integer(product["weighted_total"], "weighted_total"),
                integer(product["overlap_total"], "overlap_total"),
            )
            for product in record["products"]
        },
        periods={
            _period(period): PeriodTally(
                period["units"],
                period["units_with_value"],
                integer(period["total"], "total"),
                integer(period["total_squared"], "total_squared"),
                tuple(period["arrivals"]),
                period["positive_units"],
            )
            for period in record["periods"]
        },
    )


def _period(record: Record) -> Period:
    return Period(
        check_range(record["shift"], FINEST_SHIFT, _SHIFTS, "shift"),
        check_range(record["number"], 0, 1 << _SHIFTS, "number"),
    )


def _metric(record: Record) -> MetricTally:
    return MetricTally(
        units=record["units"],
        observations=record["observations"],
        total=integer(record["total"], "total"),
        total_squared=integer(record["total_squared"], "total_squared"),
        weighted_total=integer(record["weighted_total"], "weighted_total"),
        weighted_total_squared=integer(record["weighted_total_squared"], "weighted_total_squared"),
        overlap_total=integer(record["overlap_total"], "overlap_total"),
        overlap_cross=integer(record["overlap_cross"], "overlap_cross"),
        overlap_total_squared=integer(record["overlap_total_squared"], "overlap_total_squared"),
        weighted_cross=integer(record["weighted_cross"], "weighted_cross"),
        binary_observations=record["binary_observations"],
        positive_units=record["positive_units"],
        surplus_weighted_total=integer(record["surplus_weighted_total"], "surplus_weighted_total"),
        surplus_weighted_cross=integer(record["surplus_weighted_cross"], "surplus_weighted_cross"),
        surplus_overlap_total=integer(record["surplus_overlap_total"], "surplus_overlap_total"),
        surplus_overlap_cross=integer(record["surplus_overlap_cross"], "surplus_overlap_cross"),
        positive_moment=_integers(record, "positive_moment"),
        moment=_integers(record, "moment"),
    )


def _integers(record: Record, name: str) -> tuple[int, ...]:
    return tuple([integer(entry, name) for entry in record[name]])
