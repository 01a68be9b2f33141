import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.fold.batch_sequences import MAX_GAPS, MAX_SENDERS, MAX_SEQUENCE, SequenceGuard
from streams.model.errors import EventError

batches = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1), st.integers(0, 12)))


def code_of(guard, *batch):
    with pytest.raises(EventError) as caught:
        guard.admit(*batch)
    return caught.value.code


def test_a_late_batch_is_new_and_a_repeated_one_is_not():
    guard = SequenceGuard()

    answers = [guard.admit(1, 0, sequence) for sequence in (0, 1, 5, 3, 3, 5, 2, 4, 4, 6)]

    assert answers == [True, True, True, True, False, False, True, True, False, True]


@given(batches)
def test_the_guard_answers_as_a_set_of_all_batches_does(some):
    guard, seen = SequenceGuard(), set()

    for batch in some:
        assert guard.admit(*batch) == (batch not in seen)
        seen.add(batch)


@given(batches, batches)
def test_a_decoded_guard_goes_on_as_the_encoded_one(before, after):
    guard = SequenceGuard()
    for batch in before:
        guard.admit(*batch)

    copy = SequenceGuard.decode(guard.encode())

    assert copy == guard
    assert [copy.admit(*batch) for batch in after] == [guard.admit(*batch) for batch in after]
    assert copy == guard


def test_guards_that_decide_differently_differ():
    guard, other = SequenceGuard(), SequenceGuard()
    guard.admit(1, 0, 0)

    assert guard != other
    assert guard != guard.encode()
    assert repr(guard) == "SequenceGuard(1 senders)"


def test_the_sender_silent_for_longest_is_forgotten_first():
    guard = SequenceGuard()
    for incarnation in range(MAX_SENDERS):
        guard.admit(incarnation, 0, 0)
    guard.admit(0, 0, 1)

    guard.admit(MAX_SENDERS, 0, 0)

    assert not guard.admit(0, 0, 0)
    assert not guard.admit(2, 0, 0)
    assert guard.admit(1, 0, 0)


@pytest.mark.parametrize("fill_last", [False, True])
def test_gaps_that_were_given_up_are_refused_and_never_counted(fill_last):
    guard = SequenceGuard()
    for number in range(MAX_GAPS):
        guard.admit(1, 0, 4 * number + 3)  # leaves [4 n, 4 n + 3)
    if fill_last:
        guard.admit(1, 0, 4 * MAX_GAPS - 3)  # cuts the last gap in two
    else:
        guard.admit(1, 0, 4 * MAX_GAPS + 3)

    assert code_of(guard, 1, 0, 0) == "SEQUENCE_WINDOW_PASSED"
    assert guard.admit(1, 0, 4)
    assert not guard.admit(1, 0, 4)
    assert code_of(SequenceGuard.decode(guard.encode()), 1, 0, 2) == "SEQUENCE_WINDOW_PASSED"


@pytest.mark.parametrize("sequence", [-1, MAX_SEQUENCE + 1])
def test_a_number_that_is_no_sequence_is_refused(sequence):
    guard = SequenceGuard()

    assert code_of(guard, 1, 0, sequence) == "INVALID_SEQUENCE"
    assert guard == SequenceGuard()


def test_a_hostile_jump_costs_one_gap():
    guard = SequenceGuard()

    assert guard.admit(2**64 - 1, 2**32 - 1, MAX_SEQUENCE)

    assert len(guard.encode()) < 64
    assert guard == SequenceGuard.decode(guard.encode())
