import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import ReceiptError
from streams.model.vectors import INTERCEPT, MAX_DIMENSION, MAX_ENTRIES, pack, unpack

vectors = st.dictionaries(
    st.integers(1, MAX_DIMENSION - 1),
    st.integers(-1024, 1024).filter(bool),
    max_size=MAX_ENTRIES,
).map(lambda entries: (*INTERCEPT, *sorted(entries.items())))


@given(vectors)
def test_vectors_survive_their_bytes(vector):
    packed = pack(vector)

    assert unpack(packed) == vector
    assert len(packed) == 3 * (len(vector) - 1)


def test_layout_never_changes():
    """1 at index 3, -307 / 1,024 at index 5; the intercept is not written."""
    assert pack(((0, 1024), (3, 1024), (5, -307))).hex() == "030400" + "05fecd"
    assert pack(INTERCEPT) == b""


@pytest.mark.parametrize(
    "packed",
    [
        "01",  # half an entry
        "00fc00",  # the intercept
        "010401",  # above 1
        "010000",  # zero
        "400001",  # beyond the longest vector
        "020001" + "010001",  # out of order
        "020001" + "020001",  # twice
        "".join(f"{index:02x}0001" for index in range(1, MAX_ENTRIES + 2)),
    ],
)
def test_bytes_of_no_vector_are_refused(packed):
    with pytest.raises(ReceiptError) as refused:
        unpack(bytes.fromhex(packed))

    assert refused.value.code == "MALFORMED_FEATURES"
