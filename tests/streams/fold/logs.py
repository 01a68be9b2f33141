"""Logs of anything that may come, from a small world in which much of it comes twice."""

from hypothesis import strategies as st

from streams.fold.impressions import ImpressionFold
from streams.fold.observations import ObservationFold
from streams.model.events import EXPOSED, EXPOSURE, ImpressionBatch, Observation, ObservationBatch
from streams.model.quantities import MICRO
from streams.model.receipts import Receipt
from streams.model.variant_weights import pack_weights
from streams.model.vectors import pack
from streams.tallies.plan import Plan
from tests.streams.fold.batches import fold_batch
from tests.streams.fold.builders import (
    HALF,
    KEYRING,
    NOW_MS,
    PACKED,
    QUARTER,
    codes,
    group,
    plan_of,
)

NOW = st.just(NOW_MS)
HOURS = st.integers(0, 40).map(lambda hour: NOW_MS + hour * 3_600_000)
FEATURES = st.sampled_from(
    [pack(vector) for vector in (((0, 1024),), ((0, 1024), (2, -512)), ((0, 1024), (1, 3)))]
)
EXCHANGED = pack_weights((16_384, 32_768, 16_384))
CHANCES = st.sampled_from(
    [
        (0, HALF, b""),
        (0, HALF, PACKED),
        (0, QUARTER, EXCHANGED),
        (1, HALF, EXCHANGED),
        (1, QUARTER, b""),
        (1, QUARTER, PACKED),
    ]
)


def texts(window_s, hours):
    receipts = st.builds(
        lambda chance, experiment, at_ms, unit, features: Receipt(
            experiment, chance[0], chance[1], 3, at_ms, unit, window_s, chance[2], features
        ),
        CHANCES,
        st.integers(1, 2),
        hours,
        st.integers(1, 2),
        st.just(b"") | FEATURES,
    )
    return receipts.map(KEYRING.sign)


def observation_records(window_s=0, hours=NOW):
    some = st.builds(
        Observation,
        texts(window_s, hours),
        st.sampled_from(["click", "revenue"]),
        st.integers(-3, 3) | st.sampled_from([MICRO, -MICRO]),
        st.none() | st.sampled_from("ab"),
        st.none() if window_s else st.none() | st.integers(NOW_MS, NOW_MS + 9),
    )
    batches = st.builds(ObservationBatch, st.lists(some, max_size=4)) | st.builds(
        ObservationBatch, st.lists(some, max_size=4), st.integers(1, 2), st.integers(0, 4)
    )
    return st.lists(st.tuples(batches, hours), max_size=16)


def exposure_records():
    """Return exposures and voids of a few units, and observations before and after them."""
    times = st.sampled_from([NOW_MS + second * 1_000 for second in (0, 10, 70, 86_400)])
    exposed = st.builds(
        Observation,
        texts(86_400, NOW),
        st.sampled_from([EXPOSURE] * 5 + ["$void.bot"]),
        st.just(EXPOSED),
        st.none(),
        times,
    )
    observed = st.builds(
        Observation,
        texts(86_400, NOW),
        st.sampled_from(["click", "revenue", "any"]),
        st.sampled_from([0, MICRO, 3 * MICRO]),
        st.none() | st.sampled_from("ab"),
        times,
    )
    batches = st.builds(ObservationBatch, st.lists(exposed | observed, max_size=4))
    return st.lists(st.tuples(batches, NOW), max_size=16)


def impression_records():
    rows = st.builds(
        lambda chance, at_ms, unit: (*chance[:2], at_ms, unit, b"", chance[2]),
        CHANCES,
        st.integers(NOW_MS, NOW_MS + 2),
        st.integers(1, 2),
    )
    with_features = st.tuples(rows, FEATURES).map(lambda row: (*row[0][:4], row[1], row[0][5]))
    groups = st.builds(
        lambda some, experiment, repeatable: group(
            *some, experiment=experiment, repeatable=repeatable
        ),
        st.lists(rows, min_size=1, max_size=4) | st.lists(with_features, min_size=1, max_size=4),
        st.integers(1, 2),
        st.booleans(),
    )
    batches = st.builds(
        ImpressionBatch,
        st.integers(1, 2),
        st.just(0),
        st.integers(0, 6),
        st.lists(groups, max_size=2),
    )
    return st.lists(batches.map(lambda batch: (batch,)), max_size=16)


def observation_fold(limit=1_000_000):
    return lambda: ObservationFold(0, KEYRING, limit=limit, plan_of=plan_of)


def exposure_fold(limit):
    plan = Plan(
        pairs=(("click", "revenue"),),
        declared=frozenset({"click", "revenue"}),
        windows={"click": 60, "revenue": 60},
        by_exposure=True,
    )
    return lambda: ObservationFold(0, KEYRING, limit=limit, plan_of=lambda _: plan)


def impression_fold(limit=1_000_000):
    return lambda: ImpressionFold(0, limit=limit, plan_of=plan_of)


KINDS = {
    "impressions": (impression_records(), impression_fold()),
    "few impressions remembered": (impression_records(), impression_fold(3)),
    "observations": (observation_records(), observation_fold()),
    "observations of a day": (observation_records(86_400, HOURS), observation_fold()),
    "few observations remembered": (observation_records(86_400, HOURS), observation_fold(6)),
    "few observations without a limit": (observation_records(), observation_fold(4)),
    "exposures": (exposure_records(), exposure_fold(9)),
}


def run(make, records):
    fold, refused = make(), []
    for offset, record in enumerate(records):
        refused.append(codes(fold_batch(fold, offset, *record)))
    return fold, refused


def state(fold):
    """Return all that decides what a fold will answer from here on."""
    changes = fold.take_changes()
    return (
        changes.progress,
        [repr(cell) for cell in sorted(fold.cells, key=lambda cell: cell.experiment)],
        {
            experiment: (ledger.window.horizon, ledger.window.buckets)
            for experiment, ledger in fold._ledgers.items()
            if ledger.builder.cell is not None
        },
        {
            experiment: ledger.openers
            for experiment, ledger in fold._ledgers.items()
            if ledger.builder.cell is not None
        },
    )
