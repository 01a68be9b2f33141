"""Receipt keys that are limited to some experiments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streams.model.errors import ConfigurationError, EventError, ReceiptError
from streams.model.events import ImpressionBatch, ImpressionGroup, OutsideRequests
from streams.model.experiment_keys import key_number
from streams.model.receipt_columns import open_receipts
from streams.model.receipts import Keyring, Receipt
from streams.wire.batch_tags import authenticated, check_tag, sealer, sender_of
from streams.wire.impressions import encode_impression_batch

HOME, CHECKOUT = key_number("homepage"), key_number("checkout")
OWN, THEIRS = "ab" * 32, "cd" * 32
RING = Keyring.parse(f"7:{THEIRS}:homepage+promo,1:{OWN}")
ASSIGNER = Keyring.parse(f"7:{THEIRS}")


def receipt_of(experiment: int, unit: int = 5) -> Receipt:
    return Receipt(experiment, 0, 2**31, 1, 1_700_000_000_000, unit, 0)


def batch_of(*experiments: int, incarnation: int = 9) -> ImpressionBatch:
    groups = [
        ImpressionGroup(each, True, [0], [2**31], [1], [1_700_000_000_000], [5], (), (), ())
        for each in experiments
    ]
    return ImpressionBatch(incarnation, 0, 0, groups)


def sealed(batch: ImpressionBatch, keyring: Keyring, topic: str = "impressions") -> bytes:
    return sealer(keyring)(topic, 0, encode_impression_batch(batch))


def test_the_first_key_without_a_limit_signs():
    assert RING.sign_bytes(receipt_of(CHECKOUT))[1] == 1
    assert RING.sign_bytes(receipt_of(HOME))[1] == 1  # it has started before there was the key


def test_experiments_that_start_are_signed_by_the_key_that_is_limited_to_them():
    assert (RING.key_of_new(HOME), RING.key_of_new(CHECKOUT)) == (7, 1)


def test_a_receipt_for_another_experiment_is_a_forgery():
    assert RING.verify(ASSIGNER.sign(receipt_of(HOME))) == receipt_of(HOME)
    with pytest.raises(ReceiptError) as caught:
        RING.verify(ASSIGNER.sign(receipt_of(CHECKOUT)))
    assert caught.value.code == "FORGED_RECEIPT"


def test_columns_of_receipts_say_the_same():
    receipts = [receipt_of(HOME if unit % 2 else CHECKOUT, unit) for unit in range(100)]
    texts = [ASSIGNER.sign(each) for each in receipts] + [RING.sign(each) for each in receipts]
    raw = np.array([list(text.encode()) for text in texts], np.uint8)

    columns, errors = open_receipts(RING, raw, np.full(len(texts), raw.shape[1]))

    assert columns.valid.tolist() == [True if n >= 100 else bool(n % 2) for n in range(200)]
    assert {error.code for error in errors.values() if isinstance(error, ReceiptError)} == {
        "FORGED_RECEIPT"
    }


def test_batches_of_a_limited_key_are_of_its_experiments_and_its_senders():
    batch = batch_of(HOME)

    found = authenticated(RING, "impressions", 0, sealed(batch, ASSIGNER), batch)

    assert found.incarnation == sender_of(7, 9) != 9
    mine = batch_of(CHECKOUT, HOME)
    assert authenticated(RING, "impressions", 0, sealed(mine, RING), mine) is mine
    with pytest.raises(EventError) as caught:
        authenticated(RING, "impressions", 0, sealed(mine, ASSIGNER), mine)
    assert caught.value.code == "SEQUENCE_NOT_AUTHENTIC"
    outside = replace(batch, outside=[OutsideRequests(CHECKOUT, "NOT_TARGETED", 5)])
    with pytest.raises(EventError):
        authenticated(RING, "impressions", 0, sealed(outside, ASSIGNER), outside)


def test_a_limited_key_numbers_impressions_alone():
    value = sealed(batch_of(HOME), ASSIGNER, "observations")

    with pytest.raises(EventError):
        check_tag(RING, "observations", 0, value)
    assert not RING.has_tagged(ASSIGNER.tag(b"day"), b"day")


@pytest.mark.parametrize("text", [f"7:{THEIRS}:", f"7:{THEIRS}:A b", f"7:{THEIRS}:a++b"])
def test_a_limit_that_names_no_experiment_is_refused(text):
    with pytest.raises(ConfigurationError) as caught:
        Keyring.parse(text)
    assert THEIRS not in str(caught.value)
