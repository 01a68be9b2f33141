"""Cells of tallies: integers of any size, in canonical order, so equal cells give equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from schemas.catalogue import STATE_BYTES
from schemas.codec import Codec, Record
from streams.model.dimensions import MAX_DIMENSIONS, MAX_INDEX, Slice
from streams.model.errors import EventError, InvalidParameterError
from streams.model.ids import experiment_id, experiment_number
from streams.model.integers import integer, integer_bytes
from streams.tallies.bins import BIN_FIELDS
from streams.tallies.cell import (
    CELL_COUNTS,
    METRIC_FIELDS,
    PRODUCT_FIELDS,
    VARIANT_FIELDS,
    Cell,
    SliceTally,
    Source,
    VariantTally,
)
from streams.tallies.cohorts import MIN_CONVERSION_WINDOW_S, Cohort
from streams.tallies.fields import FieldTable, compiled
from streams.tallies.heavy_units import HeavyUnit
from streams.tallies.pair_sums import pack_pairs, unpack_pairs
from streams.tallies.periods import FINEST_SHIFT, PERIOD_FIELDS, Period
from streams.wire.records import (
    SINGLE_OBJECT,
    check_range,
    event_errors,
    member,
    read,
)

_BY_VARIANT = ("excluded", "offered")
_LONGEST_WINDOW_S = 1 << 31
_MAX_BIN = 1 << 20
_SHIFTS = 63  # a period is as long as a 64-bit time at most


def encode_cell(cell: Cell, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of a cell: variants by index, metrics and products by name."""
    record = {
        "experiment_id": experiment_id(cell.experiment),
        "source": cell.source.value,
        "partition": cell.partition,
        "last_offset": cell.last_offset,
        **{name: getattr(cell, name) for name in CELL_COUNTS},
        "voids": [{"reason": reason, "units": n} for reason, n in sorted(cell.voids.items())],
        "outside": [{"reason": reason, "requests": n} for reason, n in cell.outside.items()],
        "heavy": [{**each._asdict(), "unit": integer_bytes(each.unit)} for each in cell.heavy],
        "variants": _variant_records(cell.variants),
        "cohorts": [
            {"window": window_s, "number": number, "variants": _variant_records(variants)}
            for (window_s, number), variants in sorted(cell.cohorts.items())
        ],
        "slices": [
            {
                "dimension": dimension,
                "value": value,
                "excluded": tally.excluded,
                "offered": tally.offered,
                "variants": _variant_records(tally.variants),
            }
            for (dimension, value), tally in sorted(cell.slices.items())
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
            last_offset=record["last_offset"],
            variants=_variants(record),
            voids={each["reason"]: each["units"] for each in record["voids"]},
            outside={each["reason"]: each["requests"] for each in record["outside"]},
            heavy=tuple(
                HeavyUnit(**{**each, "unit": integer(each["unit"], "unit")})
                for each in record["heavy"]
            ),
            cohorts={_cohort(each): _variants(each) for each in record["cohorts"]},
            slices={
                _slice(each): SliceTally(
                    _variants(each), tuple(each["excluded"]), tuple(each["offered"])
                )
                for each in record["slices"]
            },
            **{name: record[name] for name in CELL_COUNTS if name not in _BY_VARIANT},
            excluded=tuple(record["excluded"]),
            offered=tuple(record["offered"]),
        )


def _variant_records(variants: Mapping[int, VariantTally]) -> list[Record]:
    return [_variant_record(index, tally) for index, tally in sorted(variants.items())]


def _variants(record: Record) -> dict[int, VariantTally]:
    return {variant["index"]: _variant(variant) for variant in record["variants"]}


def _cohort(record: Record) -> Cohort:
    return Cohort(
        check_range(record["window"], MIN_CONVERSION_WINDOW_S, _LONGEST_WINDOW_S, "window"),
        check_range(record["number"], -1, 1 << _SHIFTS, "number"),
    )


def _slice(record: Record) -> Slice:
    return Slice(
        check_range(record["dimension"], 0, MAX_DIMENSIONS, "dimension"),
        check_range(record["value"], 0, MAX_INDEX + 1, "value"),
    )


def _variant_record(index: int, tally: VariantTally) -> Record:
    return {
        "index": index,
        **_variant_sums(tally),
        "metrics": [
            {"name": name, **_metric_record(metric)}
            for name, metric in sorted(tally.metrics.items())
        ],
        "products": [
            {"first": first, "second": second, **_product_record(product)}
            for (first, second), product in sorted(tally.products.items())
        ],
        "periods": [
            {"shift": shift, "number": number, **_period_record(each)}
            for (shift, number), each in sorted(tally.periods.items())
        ],
        "bins": [
            {
                "name": name,
                "bins": [
                    {"number": number, **_bin_record(each)} for number, each in sorted(bins.items())
                ],
            }
            for name, bins in sorted(tally.bins.items())
        ],
        "assigned": tally.assigned,
    }


def _variant(record: Record) -> VariantTally:
    return VARIANT_FIELDS.new(
        *_variant_values(record),
        {
            metric["name"]: METRIC_FIELDS.new(*_metric_values(metric))
            for metric in record["metrics"]
        },
        {
            (each["first"], each["second"]): PRODUCT_FIELDS.new(*_product_values(each))
            for each in record["products"]
        },
        {
            _period(period): PERIOD_FIELDS.new(*_period_values(period))
            for period in record["periods"]
        },
        {
            metric["name"]: {
                check_range(each["number"], 0, _MAX_BIN, "number"): BIN_FIELDS.new(
                    *_bin_values(each)
                )
                for each in metric["bins"]
            }
            for metric in record["bins"]
        },
        record["assigned"],
    )


def _period(record: Record) -> Period:
    return Period(
        check_range(record["shift"], FINEST_SHIFT, _SHIFTS, "shift"),
        check_range(record["number"], 0, 1 << _SHIFTS, "number"),
    )


def _writer(table: FieldTable[Any]) -> Callable[[Any], Record]:
    """Return a function that gives the sums and entries of a tally by name.

    Counts stand in a record as they are, and integers of any size as bytes.
    """
    each_of = "[to_bytes(x) for x in {0}]".format
    formats = [
        (each.name, "t.{0}")
        if each.is_count
        else (each.name, each_of("unpack_pairs(t.{0})") if each.is_by_pair else "to_bytes(t.{0})")
        for each in table.sums
    ]
    lists = {
        (True, False): "t.{0}",
        (False, False): each_of("t.{0}"),
        (False, True): "[[to_bytes(x) for x in unpack_pairs(y)] for y in t.{0}]",
    }
    formats += [(each.name, lists[each.are_counts, each.are_by_pair]) for each in table.entries]
    items = [f"{name!r}: {text.format(name)}" for name, text in formats]
    return compiled(
        "t", [f"return {{{', '.join(items)}}}"], to_bytes=integer_bytes, unpack_pairs=unpack_pairs
    )


def _reader(table: FieldTable[Any]) -> Callable[[Record], list[Any]]:
    """Return a function that gives the sums and entries in a record, in the order of the table."""
    one, by_pair = "integer(r[{0!r}], {0!r})", "pairs(r[{0!r}], {0!r})"
    lists = {
        (True, False): "tuple(r[{0!r}])",
        (False, False): "tuple([integer(x, {0!r}) for x in r[{0!r}]])",
        (False, True): "tuple([pairs(x, {0!r}) for x in r[{0!r}]])",
    }
    formats = [
        (each.name, "r[{0!r}]" if each.is_count else by_pair if each.is_by_pair else one)
        for each in table.sums
    ]
    formats += [(each.name, lists[each.are_counts, each.are_by_pair]) for each in table.entries]
    values = [text.format(name) for name, text in formats]
    return compiled("r", [f"return [{', '.join(values)}]"], integer=integer, pairs=_pairs)


def _pairs(sums: list[bytes], path: str) -> int:
    """Return sums by pair as one integer."""
    if not sums:
        return 0
    try:
        return pack_pairs([integer(each, path) for each in sums])
    except InvalidParameterError as error:
        raise EventError("OUT_OF_RANGE", str(error), path) from error


_metric_record, _metric_values = _writer(METRIC_FIELDS), _reader(METRIC_FIELDS)
_product_record, _product_values = _writer(PRODUCT_FIELDS), _reader(PRODUCT_FIELDS)
_variant_sums, _variant_values = _writer(VARIANT_FIELDS), _reader(VARIANT_FIELDS)
_period_record, _period_values = _writer(PERIOD_FIELDS), _reader(PERIOD_FIELDS)
_bin_record, _bin_values = _writer(BIN_FIELDS), _reader(BIN_FIELDS)
