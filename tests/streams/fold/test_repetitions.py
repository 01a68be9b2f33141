"""Records, batches and assignments that come again."""

from streams.fold.impressions import ImpressionFold
from streams.fold.observations import ObservationFold
from streams.model.events import ImpressionBatch, ObservationBatch
from tests.streams.fold.batches import fold_batch
from tests.streams.fold.builders import HALF, KEYRING, NOW_MS, group, observation


def test_a_user_counts_once_for_every_variant_whatever_the_times_of_the_receipts():
    fold = ImpressionFold(0)
    twice = group((0, HALF, 50, 1), (0, HALF, 50, 1), (1, HALF, 50, 2), repeatable=True)
    later = group((0, HALF, 60, 1), (1, HALF, 70, 1), repeatable=True)

    fold_batch(fold, 0, ImpressionBatch(9, 0, 0, [twice]))
    fold_batch(fold, 1, ImpressionBatch(9, 0, 1, [later]))
    fold_batch(fold, 2, ImpressionBatch(9, 0, 2, [later]))

    (cell,) = fold.take_changes().cells
    assert {index: tally.units for index, tally in cell.variants.items()} == {0: 1, 1: 2}
    assert cell.last_offset == 1


def test_without_event_ids_every_record_counts_and_a_repeated_batch_does_not():
    fold = ObservationFold(0, KEYRING)
    single = ObservationBatch([observation(1)])
    numbered = ObservationBatch([observation(1), observation(1)], incarnation=4, sequence=0)

    for offset, batch in enumerate([single, single, numbered, numbered]):
        assert not fold_batch(fold, offset, batch, NOW_MS)

    (cell,) = fold.take_changes().cells
    assert cell.variants[0].metrics["click"].observations == 4
    assert cell.last_offset == 2
    assert fold.last_offset == 3


def test_a_record_that_was_folded_or_skipped_is_passed_by():
    impressions, observations = ImpressionFold(0), ObservationFold(0, KEYRING)
    impressions.skip(5)
    observations.skip(5)
    impressions.skip(3)

    for offset in (4, 5):
        fold_batch(impressions, offset, ImpressionBatch(9, 0, offset, [group((0, HALF, 5, 1))]))
        fold_batch(observations, offset, ObservationBatch([observation(1)]), NOW_MS)

    assert impressions.last_offset == 5
    for fold in (impressions, observations):
        changes = fold.take_changes()
        assert not changes.cells
        assert changes.progress.last_offset == 5
