"""A million assignments of which 30 % are exposed: `python -m benchmarks.exposures`.

They are folded as workers do it, without Kafka, from the records of the API and of a pipeline:
every thirtieth exposure twice, exposures in another order than assignments, every tenth exposed
unit converts, and so does every seventieth of the others, which does not count. Fails unless every
count is exact, and prints microseconds of processor time per event.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.fold import KEYS, LIMIT, Logged
from streams.fold.impressions import ImpressionFolding
from streams.fold.observations import ObservationFolding
from streams.fold.records import Folding
from streams.model.events import EXPOSED, EXPOSURE, ImpressionBatch, ImpressionGroup, Observation
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Receipt
from streams.tallies.cell import Cell
from streams.tallies.merging import merge
from streams.tallies.plan import Plan
from streams.wire.batch_tags import sealer
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation
from streams.wire.records import SINGLE_OBJECT

EXPERIMENT = 7
NOW_MS = 1_760_000_000_000
WINDOW_S = 86_400
BATCH = 500
RECORDS = 5_000
PLAN = Plan(
    caps={"click": MICRO},
    declared=frozenset({"click"}),
    n_variants=2,
    windows={"click": WINDOW_S},
    by_exposure=True,
)


def receipts_of(count: int) -> list[Receipt]:
    """Return the receipts of so many units, a millisecond after each other."""
    draws = random.Random(count)
    return [
        Receipt(
            EXPERIMENT,
            draws.randrange(2),
            PROPENSITY_ONE // 2,
            1,
            NOW_MS + number,
            draws.getrandbits(64),
            WINDOW_S,
        )
        for number in range(count)
    ]


def impressions(receipts: Sequence[Receipt]) -> list[Logged]:
    """Return the records of the assignments."""
    seal, records = sealer(KEYS), []
    for number, start in enumerate(range(0, len(receipts), BATCH)):
        found = receipts[start : start + BATCH]
        group = ImpressionGroup(
            EXPERIMENT,
            repeatable=False,
            variants=[each.variant for each in found],
            propensities=[each.propensity for each in found],
            allocation_versions=[1] * len(found),
            assigned_at_ms=[each.assigned_at_ms for each in found],
            units=[each.unit for each in found],
        )
        value = encode_impression_batch(ImpressionBatch(1, 0, number, [group]))
        records.append(Logged(number, NOW_MS, seal("impressions", 0, value)))
    return records


def observed(receipts: Sequence[Receipt]) -> tuple[list[Logged], Counter[int], Counter[int]]:
    """Return the records of exposures and clicks, and by variant what is to be counted of each."""
    draws = random.Random(1)
    events: list[Observation] = []
    exposed: Counter[int] = Counter()
    clicked: Counter[int] = Counter()
    for number, receipt in enumerate(receipts):
        text = KEYS.sign(receipt)
        click = Observation(text, "click", MICRO, str(number), receipt.assigned_at_ms + 9_000)
        if number % 10 < 3:  # noqa: PLR2004 - 30 %
            exposure = Observation(text, EXPOSURE, EXPOSED, None, receipt.assigned_at_ms + 5_000)
            events += [exposure] * (1 + (number % 100 == 0))
            exposed[receipt.variant] += 1
            if number % 100 < 3:  # noqa: PLR2004 - a tenth of them
                events.append(click)
                clicked[receipt.variant] += 1
        elif number % 100 == 50:  # noqa: PLR2004 - a seventieth of the others
            events.append(click)
    draws.shuffle(events)
    records = [
        Logged(offset, NOW_MS + 10**7, encode_observation(event))
        for offset, event in enumerate(events)
    ]
    return records, exposed, clicked


def folded(folding: Folding[Any], records: Sequence[Logged]) -> tuple[Cell, float]:
    """Return the cell of records, and the processor time in seconds."""
    fold = folding.new_fold(0)
    began_s = time.process_time()
    for start in range(0, len(records), RECORDS):
        result = folding.fold(fold, records[start : start + RECORDS])
        assert not result.refused  # noqa: S101 - a benchmark of what is refused is of no use
        fold.take_changes()
    (cell,) = fold.cells
    return cell, time.process_time() - began_s


def check(count: int) -> dict[str, float]:
    """Fold so many assignments, and return microseconds per event.

    Raises:
        AssertionError: a count is not exact.
    """
    receipts = receipts_of(count)
    logged = impressions(receipts)
    records, exposed, clicked = observed(receipts)
    assigned = Counter(each.variant for each in receipts)
    del receipts
    plan_of = {EXPERIMENT: PLAN}.get
    impression_cell, impression_s = folded(
        ImpressionFolding(SINGLE_OBJECT, KEYS, LIMIT, plan_of), logged
    )
    observation_cell, observation_s = folded(
        ObservationFolding(SINGLE_OBJECT, KEYS, LIMIT, plan_of), records
    )
    tally = merge([impression_cell, observation_cell])
    for variant, found in tally.variants.items():
        click = found.metrics["click"]
        counted = found.assigned, found.units, click.units, click.total
        expected = clicked[variant]
        assert counted == (  # noqa: S101 - what this is about
            assigned[variant],
            exposed[variant],
            expected,
            expected * MICRO,
        ), (variant, counted)
    return {
        "an assignment": 1e6 * impression_s / count,
        "an exposure or observation": 1e6 * observation_s / len(records),
    }


def main() -> None:
    """Print what an event costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assignments", type=int, default=1_000_000)
    count = parser.parse_args().assignments
    for name, cost_us in check(count).items():
        print(f"{name}: {cost_us:.2f} us")
    print(f"{count:,} assignments, 30 % exposed: every count is exact")


if __name__ == "__main__":
    main()
