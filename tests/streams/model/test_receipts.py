from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model import receipts
from streams.model.errors import ConfigurationError, ReceiptError
from streams.model.receipts import (
    CLOCK_SKEW_MS,
    RECEIPT_LENGTH,
    Keyring,
    Receipt,
    check_attribution,
    check_form,
    features_of,
)
from streams.model.vectors import ENTRY_BYTES, MAX_ENTRIES
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


receipt_values = records(Receipt)


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
    assert GOLDEN in (receipts.__doc__ or "")


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


@given(receipt_values, st.integers(0, 56 * 8 - 1))
def test_a_receipt_with_one_bit_flipped_never_verifies(receipt, bit):
    raw = bytearray(urlsafe_b64decode(KEYRING.sign(receipt) + "="))
    raw[bit // 8] ^= 1 << bit % 8

    assert code_of(urlsafe_b64encode(raw).rstrip(b"=").decode()) in {
        "FORGED_RECEIPT",
        "UNKNOWN_RECEIPT_KEY",
        "UNKNOWN_RECEIPT_VERSION",
    }


@given(receipt_values, st.integers(0, RECEIPT_LENGTH - 1), st.characters())
def test_no_other_spelling_verifies(receipt, place, character):
    text = KEYRING.sign(receipt)
    other = text[:place] + character + text[place + 1 :]
    if other == text:
        return

    assert code_of(other)


@given(st.text(max_size=120) | st.text("AQEBabc-_0", min_size=70, max_size=80))
def test_a_text_nobody_signed_never_verifies(text):
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
    later = b"\x03" + urlsafe_b64decode(GOLDEN + "=")[1:40]

    assert code_of(signed(later)) == "UNKNOWN_RECEIPT_VERSION"
    assert code_of(signed(later + bytes(99))) == "UNKNOWN_RECEIPT_VERSION"


def test_a_longer_receipt_of_version_1_is_malformed_though_signed():
    assert code_of(signed(urlsafe_b64decode(GOLDEN + "=")[:40] + bytes(3))) == "MALFORMED_RECEIPT"


FEATURES = bytes.fromhex("03040005fecd")  # 1024 at index 3, -307 at index 5


def test_the_golden_receipt_with_features_never_changes():
    text = KEYRING.sign(GOLDEN_RECEIPT, FEATURES)

    assert text in (receipts.__doc__ or "")
    assert KEYRING.verify(text) == GOLDEN_RECEIPT
    assert features_of(text) == FEATURES
    raw = urlsafe_b64decode(text + "=")
    assert raw[:1] + raw[40:-16] == b"\x02" + FEATURES
    assert raw[1:40] == urlsafe_b64decode(GOLDEN + "=")[1:40]
    assert raw[-16:] == blake2b(raw[:-16], key=SECRET, digest_size=16).digest()


@given(
    receipt_values,
    st.integers(1, MAX_ENTRIES).flatmap(lambda n: st.binary(min_size=3 * n, max_size=3 * n)),
)
def test_what_was_signed_with_features_is_what_is_read(receipt, features):
    text = KEYRING.sign(receipt, features)

    assert len(text) == RECEIPT_LENGTH + 4 * len(features) // ENTRY_BYTES
    opened, identity = KEYRING.open(text)
    assert opened == receipt
    assert identity == int.from_bytes(urlsafe_b64decode(text + "=")[-16:-8], "big")
    assert features_of(text) == features


def test_a_receipt_without_features_has_none():
    assert features_of(GOLDEN) == b""
    assert KEYRING.sign(GOLDEN_RECEIPT, b"") == GOLDEN


@given(st.integers(0, (40 + 6 + 16) * 8 - 1))
def test_features_with_one_bit_flipped_never_verify(bit):
    raw = bytearray(urlsafe_b64decode(KEYRING.sign(GOLDEN_RECEIPT, FEATURES) + "="))
    raw[bit // 8] ^= 1 << bit % 8

    assert code_of(urlsafe_b64encode(raw).rstrip(b"=").decode())


@pytest.mark.parametrize("n_bytes", [0, 1, 2, 4, 3 * MAX_ENTRIES + 3])
def test_features_of_another_length_are_malformed_though_signed(n_bytes):
    body = b"\x02" + urlsafe_b64decode(GOLDEN + "=")[1:40]

    assert code_of(signed(body + bytes(n_bytes))) == "MALFORMED_RECEIPT"


def test_a_key_that_is_not_here_is_told_from_a_forgery():
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
