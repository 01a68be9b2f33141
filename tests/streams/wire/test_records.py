from hypothesis import given
from hypothesis import strategies as st

from streams.wire.records import incarnation, incarnation_text


@given(number=st.integers(0, 2**64 - 1))
def test_incarnations_return(number):
    assert incarnation(incarnation_text(number)) == number
