"""Fuzzing targets: every decoder, with the errors that it documents, and its invariants."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from api.http.models.requests import AssignmentContext, AssignmentsRequest
from api.services.logged_context import logged_context
from api.strict_json import decode_object
from schemas import library
from schemas.codec import CONFLUENT_MARK, Codec
from schemas.errors import RecordError
from streams.fold.batch_sequences import SequenceGuard
from streams.fold.segments import Piece
from streams.fold.stored import decode_stored, encode_stored
from streams.model.errors import (
    MESSAGE_CHARACTERS,
    PATH_CHARACTERS,
    EngineError,
    EventError,
    InputError,
)
from streams.model.partitioning import SOLE_PARTITION
from streams.model.receipt_columns import open_columns
from streams.model.receipts import Keyring, Receipt
from streams.model.validation import parse
from streams.model.vectors import ENTRY_BYTES, pack, unpack
from streams.ops.archive.container import read_blocks, read_head
from streams.ops.archive.errors import ArchiveError
from streams.wire.cells import decode_cell, encode_cell
from streams.wire.commands import decode_command, encode_command
from streams.wire.dead_letters import decode_dead_letter, encode_dead_letter
from streams.wire.decisions import decode_decision, encode_decision
from streams.wire.experiment_ends import decode_experiment_end
from streams.wire.generations import decode_generation_change
from streams.wire.impressions import decode_impression_batch, encode_impression_batch
from streams.wire.observations import decode_observations
from streams.wire.plain_observations import read_plain_observations
from streams.wire.schema_levels import decode_levels_change
from streams.wire.snapshots import decode_snapshot, encode_snapshot
from streams.wire.time_points import decode_time_point, encode_time_point
from streams.wire.webhooks import decode_webhook, decode_webhook_progress

MAX_S = 5.0
"""Longest that one input may take, on a machine that does other things too."""

MAX_BYTES = 256 * 2**20
"""Most memory that one input may take: 200,000 small observations in one record take 80 MB."""

KEYRING = Keyring({1: bytes(range(16))})
ID = 7


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder.

    Attributes:
        decode: Takes bytes; asserts what must hold of what it returns.
        refuses: The errors it documents; any other one is a finding.
    """

    decode: Callable[[bytes], Any]
    refuses: tuple[type[Exception], ...] = (EventError,)


def check(decoder: Decoder, data: bytes) -> None:
    """Return if a decoder takes or refuses `data` as it documents, in bounded time.

    Raises:
        Exception: a finding.
    """
    started = time.process_time()
    refusal: Exception | None = None
    try:
        decoder.decode(data)
    except decoder.refuses as error:
        refusal = error
    took_s = time.process_time() - started
    assert took_s < MAX_S, f"{len(data)} bytes took {took_s:.1f} s"
    assert refusal is None or str(refusal).encode()
    if isinstance(refusal, EngineError):
        assert refusal.code.replace("_", "").isupper()
        assert len(refusal.message) <= MESSAGE_CHARACTERS
        assert len(refusal.path) <= PATH_CHARACTERS
        assert str(refusal).isprintable()


def _again(
    decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]
) -> Callable[[bytes], Any]:
    """Decode, encode, and again: the bytes must be the same, since tables and topics hold them.

    The first ones may differ: others may write variants in another order, or one of them twice.
    """

    def run(data: bytes) -> None:
        encoded = encode(decode(data))
        assert encode(decode(encoded)) == encoded

    return run


def _command(data: bytes) -> None:
    command = decode_command(data, SOLE_PARTITION)
    assert decode_command(encode_command(command), SOLE_PARTITION).command_id == command.command_id


def _plain_observation(data: bytes) -> None:
    """Compare columns with the general decoder: what they take, it reads the same."""
    columns, is_plain = read_plain_observations([data, None, data])
    assert is_plain[0] == is_plain[2]
    if is_plain[0]:
        assert columns.records.tolist() == [0, 2]
        [observation] = decode_observations(data).observations
        assert columns.observation(0) == columns.observation(1) == observation
    else:
        decode_observations(data)


def _receipt(data: bytes) -> None:
    """Compare one receipt with columns of receipts."""
    text = data.decode("latin-1")
    try:
        receipt, identity = KEYRING.open(text)
    finally:
        columns = open_columns(KEYRING, np.frombuffer(data, np.uint8).reshape(1, -1))
        valid = bool(columns.valid[0])
    assert valid or receipt.features
    if valid:
        assert columns.weights[0] == receipt.weights
        assert (columns.experiment[0], columns.identity[0]) == (receipt.experiment, identity)
        assert columns.assigned_at_ms[0] == receipt.assigned_at_ms


def _signed_receipt(data: bytes) -> None:
    """Change a receipt that is signed with these features: nothing but itself opens."""
    features, at, byte = data[2:], *(data[:2] + b"\0\0")[:2]
    weights = features[:5] if len(features) % ENTRY_BYTES == 5 % ENTRY_BYTES else b""
    receipt = Receipt(1, 2, 3, 4, 5, 6, 7, weights, features[len(weights) :])
    text = KEYRING.sign(receipt)
    assert KEYRING.verify(text) == receipt
    raw = bytearray(text.encode())
    raw[at % len(raw)] = byte
    changed = raw.decode("latin-1")
    if changed != text:
        try:
            KEYRING.open(changed)
        except EventError:
            return
        raise AssertionError(changed)


def _vector(data: bytes) -> None:
    assert pack(unpack(data)) == data


def _learned(data: bytes) -> None:
    """Learn a schema, its length first, and read a record that it is said to have written."""
    size = int.from_bytes(data[:2], "big")
    codec = Codec()
    codec.learn_id(ID, data[2 : 2 + size].decode())
    codec.decode(CONFLUENT_MARK + ID.to_bytes(4, "big") + data[2 + size :])


def _archived(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as file:
        file.write(data)
        file.flush()
        read_head(Path(file.name))
        for records in read_blocks(Path(file.name)):
            assert records is not None


def _assignment(data: bytes) -> None:
    logged_context(parse(AssignmentContext, decode_object(data)))


DECODERS: Mapping[str, Decoder] = {
    "observations": Decoder(decode_observations),
    "plain_observation": Decoder(_plain_observation),
    "impression_batch": Decoder(_again(decode_impression_batch, encode_impression_batch)),
    "command": Decoder(_command),
    "tally_cell": Decoder(_again(decode_cell, encode_cell)),
    "snapshot": Decoder(_again(decode_snapshot, encode_snapshot)),
    "time_point": Decoder(_again(decode_time_point, encode_time_point)),
    "decision": Decoder(_again(decode_decision, encode_decision)),
    "dead_letter": Decoder(_again(decode_dead_letter, encode_dead_letter)),
    "generation_change": Decoder(decode_generation_change),
    "schema_levels": Decoder(decode_levels_change),
    "webhook": Decoder(decode_webhook),
    "webhook_progress": Decoder(decode_webhook_progress),
    "experiment_end": Decoder(
        partial(decode_experiment_end, keyring=KEYRING, topic="impressions", partition=1)
    ),
    "receipt": Decoder(_receipt),
    "signed_receipt": Decoder(_signed_receipt),
    "vector": Decoder(_vector),
    "registry_schema": Decoder(_learned, (RecordError, UnicodeDecodeError)),
    "stored_experiment": Decoder(_again(decode_stored, encode_stored), (EngineError,)),
    "segment": Decoder(lambda data: Piece.unpack(data).pack(), (EngineError, OverflowError)),
    "sequences": Decoder(SequenceGuard.decode, (EngineError,)),
    "archive": Decoder(_archived, (ArchiveError,)),
    "assignment": Decoder(_assignment, (InputError,)),
    "assignments": Decoder(
        lambda data: parse(AssignmentsRequest, decode_object(data)), (InputError,)
    ),
}
"""By name, which is also the folder of its corpus."""

assert {name for name in library.NAMES if "observation" not in name} <= DECODERS.keys()
