"""Folds of any log against oracles that forget nothing."""

import pytest
from hypothesis import given

from tests.streams.fold.logs import (
    HOURS,
    impression_fold,
    impression_records,
    observation_fold,
    observation_records,
    run,
)
from tests.streams.fold.oracle import naive_impressions, naive_observations

pytestmark = pytest.mark.usefixtures("small_bounds")


@given(observation_records())
def test_observations_are_what_the_oracle_counts(records):
    fold, _ = run(observation_fold(), records)

    assert [repr(cell) for cell in fold.take_changes().cells] == [
        repr(cell) for cell in naive_observations(records)
    ]


@given(impression_records())
def test_impressions_are_what_the_oracle_counts(records):
    fold, _ = run(impression_fold(), records)

    assert [repr(cell) for cell in fold.take_changes().cells] == [
        repr(cell) for cell in naive_impressions([batch for (batch,) in records])
    ]


@given(observation_records(86_400, HOURS))
def test_what_is_forgotten_is_refused_and_never_counted_twice(records):
    """Every observation is counted, a duplicate, refused, or in a repeated batch: never more."""
    tight, _ = run(observation_fold(6), records)
    wide = {
        cell.experiment: cell for cell in run(observation_fold(), records)[0].take_changes().cells
    }

    for cell in tight.take_changes().cells:
        for variant, tally in cell.variants.items():
            for name, metric in tally.metrics.items():
                most = wide[cell.experiment].variants[variant].metrics[name]
                assert metric.observations <= most.observations
