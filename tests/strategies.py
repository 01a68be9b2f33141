"""Any value of every record of the product, generated from the fields of its type.

`of_type` gives each field a strategy by its type alone, so a field that a record gains is generated
without a change here; `DOMAINS` narrows those whose values are bounded, and a field that it names
and the type does not have is an error. `tests/test_strategies.py` checks that every record is here
and that each of its fields takes more than its default.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from streams.experiments.definition import ExperimentDefinition, parse_definition
from streams.experiments.history import Change, HistoryEntry
from streams.experiments.lifecycle import Experiment
from streams.experiments.promotion_state import Promotion
from streams.experiments.schedule import ScheduleEvent
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.dimension_report import (
    DimensionReport,
    SliceMetric,
    SliceVariant,
    ValueReport,
)
from streams.experiments.time_points import PointVariant, TimePoint
from streams.fold.stored import StoredExperiment
from streams.model.authors import Origin
from streams.model.dimensions import MAX_DIMENSIONS, Slice
from streams.model.events import (
    Answer,
    Command,
    DeadLetter,
    Decision,
    ImpressionBatch,
    ImpressionGroup,
    Observation,
    ObservationBatch,
    OutsideRequests,
)
from streams.model.generations import GenerationChange
from streams.model.receipts import Receipt
from streams.model.schema_levels import LevelsChange
from streams.model.webhooks import WebhookProgressRecord, WebhookRecord
from streams.tallies.bins import BinTally
from streams.tallies.cell import Cell, MetricTally, ProductTally, SliceTally, VariantTally
from streams.tallies.cohorts import Cohort
from streams.tallies.heavy_units import HeavyUnit
from streams.tallies.pair_sums import pack_pairs
from streams.tallies.periods import Period, PeriodTally

T = TypeVar("T")


def bits(n: int) -> SearchStrategy[int]:
    """Return all integers of n bits."""
    return st.integers(0, (1 << n) - 1)


counts = bits(40)
times = bits(48)
sums = st.integers(-(2**300), 2**300)
texts = st.text(max_size=8)
objects = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
    max_size=4,
)

_BY_TYPE: Mapping[Any, SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: counts,
    float: st.floats(allow_nan=False),
    str: texts,
    bytes: st.binary(max_size=8),
    types.NoneType: st.none(),
}


_BY_NAME: Mapping[str, SearchStrategy[Any]] = {
    "leader": bits(8),
    "partition": bits(31),
    "variant": bits(8),
    "weights": st.lists(bits(16), max_size=3).map(tuple),
    "winner": st.none() | bits(8),
}
"""Fields that mean the same in every record, and have 32 bits or less."""


def of_type(hint: Any) -> SearchStrategy[Any]:
    """Return the values of a type.

    Raises:
        TypeError: there is no rule for it.
    """
    if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or hasattr(hint, "_fields")):
        return records(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if hint in _BY_TYPE:
        return _BY_TYPE[hint]
    kind, arguments = get_origin(hint), get_args(hint)
    if kind in {typing.Union, types.UnionType}:
        return st.one_of(*map(of_type, arguments))
    if kind is tuple and arguments[1:] == (Ellipsis,):
        return st.lists(of_type(arguments[0]), max_size=3).map(tuple)
    if kind is tuple:
        return st.tuples(*map(of_type, arguments))
    if kind in {list, Sequence}:
        return st.lists(of_type(arguments[0]), max_size=3)
    if kind in {dict, Mapping}:
        return st.dictionaries(of_type(arguments[0]), of_type(arguments[1]), max_size=3)
    raise TypeError(f"there is no strategy for {hint}")


def field_names(cls: type) -> tuple[str, ...]:
    """Return the names of the fields that a record is made of."""
    if dataclasses.is_dataclass(cls):
        return tuple(field.name for field in dataclasses.fields(cls) if field.init)
    return tuple(typing.cast(Any, cls)._fields)  # of a named tuple


def records(cls: type[T], **chosen: SearchStrategy[Any]) -> SearchStrategy[T]:
    """Return records of a type, with every field generated.

    Args:
        cls: A dataclass or a named tuple.
        chosen: Strategies of some fields, instead of those of `DOMAINS`, and of their names and
            types.

    Raises:
        TypeError: a field has no strategy, or a strategy no field.
    """
    names, hints = field_names(cls), get_type_hints(cls)
    chosen = DOMAINS.get(cls, {}) | chosen
    if unknown := chosen.keys() - set(names):
        raise TypeError(f"{cls.__name__} has no {', '.join(sorted(unknown))}")
    known = {**_BY_NAME, **chosen}
    return st.builds(
        cls, **{name: known[name] if name in known else of_type(hints[name]) for name in names}
    )


_BY_PAIR = st.lists(st.integers(-(2**240), 2**240), max_size=3).map(pack_pairs)


def _numbers(cls: type, *, counted: Sequence[str]) -> dict[str, SearchStrategy[Any]]:
    """Return sums of either sign for the numbers of a tally, except those that are counts."""
    hints = get_type_hints(cls)
    return {
        name: counts if name in counted else _BY_PAIR if "overlap" in name else sums
        for name in field_names(cls)
        if hints[name] is int
    }


def _definition(name: str, **config: Any) -> ExperimentDefinition:
    return parse_definition(
        {
            "name": name,
            "type": "epsilon_greedy",
            "primaryMetric": "click",
            "trafficAllocation": 1 / 3,
            "parameters": {"epsilon": 0.1},
            **config,
        },
        [
            {"name": "A", "isControl": True, "config": {"z": [1, None, {"a": 0.1}], "b": "ü"}},
            {"name": "B", "config": {}},
        ],
    )


# Weights of all variants, of none, three and sixteen.
_PACKED = st.sampled_from([b"", b"\x10 \x20", bytes(16)])
_DIMENSIONS = st.binary(max_size=MAX_DIMENSIONS)


def _column(element: SearchStrategy[Any], size: int, *, is_optional: bool = False) -> Any:
    column = st.lists(element, min_size=size, max_size=size)
    return st.just([]) | column if is_optional else column


def _impression_groups(size: int) -> SearchStrategy[ImpressionGroup]:
    return records(
        ImpressionGroup,
        experiment=bits(64),
        variants=_column(bits(16), size),
        propensities=_column(st.integers(1, 2**32), size),
        allocation_versions=_column(times, size),
        assigned_at_ms=_column(times, size),
        units=_column(bits(64), size),
        contexts=_column(st.sampled_from(['{"device":"mobile"}', "{}"]), size, is_optional=True),
        features=_column(st.integers(0, 3).map(lambda n: bytes(3 * n)), size, is_optional=True),
        weights=_column(_PACKED, size, is_optional=True),
        dimensions=_column(_DIMENSIONS, size, is_optional=True),
    )


_DEFINITIONS = st.sampled_from([_definition("Héro"), _definition("Banner", minSampleSize=9)])
_SEQUENCE = {"incarnation": bits(64), "sequence": bits(63)}
_WEBHOOK_IDS = st.from_regex(r"wh_[a-z2-7]{26}", fullmatch=True)
_VERSIONS = st.dictionaries(st.sampled_from(["snapshot", "command", "later"]), st.integers(0, 9))

DOMAINS: dict[type, dict[str, SearchStrategy[Any]]] = {}
"""Strategies of the fields whose values are bounded more closely than by their type."""

DOMAINS |= {
    MetricTally: {
        **_numbers(
            MetricTally,
            counted=(
                "units",
                "observations",
                "binary_observations",
                "positive_units",
            ),
        ),
        "moment": st.lists(sums, max_size=4).map(tuple),
        "positive_moment": st.lists(sums, max_size=4).map(tuple),
        "overlap_moment": st.lists(_BY_PAIR, max_size=4).map(tuple),
    },
    ProductTally: _numbers(ProductTally, counted=()),
    BinTally: _numbers(BinTally, counted=("units",)),
    PeriodTally: _numbers(PeriodTally, counted=("units", "units_with_value", "positive_units")),
    Period: {"shift": st.integers(18, 40), "number": counts},
    VariantTally: {
        **_numbers(VariantTally, counted=("units",)),
        "assigned": counts,
        "gram": st.lists(sums, max_size=4).map(tuple),
        "overlap_features": st.lists(_BY_PAIR, max_size=4).map(tuple),
        "overlap_gram": st.lists(_BY_PAIR, max_size=4).map(tuple),
        "bins": st.dictionaries(
            texts,
            st.dictionaries(bits(12), st.deferred(lambda: records(BinTally)), max_size=1),
            max_size=1,
        ),
    },
    TimePoint: {"experiment": bits(64), "at_ms": times},
    PointVariant: {"weight": bits(16)},
    Cell: {
        "experiment": bits(64),
        "last_offset": bits(63),
        "variants": st.dictionaries(
            bits(16), st.deferred(lambda: records(VariantTally)), max_size=3
        ),
        "cohorts": st.dictionaries(
            st.builds(Cohort, st.integers(60, 1 << 25), st.integers(-1, 1 << 40)),
            st.dictionaries(
                bits(16), st.deferred(lambda: records(VariantTally)), min_size=1, max_size=2
            ),
            max_size=2,
        ),
    },
    HeavyUnit: {"unit": bits(64)},
    DimensionReport: {
        "values": st.lists(st.deferred(lambda: records(ValueReport)), min_size=1, max_size=1).map(
            tuple
        )
    },
    ValueReport: {
        "variants": st.lists(
            st.deferred(lambda: records(SliceVariant)), min_size=1, max_size=1
        ).map(tuple)
    },
    SliceVariant: {
        "metrics": st.dictionaries(
            texts, st.deferred(lambda: records(SliceMetric)), min_size=1, max_size=1
        )
    },
    Slice: {"dimension": st.integers(0, MAX_DIMENSIONS - 1), "value": bits(8)},
    SliceTally: {
        "variants": st.dictionaries(
            bits(16), st.deferred(lambda: records(VariantTally)), max_size=1
        ),
    },
}
_PRINTABLE = st.characters(codec="utf-8", categories=("L", "N", "S"))
_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)

DOMAINS |= {
    Origin: {
        "author": st.text(_PRINTABLE, max_size=256),
        "reason": st.text(_PRINTABLE, max_size=500),
    },
    HistoryEntry: {
        "changes": st.lists(
            st.builds(Change, texts, _JSON_VALUES, _JSON_VALUES)
            | st.builds(Change, texts, is_omitted=st.just(True)),
            max_size=3,
        ).map(tuple)
    },
    Command: {
        "command_id": st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
        "experiment": bits(64),
        "payload": objects,
        "expected_version": st.none() | st.integers(1, 2**63 - 1),
    },
    Decision: {"experiment": bits(64), "evidence": objects},
    DeadLetter: {
        "offset": bits(63),
        "index": bits(31),
        "timestamp_ms": st.integers(-1, 2**63 - 1),
        "count": bits(31),
        "ranges": st.lists(st.tuples(bits(31), bits(31)), max_size=3).map(tuple),
        "value_sha256": st.none() | st.binary(min_size=32, max_size=32),
    },
    GenerationChange: {"generation": st.integers(1, 1_000_000)},
    LevelsChange: {"versions": _VERSIONS},
    WebhookRecord: {"webhook_id": _WEBHOOK_IDS, "definition": objects},
    WebhookProgressRecord: {"webhook_id": _WEBHOOK_IDS, "progress": objects},
    Observation: {
        "assignment_id": st.text(min_size=1, max_size=512),
        "metric": st.from_regex(r"[A-Za-z][A-Za-z0-9_.:\-]{0,63}", fullmatch=True),
        "value": st.integers(-(10**15), 10**15),
        "event_id": st.none() | st.text(min_size=1, max_size=256),
        "observed_at_ms": st.none() | times,
    },
    ImpressionBatch: {
        **_SEQUENCE,
        "groups": st.lists(st.integers(0, 6).flatmap(_impression_groups), max_size=4),
        "outside": st.lists(
            st.builds(
                OutsideRequests,
                bits(64),
                st.from_regex(r"[A-Z_]{1,40}", fullmatch=True),
                st.integers(1, (1 << 48) - 1),
            ),
            max_size=3,
        ).map(tuple),
    },
    Receipt: {
        "weights": _PACKED,
        "features": st.sampled_from([b"", bytes(3), bytes(96)]),
        "dimensions": _DIMENSIONS,
        "experiment": bits(64),
        "variant": bits(16),
        "propensity": st.integers(1, 1 << 32),
        "allocation_version": times,
        "assigned_at_ms": times,
        "unit": bits(64),
        "attribution_window_s": bits(32),
    },
    Snapshot: {
        "dimensions": st.lists(st.deferred(lambda: records(DimensionReport)), max_size=1).map(tuple)
    },
    Promotion: {"control_weight": st.integers(1, 32_768)},
    Experiment: {
        "number": bits(64),
        "definition": _DEFINITIONS,
        "peak_traffic": st.floats(0.0, 1.0),
    },
    ScheduleEvent: {"traffic_allocation": st.none() | st.floats(0.0, 1.0)},
    Answer: {"command_id": st.from_regex(r"[0-9a-f]{32}", fullmatch=True)},
}

observations = records(Observation)
observation_batches = st.builds(
    lambda members, sender: ObservationBatch(members, *sender),
    st.lists(observations, max_size=5),
    st.just((None, None)) | st.tuples(*_SEQUENCE.values()),  # a sender has both, or none
)

RECORDS: dict[type, SearchStrategy[Any]] = {
    **{
        cls: records(cls)
        for cls in (
            Cell,
            Command,
            DeadLetter,
            Decision,
            GenerationChange,
            ImpressionBatch,
            LevelsChange,
            WebhookRecord,
            WebhookProgressRecord,
            Observation,
            Receipt,
            Snapshot,
            StoredExperiment,
            TimePoint,
        )
    },
    ObservationBatch: observation_batches,
}
"""Any record of each type that is written somewhere."""
