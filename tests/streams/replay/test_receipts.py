"""First receipts from the log: those that were given out, byte for byte."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from streams.model.events import Command, CommandKind, ImpressionBatch, ImpressionGroup
from streams.model.ids import experiment_id
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipt_layout import raw_of
from streams.model.receipts import Receipt
from streams.model.vectors import pack
from streams.projection.receipts import ReceiptPlace
from streams.replay.receipts import ReceiptLog
from streams.wire.batch_tags import sealer
from streams.wire.commands import encode_command
from streams.wire.impressions import encode_impression_batch
from tests.streams.replay.memory import DEFINITION, INPUTS, KEYRING, NOW_MS
from tests.twins.log import MemoryLog

NUMBER = 7
NAME = experiment_id(NUMBER)
FEATURES = pack(((0, 1024), (1, 1024)))


def log_of(*kinds: CommandKind, **config: Any) -> MemoryLog:
    log = MemoryLog()
    definition = DEFINITION | {"config": DEFINITION["config"] | {"unit": "user"} | config}
    for index, kind in enumerate((CommandKind.CREATE, CommandKind.START, *kinds)):
        payload = {
            CommandKind.CREATE: definition,
            CommandKind.CONCLUDE: {"winnerVariantId": f"{NAME}_v1", "controlShare": 0.1},
        }.get(kind, {})
        command = Command(f"{index:032x}", NUMBER, kind, NOW_MS, payload)
        log.append("commands", 0, encode_command(command))
    return log


def assign(
    log: MemoryLog,
    *receipts: Receipt,
    partition: int = 0,
    contexts: tuple[str, ...] = (),
    features: tuple[bytes, ...] = (),
    repeatable: bool = True,
    is_sealed: bool = True,
    timestamp: int | None = None,
) -> None:
    group = ImpressionGroup(
        experiment=receipts[0].experiment,
        repeatable=repeatable,
        variants=[each.variant for each in receipts],
        propensities=[each.propensity for each in receipts],
        allocation_versions=[each.allocation_version for each in receipts],
        assigned_at_ms=[each.assigned_at_ms for each in receipts],
        units=[each.unit for each in receipts],
        contexts=contexts,
        features=features,
    )
    batch = ImpressionBatch(1, partition, 0, (group,))
    value = encode_impression_batch(batch)
    if is_sealed:
        value = sealer(KEYRING)("impressions", partition, value)
    log.append("impressions", partition, value, timestamp=timestamp)


def receipt(unit: int, at_ms: int = NOW_MS, variant: int = 0, window_s: int = 0) -> Receipt:
    return Receipt(NUMBER, variant, PROPENSITY_ONE // 2, 3, at_ms, unit, window_s)


def rebuilt(log: ReceiptLog) -> dict[ReceiptPlace, bytes]:
    found: dict[ReceiptPlace, bytes] = {}
    for chunk in log.new():
        found = chunk | found
    return found


def signed(given: Receipt, features: bytes = b"") -> bytes:
    return raw_of(KEYRING.sign(given._replace(features=features)))


def test_the_first_impression_of_a_unit_gives_the_receipt_that_it_got() -> None:
    log = log_of(attributionWindow=60)
    first, second = receipt(1, window_s=60), receipt(2, NOW_MS + 5, 1, 60)
    assign(log, first, second, features=(FEATURES, b""))
    log.append("impressions", 0, b"noise")
    assign(log, receipt(1, NOW_MS + 9, 1, 60), first)

    assert rebuilt(ReceiptLog(log, INPUTS)) == {
        ReceiptPlace(NAME, 0, 1): signed(first, FEATURES),
        ReceiptPlace(NAME, 0, 2): signed(second),
    }


def test_impressions_that_no_process_with_a_key_has_logged_give_no_receipts() -> None:
    log = log_of()
    assign(log, receipt(1), is_sealed=False)
    assign(log, receipt(2))

    assert set(rebuilt(ReceiptLog(log, INPUTS))) == {ReceiptPlace(NAME, 0, 2)}


def test_a_second_reading_goes_on_where_the_first_ended() -> None:
    log = log_of()
    assign(log, receipt(1))
    reading = ReceiptLog(log, INPUTS)
    rebuilt(reading)
    assign(log, receipt(2))

    assert set(rebuilt(reading)) == {ReceiptPlace(NAME, 0, 2)}


@pytest.mark.parametrize(
    ("config", "is_remembered"),
    [
        ({"unit": "user"}, True),
        ({"unit": "session", "attributionWindow": 60}, True),
        ({"type": "bayesian_ab", "attributionWindow": 60}, True),
        ({"type": "bayesian_ab"}, False),
        ({"unit": "impression"}, False),
    ],
)
def test_what_the_hash_gives_again_is_not_kept(config: dict[str, Any], is_remembered: bool) -> None:
    log = log_of(**config)
    assign(log, receipt(1), repeatable=config.get("unit") != "impression")

    assert bool(rebuilt(ReceiptLog(log, INPUTS))) == is_remembered


def test_phases_are_apart_and_the_archived_experiment_has_none() -> None:
    commands = (CommandKind.CONCLUDE, CommandKind.ARCHIVE)
    logs = [log_of(*commands[:n], attributionWindow=60) for n in (1, 2)]
    for log in logs:
        assign(log, receipt(1, window_s=60), receipt(1, NOW_MS + 1, 257, 60))

    assert rebuilt(ReceiptLog(logs[0], INPUTS)) == {
        ReceiptPlace(NAME, 0, 1): signed(receipt(1, window_s=60)),
        ReceiptPlace(NAME, 1, 1): signed(receipt(1, NOW_MS + 1, 257, 60)),
    }
    assert rebuilt(ReceiptLog(logs[1], INPUTS)) == {}


def test_other_ids_of_a_unit_come_back_under_fixed_weights_too() -> None:
    log = log_of(type="bayesian_ab")
    contexts = (
        orjson.dumps({"aliases": [f"{9:016x}"]}).decode(),
        orjson.dumps({"features": {"aliases": ["x"]}}).decode(),
        orjson.dumps({"aliases": "no"}).decode(),
    )
    assign(log, receipt(1), receipt(2), receipt(3), contexts=contexts)

    assert rebuilt(ReceiptLog(log, INPUTS)) == {
        ReceiptPlace(NAME, 0, unit): signed(receipt(own))
        for unit, own in ((1, 1), (9, 1), (2, 2), (3, 3))
    }


def aliased(*units: int) -> tuple[str, ...]:
    return (orjson.dumps({"aliases": [f"{unit:016x}" for unit in units]}).decode(),)


@pytest.mark.parametrize("kind", ["bayesian_ab", "thompson_sampling"])
@pytest.mark.parametrize("own_partition", [0, 2])
@pytest.mark.parametrize("is_own_first", [True, False])
def test_a_second_id_has_the_receipt_that_was_logged_first(
    kind: str, own_partition: int, is_own_first: bool
) -> None:
    """In whichever partition, and whatever times the receipts carry."""
    log = log_of(type=kind, unit="user")
    own, others = receipt(9, NOW_MS + 5), receipt(4, NOW_MS)
    for at, is_own in enumerate((is_own_first, not is_own_first, True)):
        found, partition = (own, own_partition) if is_own else (others, 1)
        contexts = () if is_own else aliased(9)
        assign(log, found, partition=partition, contexts=contexts, timestamp=NOW_MS + 100 + at)
    assign(log, receipt(8), partition=own_partition, timestamp=NOW_MS)
    reading = ReceiptLog(log, INPUTS)

    kept = rebuilt(reading)
    for place, (before, first) in reading.displaced.items():
        assert kept[place] == before
        kept[place] = first

    assert kept == {
        ReceiptPlace(NAME, 0, 4): signed(others),
        ReceiptPlace(NAME, 0, 8): signed(
            receipt(8)
        ),  # of fixed weights all are kept, once one has two
        ReceiptPlace(NAME, 0, 9): signed(own if is_own_first else others),
    }
    assert reading.impressions == 4


def test_units_of_an_experiment_known_to_have_two_ids_are_kept_under_fixed_weights() -> None:
    log = log_of(type="bayesian_ab")
    assign(log, receipt(1), receipt(2))
    reading = ReceiptLog(log, INPUTS)
    reading.aliased.add(NAME)

    assert set(rebuilt(reading)) == {ReceiptPlace(NAME, 0, 1), ReceiptPlace(NAME, 0, 2)}
