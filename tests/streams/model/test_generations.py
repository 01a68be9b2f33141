"""Changes of generations, in whatever order operators ask for them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.model.generations import ChangeKind, GenerationChange, Generations


def made(*changes: tuple[int, str]) -> Generations:
    generations = Generations()
    for offset, (number, kind) in enumerate(changes):
        generations = generations.after(offset, GenerationChange(number, ChangeKind(kind), 0))
    return generations


def test_the_first_is_served_until_the_log_says_otherwise():
    assert (made().active, made().epoch, made().next) == (1, 0, 2)
    assert made((2, "started")).active == 1


def test_a_switch_there_and_back_and_the_numbers_left():
    generations = made((2, "started"), (2, "served"), (3, "started"), (1, "served"))

    assert (generations.active, generations.epoch) == (1, 4)
    assert (generations.next, generations.kept) == (4, [1, 2, 3])


def test_a_dropped_number_is_never_used_again():
    generations = made((2, "started"), (2, "dropped"), (2, "served"), (2, "started"))

    assert (generations.active, generations.kept, generations.next) == (1, [1], 3)


def test_the_active_one_cannot_be_dropped():
    generations = made((2, "served"), (2, "dropped"), (1, "dropped"))

    assert (generations.active, generations.kept) == (2, [2])


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([*ChangeKind]))))
def test_the_active_one_is_always_there_and_epochs_only_grow(changes):
    generations, epoch = Generations(), 0
    for offset, (number, kind) in enumerate(changes):
        before = generations
        generations = generations.after(offset, GenerationChange(number, kind, 0))
        assert generations.active in generations.kept
        assert (generations.epoch > epoch) == (generations.active != before.active)
        epoch = generations.epoch
