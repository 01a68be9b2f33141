"""Small bounds, for tests of any log."""

import pytest

from streams.fold import buckets, segments


@pytest.fixture(scope="module")
def small_bounds():
    """Make what happens once in a million events happen within a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "MAX_ENTRIES", 2)
        patch.setattr(buckets, "_SLACK", 4)
        patch.setattr(buckets, "_SEGMENT_COST", 1)
        yield
