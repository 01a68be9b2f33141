from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.model import receipt_layout
from streams.model.attribution import CLOCK_SKEW_MS, check_attribution
from streams.model.dimensions import MAX_DIMENSIONS
from streams.model.errors import ConfigurationError, ReceiptError
from streams.model.receipt_columns import VECTORIZED_FROM, open_receipts
from streams.model.receipt_layout import RECEIPT_LENGTH, check_form
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import MAX_WEIGHED
from streams.model.vectors import MAX_ENTRIES
from tests.strategies import records

SECRET = bytes(range(32))
KEYRING = Keyring({1: SECRET})
GOLDEN = "AQEBI0VniavN7wACP____wAAAAAABwGLz-Voe_7cuph2VDIQAAFRgKIQd87bB2w7MDUwCDcMcvE"
GOLDEN_RECEIPT = Receipt(
    experiment=0x0123456789ABCDEF,
    variant=2,
    propensity=1 << 30,
    allocation_version=7,
    assigned_at_ms=1_700_000_000_123,
    unit=0xFEDCBA9876543210,
    attribution_window_s=86_400,
)


receipt_values = records(
    Receipt, weights=st.just(b""), features=st.just(b""), dimensions=st.just(b"")
)


def code_of(text, keyring=KEYRING):
    with pytest.raises(ReceiptError) as caught:
        keyring.verify(text)
    assert caught.value.path == "assignmentId"
    return caught.value.code


def signed(body, secret=SECRET):
    """Sign any bytes, so that what is refused is not refused for its MAC."""
    raw = body + blake2b(body, key=secret, digest_size=16).digest()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_the_golden_receipt_never_changes():
    assert KEYRING.sign(GOLDEN_RECEIPT) == GOLDEN
    assert KEYRING.verify(GOLDEN) == GOLDEN_RECEIPT
    assert GOLDEN in (receipt_layout.__doc__ or "")


def test_the_layout_is_the_documented_one():
    raw = urlsafe_b64decode(GOLDEN + "=")
    fields = [(0, 1), (1, 1), (2, 8), (10, 2), (12, 4), (16, 6), (22, 6), (28, 8), (36, 4)]

    assert [int.from_bytes(raw[start : start + size], "big") for start, size in fields] == [
        1,
        1,
        0x0123456789ABCDEF,
        2,
        (1 << 30) - 1,
        7,
        1_700_000_000_123,
        0xFEDCBA9876543210,
        86_400,
    ]
    assert raw[40:] == blake2b(raw[:40], key=SECRET, digest_size=16).digest()


@given(receipt_values)
def test_what_was_signed_is_what_is_read(receipt):
    text = KEYRING.sign(receipt)

    assert len(text) == RECEIPT_LENGTH
    assert KEYRING.verify(text) == receipt
    assert KEYRING.open(text)[1] == int.from_bytes(urlsafe_b64decode(text + "=")[40:48], "big")


@example(GOLDEN_RECEIPT, 1)  # version 3, whose receipts are longer
@given(receipt_values, st.integers(0, 56 * 8 - 1))
def test_a_receipt_with_one_bit_flipped_never_verifies(receipt, bit):
    raw = bytearray(urlsafe_b64decode(KEYRING.sign(receipt) + "="))
    raw[bit // 8] ^= 1 << bit % 8

    assert code_of(urlsafe_b64encode(raw).rstrip(b"=").decode()) in {
        "FORGED_RECEIPT",
        "UNKNOWN_RECEIPT_KEY",
        *(("UNKNOWN_RECEIPT_VERSION", "MALFORMED_RECEIPT") if bit < 8 else ()),
    }


@given(receipt_values, st.integers(0, RECEIPT_LENGTH - 1), st.characters())
def test_no_other_spelling_verifies(receipt, place, character):
    text = KEYRING.sign(receipt)
    other = text[:place] + character + text[place + 1 :]
    if other == text:
        return

    assert code_of(other)


@given(st.text(max_size=120) | st.text("AQEBabc-_0", min_size=70, max_size=80))
def test_an_unsigned_text_never_verifies(text):
    assert code_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "user-42",
        GOLDEN + "=",
        GOLDEN + "A",
        GOLDEN + "\n",
        " " + GOLDEN[1:],
        GOLDEN[:-1],
        GOLDEN[:-1] + "F",  # the same bytes, with a bit set that carries nothing
        GOLDEN.replace("_", "/"),
        GOLDEN[:-1] + "\N{CYRILLIC CAPITAL LETTER IE}",
    ],
)
def test_what_is_not_the_spelling_of_a_receipt_is_malformed(text):
    assert code_of(text) == "MALFORMED_RECEIPT"


def test_without_a_key_the_form_can_be_checked():
    check_form(GOLDEN)
    check_form(Keyring({9: bytes(16)}).sign(GOLDEN_RECEIPT))

    with pytest.raises(ReceiptError):
        check_form("user-42")


def test_a_later_version_is_named_as_such_whatever_its_length():
    later = b"\x04" + urlsafe_b64decode(GOLDEN + "=")[1:40]

    assert code_of(signed(later)) == "UNKNOWN_RECEIPT_VERSION"
    assert code_of(signed(later + bytes(99))) == "UNKNOWN_RECEIPT_VERSION"


def test_a_longer_receipt_of_version_1_is_malformed_though_signed():
    assert code_of(signed(urlsafe_b64decode(GOLDEN + "=")[:40] + bytes(3))) == "MALFORMED_RECEIPT"


FEATURES = bytes.fromhex("03040005fecd")  # 1024 at index 3, -307 at index 5
WEIGHTS = bytes([16, 32, 32])  # of 1/2, 1/4 and 1/4
EXTENDED = {
    "weights": GOLDEN_RECEIPT._replace(weights=WEIGHTS),
    "features": GOLDEN_RECEIPT._replace(features=FEATURES),
    "both": GOLDEN_RECEIPT._replace(weights=WEIGHTS, features=FEATURES),
}
EXTENSIONS = {
    "weights": "03102020",
    "features": "0003040005fecd",
    "both": "0310202003040005fecd",
}
extended = st.builds(
    lambda receipt, *extension: receipt._replace(
        **dict(zip(("weights", "features", "dimensions"), extension, strict=True))
    ),
    receipt_values,
    st.just(b"") | st.binary(min_size=3, max_size=MAX_WEIGHED),
    st.integers(0, MAX_ENTRIES).flatmap(lambda n: st.binary(min_size=3 * n, max_size=3 * n)),
    st.binary(max_size=MAX_DIMENSIONS),
)


def bytes_of(text):
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("name", EXTENDED)
def test_the_golden_receipts_of_version_2_never_change(name):
    text = KEYRING.sign(EXTENDED[name])

    assert text in (receipt_layout.__doc__ or "")
    assert KEYRING.verify(text) == EXTENDED[name]
    raw = bytes_of(text)
    assert raw[:1] + raw[40:-16] == b"\x02" + bytes.fromhex(EXTENSIONS[name])
    assert raw[1:40] == urlsafe_b64decode(GOLDEN + "=")[1:40]
    assert raw[-16:] == blake2b(raw[:-16], key=SECRET, digest_size=16).digest()


SLICED = {
    "020200" + "00": GOLDEN_RECEIPT._replace(dimensions=b"\2\0"),
    "020200" + "03102020": GOLDEN_RECEIPT._replace(dimensions=b"\2\0", weights=WEIGHTS),
}


@pytest.mark.parametrize("extension", SLICED)
def test_the_golden_receipts_of_version_3_never_change(extension):
    text = KEYRING.sign(SLICED[extension])

    assert text in (receipt_layout.__doc__ or "")
    assert KEYRING.verify(text) == SLICED[extension]
    raw = bytes_of(text)
    assert raw[:1] + raw[40:-16] == b"\x03" + bytes.fromhex(extension)
    assert raw[-16:] == blake2b(raw[:-16], key=SECRET, digest_size=16).digest()


@pytest.mark.parametrize(
    "extension",
    [
        "0000",  # no dimension
        "050101010101" + "00",  # five
        "0102",  # nothing of weights
        "0102" + "01ff",  # one weight
        "0102" + "0004",  # a part of an entry
        "0102" + "0410202020" + "0102",
        "04",
    ],
)
def test_what_is_no_receipt_of_version_3_is_refused(extension):
    raw = bytes.fromhex("03") + urlsafe_b64decode(GOLDEN + "=")[1:40] + bytes.fromhex(extension)
    assert code_of(signed(raw)) == "MALFORMED_RECEIPT"


@given(extended)
def test_what_was_signed_with_weights_and_features_is_what_is_read(receipt):
    text = KEYRING.sign(receipt)

    opened, identity = KEYRING.open(text)
    assert opened == receipt
    assert identity == int.from_bytes(bytes_of(text)[-16:-8], "big")
    n_bytes = 56 + (len(receipt.weights + receipt.features) + 1) * (raw_version(text) >= 2)
    n_bytes += (len(receipt.dimensions) + 1) * (raw_version(text) == 3)
    assert len(text) == -(-4 * n_bytes // 3) <= 233


def raw_version(text):
    return bytes_of(text)[0]


@given(st.lists(extended, min_size=1, max_size=60), st.data())
def test_columns_say_what_is_read_one_by_one(some, data):
    """Receipts of any lengths together, some of them with another character."""
    texts = [KEYRING.sign(receipt) for receipt in some]
    row = data.draw(st.integers(0, len(texts) - 1))
    place = data.draw(st.integers(0, len(texts[row]) - 1))
    texts[row] = (
        texts[row][:place] + data.draw(st.sampled_from("AB_=\x00")) + texts[row][place + 1 :]
    )
    texts += texts[:VECTORIZED_FROM]
    sizes = np.array([*map(len, texts)])
    rows = np.array([[*text.ljust(max(sizes)).encode()] for text in texts], np.uint8)

    columns, errors = open_receipts(KEYRING, rows, sizes)

    for index, text in enumerate(texts):
        try:
            receipt, identity = KEYRING.open(text)
        except ReceiptError:
            assert index in errors
            continue
        assert columns.valid[index]
        assert columns.identity[index] == identity
        assert columns.weights[index] == receipt.weights
        assert columns.features.get(index, b"") == receipt.features
        assert columns.dimensions.get(index, b"") == receipt.dimensions
        for name in ("experiment", "variant", "propensity", "assigned_at_ms", "unit"):
            assert getattr(columns, name)[index] == getattr(receipt, name)


@pytest.mark.parametrize("name", EXTENDED)
@pytest.mark.parametrize("character", ["B", "E", "Q"])
def test_bits_that_belong_to_no_byte_are_zero(name, character):
    """Of a text of three bytes a group every character counts; of others the last has such bits."""
    text = KEYRING.sign(EXTENDED[name])

    if text[-1] != character:
        assert code_of(text[:-1] + character)
    assert code_of(text + "A") == "MALFORMED_RECEIPT"


@given(st.sampled_from([*EXTENDED]), st.data())
def test_of_version_2_no_bit_can_be_flipped(name, data):
    raw = bytearray(bytes_of(KEYRING.sign(EXTENDED[name])))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8

    assert code_of(urlsafe_b64encode(raw).rstrip(b"=").decode())


@pytest.mark.parametrize(
    "extension",
    [
        b"",
        b"\x00",
        b"\x00\x01",
        b"\x00" + bytes(3 * MAX_ENTRIES + 3),
        b"\x02ab",
        b"\x03ab",
        b"\x03abcd",
        b"\x21" + bytes(33),
        b"\xff" + bytes(255),
    ],
)
def test_weights_and_features_of_another_length_are_malformed_though_signed(extension):
    body = b"\x02" + urlsafe_b64decode(GOLDEN + "=")[1:40]

    assert code_of(signed(body + extension)) == "MALFORMED_RECEIPT"


def test_a_key_that_is_not_here_differs_from_a_forgery():
    other = Keyring({1: bytes(16)})

    assert code_of(Keyring({9: SECRET}).sign(GOLDEN_RECEIPT)) == "UNKNOWN_RECEIPT_KEY"
    assert code_of(other.sign(GOLDEN_RECEIPT)) == "FORGED_RECEIPT"


def test_the_first_key_signs_and_all_verify():
    rotated = Keyring.parse(f"2:{'ab' * 16}, 1:{SECRET.hex()}")
    newer = rotated.sign(GOLDEN_RECEIPT)

    assert rotated.verify(GOLDEN) == rotated.verify(newer) == GOLDEN_RECEIPT
    assert code_of(newer) == "UNKNOWN_RECEIPT_KEY"


@pytest.mark.parametrize(
    "text",
    [
        "",
        SECRET.hex(),
        "1:xyz",
        "x:" + SECRET.hex(),
        "256:" + SECRET.hex(),
        "-1:" + SECRET.hex(),
        "1:" + "ab" * 15,
        "1:" + "ab" * 65,
        f"1:{SECRET.hex()},1:{SECRET.hex()}",
        f"1:{SECRET.hex()},",
    ],
)
def test_a_keyring_that_is_not_well_written_is_refused_without_quoting_it(text):
    with pytest.raises(ConfigurationError) as caught:
        Keyring.parse(text)

    assert caught.value.path == "receipt_keys"
    assert SECRET.hex() not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_keyring_needs_a_key():
    with pytest.raises(ConfigurationError):
        Keyring({})


def test_a_keyring_never_shows_its_secrets():
    keyring = Keyring({1: SECRET, 7: b"0123456789abcdef"})

    assert repr(keyring) == "Keyring(ids=[1, 7])"


def test_observations_count_from_the_assignment_until_the_window_ends():
    assigned = GOLDEN_RECEIPT.assigned_at_ms

    for age_ms in (-CLOCK_SKEW_MS, 0, 86_400_000):
        check_attribution(GOLDEN_RECEIPT, assigned + age_ms)
    for age_ms, code in (
        (-CLOCK_SKEW_MS - 1, "OBSERVED_BEFORE_ASSIGNMENT"),
        (86_400_001, "EXPIRED_RECEIPT"),
    ):
        with pytest.raises(ReceiptError) as caught:
            check_attribution(GOLDEN_RECEIPT, assigned + age_ms)
        assert caught.value.code == code


def test_without_a_window_observations_count_for_ever():
    check_attribution(GOLDEN_RECEIPT._replace(attribution_window_s=0), 1 << 47)


ROTATED = Receipt(7, 1, 2**30, 3, 1_700_000_000_000, 5, 0)


def test_an_experiment_is_signed_by_the_key_of_its_start_whichever_signs_now() -> None:
    old, new = bytes(range(32)), bytes(range(1, 33))
    ring = Keyring({1: old})
    ring.sign_with(7, 1)
    before = ring.sign(ROTATED)
    ring.take(Keyring({1: old, 2: new}))
    between = ring.sign(ROTATED)
    ring.take(Keyring({2: new, 1: old}))
    ring.sign_with(8, 2)

    assert before == between == ring.sign(ROTATED)
    signed = [ring.sign(ROTATED._replace(experiment=number)) for number in (7, 8, 9)]
    assert [urlsafe_b64decode(text + "=")[1] for text in signed] == [1, 2, 2]
    assert ring.verify(before) == ROTATED
    assert ring.sign(ROTATED._replace(experiment=9)) == Keyring({2: new}).sign(
        ROTATED._replace(experiment=9)
    )

    ring.take(Keyring({2: new}))  # an emergency: the old one is gone
    assert ring.sign(ROTATED) == Keyring({2: new}).sign(ROTATED)
    with pytest.raises(ReceiptError, match="no key 1"):
        ring.verify(before)


def test_keys_may_stand_in_lines_with_comments() -> None:
    text = "# rotated in May\n2:" + "ab" * 16 + "\n\n1:" + "cd" * 16 + "  # old\n"

    assert Keyring.parse(text).ids == (2, 1)
    assert Keyring.parse("2:" + "ab" * 16 + ",1:" + "cd" * 16 + "\n").ids == (2, 1)
