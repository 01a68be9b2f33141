"""Folds that crash at any point and start again from what a changelog has kept."""

from enum import Enum
from random import Random

from hypothesis import strategies as st

from tests.streams.fold.batches import fold_batch
from tests.streams.fold.builders import codes


class End(Enum):
    """Ending of a batch."""

    WELL = 0
    BEFORE_PROGRESS = 1  # any part of the changes survives
    AFTER_PROGRESS = 2


PLANS = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from(End), st.integers(0, 1 << 32)), max_size=12
)


class Store:
    """Content of a changelog: as the engine, it removes what is forgotten one batch later."""

    def __init__(self):
        self.progress = None
        self.cells = {}
        self.segments = {}
        self.forgotten: tuple[str, ...] = ()

    def write(self, changes, survives=lambda: True):
        for key in self.forgotten:
            if survives():
                self.segments.pop(key, None)
        for cell in changes.cells:
            known = self.cells.get(cell.experiment)
            if survives() and (known is None or known.last_offset <= cell.last_offset):
                self.cells[cell.experiment] = cell
        for segment in changes.segments:
            if survives():
                self.segments[segment.key] = segment

    def finish(self, changes):
        self.progress = changes.progress
        self.forgotten = changes.forgotten

    def start(self, make):
        self.forgotten = ()
        fold = make()
        fold.restore(self.progress, self.cells.values(), self.segments.values())
        return fold


def run_through_crashes(make, records, plan):
    """Run in batches, each of which ends as its step of the plan says; later ones end well.

    Returns the fold, what is in the store, and the refusals by offset.
    """
    store, steps = Store(), iter(plan)
    refused: dict[int, list[tuple[int, str]]] = {}
    fold = store.start(make)
    while fold.last_offset < len(records) - 1:
        size, end, seed = next(steps, (3, End.WELL, 0))
        for offset in range(fold.last_offset + 1, min(fold.last_offset + 1 + size, len(records))):
            answer = codes(fold_batch(fold, offset, *records[offset]))
            assert refused.setdefault(offset, answer) == answer
        changes = fold.take_changes()
        if end is End.BEFORE_PROGRESS:
            chance = Random(seed)
            store.write(changes, lambda chance=chance: chance.random() < 0.5)
        else:
            store.write(changes)
            store.finish(changes)
        if end is not End.WELL:
            fold = store.start(make)
    return fold, store, refused
