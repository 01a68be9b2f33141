"""Features in the folds, by hand; `test_oracle` and `test_crashes` of the folds take any."""

import pytest

from streams.fold.impressions import ImpressionFold
from streams.fold.observations import ObservationFold
from streams.model.events import ImpressionBatch, ImpressionGroup, Observation, ObservationBatch
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.model.vectors import pack
from streams.tallies.linear import LinearSums
from tests.streams.fold.batches import fold_batch

KEYRING = Keyring({1: bytes(32)})
HALF = PROPENSITY_ONE // 2
NOW_MS = 1_000_000
MOBILE, OLD, UNKNOWN = ((0, 1024), (1, 1024)), ((0, 1024), (2, -512)), ((0, 1024),)


def group(*rows, repeatable=False):
    """Make a group of rows (variant, unit, vector)."""
    variants, units, vectors = ([*column] for column in zip(*rows, strict=True))
    n = len(rows)
    features = [pack(vector) for vector in vectors]
    return ImpressionGroup(
        1, repeatable, variants, [HALF] * n, [3] * n, [NOW_MS] * n, units, (), features
    )


def observation(vector, value=MICRO, unit=1, variant=0, event_id=None, metric="click"):
    receipt = Receipt(1, variant, HALF, 3, NOW_MS, unit, 0)
    return Observation(
        KEYRING.sign(receipt._replace(features=pack(vector))), metric, value, event_id
    )


def gram(*vectors):
    sums = LinearSums()
    for vector in vectors:
        sums.add_unit(vector)
    return sums.freeze().gram


def variants_of(fold):
    [cell] = fold.take_changes().cells
    return cell.variants


def test_features_of_impressions_are_added_by_variant():
    fold = ImpressionFold(0)
    rows = [(0, 1, MOBILE), (0, 2, MOBILE), (0, 3, OLD), (1, 4, OLD), (1, 5, UNKNOWN)]

    assert not fold_batch(fold, 0, ImpressionBatch(9, 0, 0, [group(*rows)]))

    found = variants_of(fold)
    assert found[0].gram == gram(MOBILE, MOBILE, OLD)
    assert found[1].gram == gram(OLD, UNKNOWN)
    assert (found[0].units, found[1].units) == (3, 2)


def test_a_unit_that_comes_again_is_added_once():
    fold = ImpressionFold(0)
    again = group((0, 1, MOBILE), (0, 2, OLD), (0, 1, MOBILE), repeatable=True)

    for offset in range(2):
        fold_batch(fold, offset, ImpressionBatch(9, 0, offset, [again]))
    fold_batch(fold, 2, ImpressionBatch(9, 0, 1, [again]))

    assert variants_of(fold)[0].gram == gram(MOBILE, OLD)


def test_values_are_added_in_the_context_of_their_receipt():
    """A click on a phone, two clicks and a repetition of an old one, and one of an unknown unit."""
    fold = ObservationFold(0, KEYRING)
    events = [
        observation(MOBILE),
        observation(OLD, unit=2, event_id="a"),
        observation(OLD, unit=2, event_id="b"),
        observation(OLD, unit=2, event_id="b"),
        observation(UNKNOWN, unit=3),
        observation(MOBILE, -5 * MICRO, metric="refund"),
    ]

    assert not fold_batch(fold, 0, ObservationBatch(events), NOW_MS)

    metrics = variants_of(fold)[0].metrics
    assert metrics["click"].total == 4 * MICRO
    assert metrics["click"].moment == (3 * 1024 * MICRO, 1024 * MICRO, 2 * -512 * MICRO)
    assert metrics["refund"].moment == (-5 * 1024 * MICRO, -5 * 1024 * MICRO)


@pytest.mark.parametrize("packed", [b"\x01", b"\x00\x04\x00", b"\x01\x00\x00", b"\x40\x04\x00"])
def test_what_is_no_vector_is_refused_and_counts_nothing(packed):
    impressions, observations = ImpressionFold(0), ObservationFold(0, KEYRING)
    good = group((0, 1, MOBILE))
    bad = ImpressionGroup(1, False, [0], [HALF], [3], [NOW_MS], [1], (), [packed])
    text = KEYRING.sign(Receipt(1, 0, HALF, 3, NOW_MS, 1, 0, features=packed))

    [refusal] = fold_batch(impressions, 0, ImpressionBatch(9, 0, 0, [bad, good]))
    [refused] = fold_batch(
        observations, 0, ObservationBatch([Observation(text, "click", 1)]), NOW_MS
    )

    assert (refusal.index, refusal.error.code) == (0, "MALFORMED_FEATURES")
    assert refused.error.code in {"MALFORMED_FEATURES", "MALFORMED_RECEIPT"}
    assert variants_of(impressions)[0].units == 1
    assert not observations.take_changes().cells


def test_features_of_another_length_than_the_other_columns_are_refused():
    rows = ImpressionGroup(1, False, [0, 0], [HALF] * 2, [3] * 2, [5, 6], [1, 2], (), [b""])

    [refusal] = ImpressionFold(0).fold(0, ImpressionBatch(9, 0, 0, [rows]))

    assert refusal.error.code == "COLUMNS_DIFFER"
