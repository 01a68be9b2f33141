"""Small bounds, for tests of any log."""

import pytest

from streams.fold import deduplication as window
from streams.fold import segments


@pytest.fixture(scope="module")
def small_bounds():
    """Make what happens once in a million events happen within a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "MAX_ENTRIES", 2)
        patch.setattr(window, "_SLACK", 4)
        patch.setattr(window, "_SEGMENT_COST", 1)
        yield
