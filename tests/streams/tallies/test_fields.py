"""The table of tally fields: everything that handles a tally follows it."""

from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import library
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.variant_weights import pack_weights
from streams.tallies.bins import BIN_FIELDS
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import (
    CELL_COUNTS,
    METRIC_FIELDS,
    PRODUCT_FIELDS,
    VARIANT_FIELDS,
    Cell,
    MetricTally,
    Source,
    VariantTally,
)
from streams.tallies.fields import (
    OF_ONE,
    FieldTable,
    Statistic,
    Weight,
    add_named,
    entries,
    maker_of,
    statistics,
    summed,
    unit_weights,
)
from streams.tallies.periods import PERIOD_FIELDS
from streams.tallies.plan import Plan
from streams.wire.cells import _reader, _writer

TABLES: dict[str, FieldTable[Any]] = {
    "MetricTally": METRIC_FIELDS,
    "ProductTally": PRODUCT_FIELDS,
    "VariantTally": VARIANT_FIELDS,
    "PeriodTally": PERIOD_FIELDS,
    "BinTally": BIN_FIELDS,
}
KEYS = {
    "MetricTally": {"name"},
    "ProductTally": {"first", "second"},
    "VariantTally": {"index", "metrics", "products", "periods", "bins", "assigned"},
    "PeriodTally": {"shift", "number"},
    "BinTally": {"number"},
}


def schemas_of(schema):
    """Return the types of the fields of every record in a schema, by name of the record."""
    found = {}
    if isinstance(schema, dict) and schema.get("type") == "record":
        name = schema["name"].rpartition(".")[2]
        found[name] = {each["name"]: each["type"] for each in schema["fields"]}
        for each in schema["fields"]:
            found |= schemas_of(each["type"])
    elif isinstance(schema, dict) and schema.get("type") == "array":
        found |= schemas_of(schema["items"])
    return found


@pytest.mark.parametrize("name", TABLES)
@given(numbers=st.data())
def test_units_with_one_observation_of_1_add_what_any_units_with_their_statistics_add(
    name, numbers
):
    table, integers = TABLES[name], st.integers(-(2**300), 2**300)
    sums = numbers.draw(st.lists(integers, min_size=len(table.sums), max_size=len(table.sums)))
    weights = numbers.draw(st.lists(integers, min_size=len(Weight), max_size=len(Weight)))

    assert table.plus_ones(sums, weights) == table.plus(sums, OF_ONE, weights)


@pytest.mark.parametrize("name", TABLES)
def test_the_schema_has_every_field_of_the_table_and_no_other(name):
    table = TABLES[name]
    types = schemas_of(library.current("tally_cell").parsed)[name]
    several = {"type": "array", "items": "bytes"}
    expected = {
        each.name: "long" if each.is_count else several if each.is_by_pair else "bytes"
        for each in table.sums
    } | {
        each.name: {
            "type": "array",
            "items": "long" if each.are_counts else several if each.are_by_pair else "bytes",
        }
        for each in table.entries
    }
    assert {each: kind for each, kind in types.items() if each not in KEYS[name]} == expected


def test_the_schema_has_every_count_of_a_cell_and_no_other():
    types = schemas_of(library.current("tally_cell").parsed)["TallyCell"]
    place = {"experiment_id", "source", "partition", "last_offset"}
    named = {"variants", "cohorts", "voids", "outside", "heavy", "slices"}
    assert types.keys() - place - named == CELL_COUNTS.keys()
    by_variant = {"type": "array", "items": "long"}
    listed = {name for name in CELL_COUNTS if types[name] != "long"}
    assert listed == {"excluded", "offered"}
    assert all(types[name] == by_variant for name in listed)
    own = {"experiment", "source", "partition", "last_offset"}
    assert {each.name for each in fields(Cell)} - CELL_COUNTS.keys() == own | named


@dataclass(frozen=True, slots=True)
class More:
    """A metric with one more field, of the values above 0, and one more of entries."""

    units: int = summed(Statistic.UNITS)
    total: int = summed(Statistic.VALUE)
    weighted_units: int = summed(Statistic.UNITS, Weight.INVERSE)
    vector: tuple[int, ...] = entries()

    def __add__(self, other):
        return MORE.new(*MORE.added(self, other))


MORE = FieldTable(More)
numbers = st.integers(-(10**30), 10**30)
mores = st.builds(More, numbers, numbers, numbers, st.lists(numbers, max_size=3).map(tuple))


@given(mores, mores)
def test_a_field_of_the_table_is_added(one, other):
    total = one + other
    for name in ("units", "total", "weighted_units"):
        assert getattr(total, name) == getattr(one, name) + getattr(other, name)
    assert len(total.vector) == max(len(one.vector), len(other.vector))
    assert add_named({"a": one, "b": one}, {"b": other, "c": other}) == {
        "a": one,
        "b": total,
        "c": other,
    }


@given(st.lists(st.tuples(numbers, st.integers(1, PROPENSITY_ONE))))
def test_a_field_of_the_table_is_counted(units):
    """The sums of statistics of one propensity are those over the units, one by one."""
    sums: Sequence[int] = MORE.values(More())
    for value, propensity in units:
        seen = statistics(units=1, observations=1, value=value)
        sums = MORE.plus(sums, seen, unit_weights(0, propensity))
    counted = MORE.new(*sums, ())
    assert counted == More(
        len(units), sum(value for value, _ in units), sum(unit_weights(0, p)[1] for _, p in units)
    )


@given(mores.map(lambda more: replace(more, units=abs(more.units))))
def test_a_field_of_the_table_is_encoded_and_decoded(more):
    record = _writer(MORE)(more)
    assert record.keys() == {"units", "total", "weighted_units", "vector"}
    assert (type(record["units"]), type(record["total"])) == (int, bytes)
    assert MORE.new(*_reader(MORE)(record)) == more


def test_fields_out_of_order_are_refused():
    @dataclass(frozen=True, slots=True)
    class Wrong:
        vector: tuple[int, ...] = entries()
        units: int = summed(Statistic.UNITS)

    with pytest.raises(TypeError, match="order"):
        FieldTable(Wrong)


PACKED = pack_weights((21_845, 21_845, 21_846))
CHANCES = [
    (0, 1, b""),
    (0, PROPENSITY_ONE // 3, b""),
    (0, PROPENSITY_ONE, b""),
    (0, 21_845 << 16, PACKED),
    (1, 21_845 << 16, PACKED),
]
WORTH = {
    Statistic.UNITS: lambda values: 1,
    Statistic.OBSERVATIONS: len,
    Statistic.VALUE: sum,
    Statistic.SQUARE: lambda values: sum(values) ** 2,
    Statistic.BINARY: lambda values: sum(value in (0, MICRO) for value in values),
    Statistic.POSITIVE: lambda values: int(sum(values) > 0),
    Statistic.SURPLUS: lambda values: sum(values) - MICRO * (sum(values) > 0),
    Statistic.CUBE: lambda values: sum(values) ** 3,
}


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([0, MICRO]) | st.integers(-5, 5), min_size=1, max_size=4),
            st.sampled_from(CHANCES),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 7),
    st.sampled_from([2, 3, 17]),
)
def test_every_sum_of_a_metric_is_what_the_table_says(units, every, n_variants):
    """By the definition of statistic and weight, unit by unit, however often a cell is taken."""
    plan = Plan(declared=frozenset({"click"}), n_variants=n_variants)
    builder = CellBuilder(7, Source.OBSERVATIONS, 0, plan=plan)
    offset = 0
    for values, chance in units:
        before = None
        for value in values:
            builder.add_value(offset, (*chance, "click"), before, value, 5)
            before = (before or 0) + value
            offset += 1
            if offset % every == 0:
                builder.freeze()
    builder.freeze()
    assert builder.cell is not None
    tally = sum(
        (variant.metrics["click"] for variant in builder.cell.variants.values()), MetricTally()
    )
    for each in METRIC_FIELDS.sums:
        terms = [
            (WORTH[each.statistic](values), unit_weights(*chance, n_variants)[each.weight])
            for values, chance in units
        ]
        expected = sum(worth * weight for worth, weight in terms)
        assert getattr(tally, each.name) == expected, each.name


@pytest.mark.parametrize("cls", [MetricTally, VariantTally, Cell])
def test_an_instance_is_the_same_as_the_constructors(
    cls: type[MetricTally | VariantTally | Cell],
) -> None:
    values = range(len(fields(cls)))
    made: object = maker_of(cls)(*values)
    assert type(made) is cls
    assert made == cls(*values)
    assert repr(made) == repr(cls(*values))
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(cls)[0].name, 1)


def test_all_fields_must_be_given() -> None:
    with pytest.raises(TypeError):
        maker_of(MetricTally)(1, 2)
