"""A copy is known by a mark that no producer without a key can make."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.headers import Headers
from streams.model.receipts import Keyring
from streams.wire.batch_tags import sealer
from streams.worker.copy_marks import COPIED_FOR, is_copy, marked

OLD, NEW = bytes(range(16)), bytes(range(16, 32))
KEYRING = Keyring({2: NEW, 1: OLD})
VALUE = b'{"assignmentId":"x","metric":"click","value":1}'


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_only_the_mark_of_a_value_marks_it(value, other):
    headers = sent(KEYRING, value)

    assert is_copy(KEYRING, headers, value)
    assert is_copy(KEYRING, (("trace", None), *headers), value)
    assert is_copy(KEYRING, headers, other) == (other == value)
    assert not is_copy(KEYRING, ((COPIED_FOR, other),), value)


def test_a_mark_by_a_key_that_still_verifies_is_one():
    headers = sent(Keyring({1: OLD}), VALUE)

    assert is_copy(KEYRING, headers, VALUE)
    assert not is_copy(Keyring({2: NEW}), headers, VALUE)


def test_what_anyone_can_send_is_no_mark():
    for mark in (b"holdout", b"", None):
        assert not is_copy(KEYRING, ((COPIED_FOR, mark),), VALUE)
    tagged = sealer(KEYRING)("observations", 0, VALUE + bytes(len(KEYRING.tag(b""))))
    assert not is_copy(KEYRING, ((COPIED_FOR, tagged[len(VALUE) :]),), VALUE)
    assert not is_copy(KEYRING, (), VALUE)
    assert not is_copy(KEYRING, sent(KEYRING, b""), None)


def sent(keyring: Keyring, value: bytes) -> Headers:
    """The headers of a copy, as they are read."""
    return tuple(
        (name, mark) for name, mark in marked(keyring, value).items() if isinstance(mark, bytes)
    )
