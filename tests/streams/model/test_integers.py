import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import EventError
from streams.model.integers import integer, integer_bytes


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "0080"),
        (-1, "ff"),
        (-128, "80"),
        (-129, "ff7f"),
        (10**18, "0de0b6b3a7640000"),
    ],
)
def test_integers_by_hand(number, encoded):
    assert integer_bytes(number).hex() == encoded


@given(number=st.integers(-(2**511), 2**511 - 1))
def test_integers_return_and_no_shorter_form_says_the_same(number):
    encoded = integer_bytes(number)

    assert integer(encoded, "x") == number
    assert len(encoded) == 1 or int.from_bytes(encoded[1:], "big", signed=True) != number


@pytest.mark.parametrize("data", [b"", b"\x01" * 65])
def test_an_integer_without_or_with_too_many_bytes_is_refused(data):
    with pytest.raises(EventError):
        integer(data, "x")
