"""Codec of `experiment_end`: the end of an experiment in one partition of a log of events.

Always single objects, with or without a schema registry.
"""

from __future__ import annotations

from schemas import library
from schemas.codec import SINGLE_OBJECT_MARK
from streams.model.ids import experiment_id, experiment_number
from streams.model.receipts import Keyring
from streams.wire.batch_tags import BLANK_TAG, check_tag, sealer
from streams.wire.records import SINGLE_OBJECT, TIME_LIMIT_MS, check_range, event_errors, read

_NAME = "experiment_end"
_HEADERS = tuple(SINGLE_OBJECT_MARK + each.fingerprint for each in library.versions(_NAME))


def is_experiment_end(value: bytes | None) -> bool:
    """Return whether the header of a record is that of an `experiment_end`."""
    return value is not None and value.startswith(_HEADERS)


def encode_experiment_end(
    experiment: int, archived_at_ms: int, keyring: Keyring, topic: str, partition: int
) -> bytes:
    """Return the record that ends an experiment in a partition.

    Args:
        experiment: The experiment as a 64-bit number.
        archived_at_ms: When it was archived.
        keyring: Signs the record.
        topic: Name of the topic in the catalogue.
        partition: The partition; the record is invalid in any other one.
    """
    record = {
        "experiment_id": experiment_id(experiment),
        "archived_at_ms": archived_at_ms,
        "tag": BLANK_TAG,
    }
    return sealer(keyring)(topic, partition, SINGLE_OBJECT.encode(_NAME, record))


def decode_experiment_end(value: bytes | None, keyring: Keyring, topic: str, partition: int) -> int:
    """Return the experiment that a record ends, as a 64-bit number.

    Raises:
        EventError: the record cannot be read, or its tag is not valid for this partition.
    """
    record = read(_NAME, value, SINGLE_OBJECT)
    with event_errors():
        check_range(record["archived_at_ms"], 0, TIME_LIMIT_MS, "archived_at_ms")
        experiment = experiment_number(record["experiment_id"])
        assert value is not None  # noqa: S101 - it has been decoded
        check_tag(keyring, topic, partition, value)
        return experiment
