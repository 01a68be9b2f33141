"""Cost of folding one event, without Kafka: `python -m benchmarks.fold`.

Every observation has its own receipt and event id, as the clicks of an ads pipeline have;
impressions come in the batches of the API, large and small. After each batch the changes are
taken, as the worker does before they are written. With a cap and by period they are counted one by
one. Of two variants under moving weights sums by pair are kept; of ten, receipts and batches carry
all weights as well. With features there are three in use of a vector of eight, as under a
contextual policy; with covariates each of two variants has a number that no other unit has. Prints
the median and the best of the rounds, in microseconds of processor time per event. `--profile` adds
where it goes.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from schemas.codec import Codec
from streams.fold.impressions import ImpressionFolding
from streams.fold.observations import ObservationFolding
from streams.fold.records import Folding
from streams.model.events import ImpressionBatch, ImpressionGroup, Observation
from streams.model.partitioning import partition_of
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import pack_propensities
from streams.model.vectors import FEATURE_ONE, INTERCEPT, Vector, pack
from streams.tallies.plan import PeriodPlan, Plan, PlanOf, plain
from streams.wire.batch_tags import sealer
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import decode_observations, encode_observation

NOW_MS = 1_760_000_000_000
PARTITIONS = 4
EXPERIMENTS = 100
VARIANTS = 4
IMPRESSIONS = 500
FEW_IMPRESSIONS = 24  # of a turn of the API's event loop with 32 callers who assign one by one
EXPERIMENTS_OF_BATCH = 10
PROPENSITIES = tuple(PROPENSITY_ONE * share // 16 for share in range(1, 9))
ATTRIBUTION_S = 7 * 86_400
LIMIT = 10_000_000
KEYS = Keyring({1: bytes(range(32))})
MICRO = 1_000_000
CAPPED, BY_PERIOD, OF_TWO, OF_TEN = ", capped", ", by period", ", two variants", ", ten variants"
FEATURES, FIXED, COVARIATES = ", features", ", covariates fixed", ", covariates"
DECLARED = frozenset({"click", "revenue"})
PLANS: dict[str, PlanOf] = {
    "": plain,
    CAPPED: lambda _: Plan(caps={"revenue": 500 * MICRO}),
    BY_PERIOD: lambda _: Plan(by_period=PeriodPlan("click", VARIANTS)),
    OF_TWO: lambda _: Plan(declared=DECLARED, n_variants=2),
    OF_TEN: lambda _: Plan(declared=DECLARED, n_variants=10),
    FEATURES: plain,
    FIXED: lambda _: Plan(has_covariates=True),
    COVARIATES: lambda _: Plan(
        declared=DECLARED, n_variants=2, has_covariates=True, weighted_covariates=3
    ),
}
N_VARIANTS = {OF_TWO: 2, OF_TEN: 10, FIXED: 2, COVARIATES: 2}


@dataclass(frozen=True, slots=True)
class Logged:
    """A record as folding sees it, and its key in the topic."""

    offset: int
    timestamp: int
    value: bytes
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds per event.

    Attributes:
        name: What was measured.
        median, best: Over the rounds.
    """

    name: str
    median: float
    best: float


def weights_of(variant: int, propensity: int, n_variants: int) -> bytes:
    """Return packed weights among which one variant has its propensity, and others the rest."""
    others = (PROPENSITY_ONE - propensity) // (n_variants - 1)
    return pack_propensities(
        [propensity if each == variant else others for each in range(n_variants)]
    )


def features_of(unit: int) -> bytes:
    """Return packed features of a unit: a few values of three, which many have."""
    drawn = [(place, FEATURE_ONE) for place in (1 + unit % 3, 4 + unit // 3 % 3, 7)]
    return pack(INTERCEPT + tuple(drawn))


def covariate_of(unit: int) -> bytes:
    """Return a packed covariate of a unit, which few others have."""
    vector: Vector = (*INTERCEPT, (1, 1 + unit % FEATURE_ONE))
    return pack(vector)


def nothing_of(_unit: int) -> bytes:
    """Return the features of a unit of which nothing is known."""
    return b""


FEATURES_OF: dict[str, Callable[[int], bytes]] = {
    FEATURES: features_of,
    FIXED: covariate_of,
    COVARIATES: covariate_of,
}


def observations(
    count: int,
    seed: int = 0,
    n_variants: int = VARIANTS,
    features: Callable[[int], bytes] = nothing_of,
) -> list[Logged]:
    """Return records of single Avro observations of partition 0, no two of one unit.

    Those of other than `VARIANTS` have the weights of all of them.
    """
    draw = random.Random(seed)
    records: list[Logged] = []
    while (number := len(records)) < count:
        at_ms = NOW_MS + number
        experiment, variant = draw.randrange(EXPERIMENTS), draw.randrange(n_variants)
        propensity = draw.choice(PROPENSITIES)
        receipt = KEYS.sign(
            Receipt(
                experiment,
                variant,
                propensity,
                1,
                at_ms,
                unit := draw.getrandbits(64),
                ATTRIBUTION_S,
                weights_of(variant, propensity, n_variants) if n_variants != VARIANTS else b"",
                features(unit),
            )
        )
        if partition_of(receipt.encode(), PARTITIONS):
            continue
        metric = "click" if number % 10 else "revenue"
        value = MICRO if number % 10 else number % 997 * 10_000
        event = f"evt-{draw.getrandbits(64):016x}"
        observation = Observation(receipt, metric, value, event, at_ms + 5)
        records.append(
            Logged(number, at_ms + 50, encode_observation(observation), receipt.encode())
        )
    return records


def impressions(
    count: int,
    size: int = IMPRESSIONS,
    n_variants: int = VARIANTS,
    features: Callable[[int], bytes] = nothing_of,
) -> list[Logged]:
    """Return records of batches of `size` impressions, each batch of ten experiments at most."""
    draw = random.Random(size)
    records = []
    for number in range(count // size):
        at_ms = NOW_MS + number
        first = draw.randrange(EXPERIMENTS)
        units: dict[int, list[int]] = {}
        for _ in range(size):
            experiment = (first + draw.randrange(EXPERIMENTS_OF_BATCH)) % EXPERIMENTS
            units.setdefault(experiment, []).append(draw.getrandbits(64))
        groups = [
            ImpressionGroup(
                experiment,
                False,
                variants := [unit % n_variants for unit in found],
                propensities := [PROPENSITIES[unit >> 2 & 7] for unit in found],
                [1] * len(found),
                [at_ms] * len(found),
                found,
                features=[features(unit) for unit in found] if features is not nothing_of else (),
                weights=[
                    weights_of(variant, propensity, n_variants)
                    for variant, propensity in zip(variants, propensities, strict=True)
                ]
                if n_variants != VARIANTS
                else (),
            )
            for experiment, found in units.items()
        ]
        # A sender numbers its batches separately for every partition.
        partition, sequence = number % PARTITIONS, number // PARTITIONS
        batch = ImpressionBatch(1, partition, sequence, groups)
        value = sealer(KEYS)("impressions", 0, encode_impression_batch(batch))  # read there
        records.append(Logged(number, at_ms, value))
    return records


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    codec = Codec()
    clicks = observations(arguments.events)
    batches = impressions(arguments.events * 4)
    costs = [
        cost
        for name, events, run in _runs(arguments.events, arguments.batch, clicks, batches)
        for cost in _costs(name, events, [list(run()) for _ in range(arguments.rounds)])
    ]
    if arguments.json:
        print(json.dumps([asdict(cost) for cost in costs]))
    else:
        for cost in costs:
            print(f"{cost.name:40} {cost.median:7.2f} us  best {cost.best:6.2f}")
    if arguments.profile:
        profile = cProfile.Profile()
        counting = ObservationFolding(codec, KEYS, LIMIT, plain, PARTITIONS)
        profile.runcall(lambda: list(_fold(counting, clicks, arguments.batch)))
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def _runs(
    count: int, size: int, clicks: Sequence[Logged], batches: Sequence[Logged]
) -> Iterator[tuple[str, int, Callable[[], Iterator[float]]]]:
    """Yield the name, the number of events and the timed run of what is measured.

    Records of other plans are made when it is their turn, and dropped after it: the collector of
    Python visits all records that are held, and so what the others cost depends on their number.

    Args:
        count: Observations of one plan; four times as many impressions.
        size: Observations that are folded together.
        clicks, batches: Records of observations and of impressions of plans without features.
    """
    codec = Codec()
    texts = [decode_observations(click.value).observations[0] for click in clicks]
    yield (
        "decode alone, one by one",
        len(clicks),
        lambda: _timed(lambda: [decode_observations(click.value, codec) for click in clicks]),
    )
    yield (
        "check the receipt alone, one by one",
        len(clicks),
        lambda: _timed(lambda: [KEYS.open(text.assignment_id) for text in texts]),  # type: ignore[union-attr]
    )
    for measured, plan_of in PLANS.items():
        counting = ObservationFolding(codec, KEYS, LIMIT, plan_of, PARTITIONS)
        assigning = ImpressionFolding(codec, KEYS, LIMIT, plan_of)
        seen, assigned = clicks, batches
        if measured in N_VARIANTS or measured in FEATURES_OF:
            n_variants = N_VARIANTS.get(measured, VARIANTS)
            features = FEATURES_OF.get(measured, nothing_of)
            seen = observations(count, n_variants=n_variants, features=features)
            assigned = impressions(count * 4, n_variants=n_variants, features=features)
        yield f"observation{measured}", len(seen), partial(_fold, counting, seen, size)
        if measured != CAPPED:  # impressions have no values
            units = len(assigned) * IMPRESSIONS
            yield f"impression{measured}", units, partial(_fold, assigning, assigned, 20)
    few = impressions(count, FEW_IMPRESSIONS)
    assigning = ImpressionFolding(codec, KEYS, LIMIT, plain)
    yield (
        "impression, batches of 24",
        len(few) * FEW_IMPRESSIONS,
        partial(_fold, assigning, few, 20 * IMPRESSIONS // FEW_IMPRESSIONS),
    )


def _timed(run: Callable[[], object]) -> Iterator[float]:
    start = time.process_time()
    run()
    yield time.process_time() - start


def _fold(folding: Folding[Any], records: Sequence[Logged], size: int) -> Iterator[float]:
    """Yield the seconds of folding all records, and of taking the changes after every batch."""
    fold = folding.new_fold(0)
    folding_s = taking_s = 0.0
    for start in range(0, len(records), size):
        batch = records[start : start + size]
        began = time.process_time()
        refused = folding.fold(fold, batch).refused
        folded = time.process_time()
        fold.take_changes()
        folding_s += folded - began
        taking_s += time.process_time() - folded
        if refused:
            raise AssertionError(refused[0])
    yield folding_s
    yield taking_s


def _costs(name: str, events: int, rounds: Sequence[Sequence[float]]) -> Iterator[Cost]:
    """Yield the cost of every phase, and of all together if there are several."""
    phases = [*zip(*rounds, strict=True)]
    if len(phases) == 1:
        yield _cost(name, phases[0], events)
        return
    yield _cost(f"{name}: decode, verify, fold", phases[0], events)
    yield _cost(f"{name}: take what changed", phases[1], events)
    yield _cost(f"{name}: all", [sum(seconds) for seconds in rounds], events)


def _cost(name: str, seconds: Sequence[float], events: int) -> Cost:
    scale = MICRO / events
    return Cost(name, statistics.median(seconds) * scale, min(seconds) * scale)


if __name__ == "__main__":
    main()
