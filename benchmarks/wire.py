"""Cost of encoding and decoding one record: `python benchmarks/wire.py`.

Prints the best of seven runs, in microseconds of processor time, and the size in bytes.
"""

from __future__ import annotations

import json
import time
import timeit
from collections.abc import Callable
from io import BytesIO

from fastavro import schemaless_reader

from schemas import library
from schemas.codec import Codec
from streams.model.events import ImpressionBatch, ImpressionGroup, Observation, ObservationBatch
from streams.model.quantities import PROPENSITY_ONE
from streams.tallies.cell import Cell, MetricTally, Source
from streams.tallies.weights import weighted
from streams.wire.cells import decode_cell, encode_cell
from streams.wire.impressions import decode_impression_batch, encode_impression_batch
from streams.wire.observations import (
    decode_observations,
    encode_observation,
    encode_observation_batch,
)

IMPRESSIONS = 500
OBSERVATIONS = 500
CLICK = Observation("A" * 75, "click", 1_000_000, "e" * 20, 1_760_000_000_000)
JSON = json.dumps(
    {
        "assignmentId": CLICK.assignment_id,
        "metric": CLICK.metric,
        "value": 1,
        "eventId": CLICK.event_id,
        "timestamp": CLICK.observed_at_ms,
    }
).encode()
BATCH = ObservationBatch([CLICK] * OBSERVATIONS, 1, 0)
GROUP = ImpressionGroup(
    1,
    False,
    [1] * IMPRESSIONS,
    [2**31] * IMPRESSIONS,
    [10_000] * IMPRESSIONS,
    [1_760_000_000_000] * IMPRESSIONS,
    [2**63 + 1] * IMPRESSIONS,
)
PLAIN = MetricTally(10**6, 10**6, 10**12, 10**18)
VALUES = weighted(0, {"click": PLAIN, "revenue": PLAIN}, PROPENSITY_ONE // 3)
CELL = Cell(
    *(1, Source.OBSERVATIONS, 0, 10**6, 0, 1, 0),
    dict.fromkeys(range(3), VALUES),
)


def main() -> None:
    """Measure and print."""
    codec = Codec()
    single = encode_observation(CLICK)
    impressions = encode_impression_batch(ImpressionBatch(1, 0, 0, [GROUP]))
    batch, cell = encode_observation_batch(BATCH), encode_cell(CELL)
    schema = library.current("observation").parsed
    _show("fastavro alone, one observation", single, lambda: _body(single, schema))
    _show("+ header and checks of the codec", single, lambda: codec.decode(single))
    _show("+ bounds and typed event", single, lambda: decode_observations(single))
    _show("the same in JSON", JSON, lambda: decode_observations(JSON))
    _show("encode one observation", single, lambda: encode_observation(CLICK))
    _show(
        f"{OBSERVATIONS} observations, each",
        batch,
        lambda: decode_observations(batch),
        OBSERVATIONS,
    )
    _show(
        f"{IMPRESSIONS} impressions, each",
        impressions,
        lambda: decode_impression_batch(impressions),
        IMPRESSIONS,
    )
    _show(
        f"encode {IMPRESSIONS} impressions, each",
        impressions,
        lambda: encode_impression_batch(ImpressionBatch(1, 0, 0, [GROUP])),
        IMPRESSIONS,
    )
    _show("cell of 3 variants, 2 metrics", cell, lambda: decode_cell(cell))
    _show("encode that cell", cell, lambda: encode_cell(CELL))


def _body(value: bytes, schema: dict[str, object]) -> object:
    return schemaless_reader(BytesIO(value[10:]), schema, None)


def _show(name: str, value: bytes, run: Callable[[], object], events: int = 1) -> None:
    timer = timeit.Timer(run, timer=time.process_time)
    rounds = max(1, timer.autorange()[0] // 2)
    seconds = min(timer.repeat(7, rounds)) / rounds / events
    print(f"{name:36} {seconds * 1e6:7.2f} us  {len(value) / events:7.1f} B")


if __name__ == "__main__":
    main()
