"""Authentication of numbered batches by a MAC with one of the installation's receipt keys.

A batch whose sequence was seen before is skipped, so a producer with invented sequences could make
the batches of others be skipped. A numbered batch therefore ends with a tag: the id of a receipt
key and the MAC, by a key derived from it, over the topic, the partition, and every byte of the
record before the tag. A sequence cannot be reused for other contents, and a batch cannot be copied
to another partition or topic.

A key that is limited to some experiments (`Keyring`) may tag batches of impressions of these alone.
The numbers of its senders are their own: no batch of another sender can be skipped for one of
theirs, whatever number they give themselves.

The tag is the last field of its Avro record, which makes it the last `TAG_BYTES` bytes of the
value, whatever the framing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b

from streams.model.errors import EventError
from streams.model.events import ImpressionBatch
from streams.model.receipts import TAG_BYTES, Keyring

BLANK_TAG = bytes(TAG_BYTES)
"""Placeholder that `seal` replaces by the tag."""

_NUMBER_BYTES = 8
_PURPOSE = b"limited sender"

Seal = Callable[[str, int, bytes], bytes]
"""Sets the tag of an encoded batch for a topic (its name in the catalogue) and a partition."""


def sealer(keyring: Keyring, key_id: int | None = None) -> Seal:
    """Return a function that sets the tags of encoded batches.

    Args:
        keyring: The keys.
        key_id: Id of the key; None for the one that signs.
    """

    def seal(topic: str, partition: int, value: bytes) -> bytes:
        body = value[:-TAG_BYTES]
        return body + keyring.tag(_place(topic, partition), body, key_id=key_id)

    return seal


def check_tag(keyring: Keyring, topic: str, partition: int, value: bytes) -> None:
    """Verify that a holder of an unlimited key made the numbered batch for this partition.

    Raises:
        EventError: the tag is not valid (`SEQUENCE_NOT_AUTHENTIC`).
    """
    body, tag = value[:-TAG_BYTES], value[-TAG_BYTES:]
    if not keyring.has_tagged(tag, _place(topic, partition), body):
        raise _not_authentic("tag is not valid")


def authenticated(
    keyring: Keyring, topic: str, partition: int, value: bytes, batch: ImpressionBatch
) -> ImpressionBatch:
    """Verify that a holder of a key made the batch of impressions in `value` for this partition.

    Returns:
        The batch, with the number under which its sender is known.

    Raises:
        EventError: the tag is not valid, or by a key that may not sign for one of the experiments
            (`SEQUENCE_NOT_AUTHENTIC`).
    """
    body, tag = value[:-TAG_BYTES], value[-TAG_BYTES:]
    if not keyring.has_tagged(tag, _place(topic, partition), body, may_be_limited=True):
        raise _not_authentic("tag is not valid")
    key_id = tag[0]
    if keyring.is_unlimited(key_id):
        return batch
    if not all(
        keyring.may_sign(key_id, each.experiment) for each in (*batch.groups, *batch.outside)
    ):
        raise _not_authentic("key may not sign for an experiment in it")
    return replace(batch, incarnation=sender_of(key_id, batch.incarnation))


def sender_of(key_id: int, incarnation: int) -> int:
    """Return the number under which a sender with a limited key is known.

    Args:
        key_id: Id of the key.
        incarnation: 64-bit number that the sender has given itself.
    """
    message = bytes([key_id]) + incarnation.to_bytes(_NUMBER_BYTES)
    return int.from_bytes(blake2b(message, digest_size=_NUMBER_BYTES, person=_PURPOSE).digest())


def _not_authentic(reason: str) -> EventError:
    return EventError(
        "SEQUENCE_NOT_AUTHENTIC",
        f"the batch has a sequence, and its {reason}; only processes with a receipt key number "
        "their batches",
        "sequence",
    )


def _place(topic: str, partition: int) -> bytes:
    return f"{topic}/{partition}/".encode()
