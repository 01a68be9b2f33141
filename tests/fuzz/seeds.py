"""Inputs to begin with: a good one of every form, and shapes that once were found to do harm.

`python -m tests.fuzz.seeds` writes them to `tests/fuzz/corpus/DECODER/`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from importlib.resources import files
from io import BytesIO
from pathlib import Path

from fastavro import schemaless_writer, writer
from fastavro.schema import parse_schema

from schemas import library
from schemas.codec import Codec
from scripts.schema_samples import sample_of
from streams.fold.batch_sequences import SequenceGuard
from streams.fold.segments import Piece
from streams.model.events import Observation, ObservationBatch
from streams.model.receipts import Receipt
from streams.wire.observations import encode_observation, encode_observation_batch
from tests.fuzz.decoders import DECODERS, KEYRING

CORPUS = Path(__file__).parent / "corpus"

_BOMB = b"\x80" * 7 + b"\x02"  # a count of 2**56, and nothing behind it


def seeds() -> Mapping[str, tuple[bytes, ...]]:
    """Return the inputs of every decoder."""
    golden = {name: tuple(_golden(name)) for name in library.NAMES}
    receipt = KEYRING.sign(Receipt(1, 2, 1 << 31, 4, 5, 6, 60))
    return {name: tuple(found) for name, found in golden.items() if name in DECODERS} | {
        "snapshot": (*golden["snapshot"], _wide_integer()),
        "tally_cell": (*golden["tally_cell"], _unordered_products()),
        "observations": (
            *golden["observation"],
            *golden["observation_batch"],
            encode_observation(Observation(receipt, "click", 5, "e", 9)),
            encode_observation_batch(ObservationBatch([Observation(receipt, "click", 5)])),
            b'{"assignmentId":"a","metric":"click","value":1.5,"eventId":"e","timestamp":9}',
            b'[0,{},[],null,1e400,{"x":1}]',
            b"[" * 300,
            b"[]",
            b'{"assignmentId":"\\ud800","metric":"m","value":1}',
            _header("observation_batch") + b"\x00\x00" + _BOMB,
        ),
        "plain_observation": (
            *golden["observation"],
            encode_observation(Observation(receipt, "click", 5, "e", 9)),
            encode_observation(Observation(receipt, "m" * 63, -(10**15), None, None)),
            encode_observation(Observation(receipt, "click", 5, "é", 9)),
        ),
        "receipt": (
            receipt.encode(),
            KEYRING.sign(Receipt(1, 0, 1, 1, 1, 1, 0, features=b"\1\4\0")).encode(),
            KEYRING.sign(Receipt(1, 0, 1 << 31, 1, 1, 1, 0, b"\x10 \x20")).encode(),
        ),
        "signed_receipt": (b"\x05A", b"\x4aA\1\4\0", b"\x00B\2\xfe\0\5\0\1"),
        "vector": (b"", b"\1\4\0", b"\2\xfe\0\5\0\1"),
        "registry_schema": tuple(_schemas()),
        "stored_experiment": (json.dumps(_STORED).encode(),),
        "segment": (
            Piece(1, 2, 3, 0, {1: 5, 2: -5, 3: 0}).pack(),
            Piece(2**64 - 1, -1, -1, 2, {}).pack(),
        ),
        "sequences": (SequenceGuard().encode(), _guard().encode()),
        "archive": tuple(_archives()),
        "assignment": (
            b'{"userId":"u","sessionId":"s","device":"mobile","features":{"age":3}}',
            b'{"timestamp":1760000000000}',
            b'{"' + b"k" * 300 + b'":[0,NaN]}',
        ),
        "assignments": (
            b'{"experimentIds":["exp_0000000000001"],"units":[{"userId":"u"},{"userId":"v"}]}',
        ),
    }


_STORED = {
    "format": 1,
    "number": "7",
    "definition": {
        "config": {"name": "test", "type": "ucb", "primaryMetric": "click"},
        "variants": [{"name": "a", "isControl": True}, {"name": "b", "config": {"x": [1]}}],
    },
    "status": "running",
    "version": 2,
    "createdAt": 0,
    "startedAt": 1,
    "startedVersion": 2,
    "concludedAt": None,
    "winner": None,
    "promotion": None,
    "archivedAt": None,
    "isEnded": False,
    "answers": [{"command_id": "0" * 32, "accepted": False, "version": 1, "code": "X"}],
}


def _header(name: str) -> bytes:
    return b"\xc3\x01" + library.current(name).fingerprint


def _golden(name: str) -> Iterator[bytes]:
    for schema in library.versions(name):
        yield sample_of(schema).encoded
    yield _header(name) + _BOMB


def _wide_integer() -> bytes:
    """Return a snapshot with an `int` beyond 32 bits: a reader takes it, no writer writes it."""
    schema = library.current("snapshot")
    record = Codec().decode(next(_golden("snapshot")))[1]
    record["allocation"]["weights"][0] = 2**63 - 2
    body = BytesIO()
    wide = json.loads(schema.text.replace('"int"', '"long"'))
    schemaless_writer(body, parse_schema(wide), record)
    return _header("snapshot") + body.getvalue()


def _unordered_products() -> bytes:
    """Return a cell whose products are not in order of their names."""
    record = Codec().decode(next(_golden("tally_cell")))[1]
    for variant in record["variants"]:
        variant["products"].reverse()
    return Codec().encode("tally_cell", record)


def _schemas() -> Iterator[bytes]:
    base = json.loads(library.current("decision").text)
    body = bytes.fromhex("0265026b018001047b7d")
    recursive = {"type": "record", "name": "R", "fields": [{"name": "r", "type": ["null", "R"]}]}
    for extra, value in (
        ("long", b"\x02"),
        ({"type": "long", "logicalType": "timestamp-millis"}, b"\xfe\xff\xff\xff\xff\x0f"),
        ({"type": "string", "logicalType": "uuid"}, b"\x04no"),
        ({"type": "array", "items": "double"}, _BOMB),
        ({"type": "array", "items": "null"}, _BOMB),
        ({"type": "map", "values": "boolean"}, _BOMB),
        (recursive, b"\x02" * 100),
    ):
        schema = base | {"fields": [{"name": "extra", "type": extra}, *base["fields"]]}
        text = json.dumps(schema).encode()
        yield len(text).to_bytes(2, "big") + text + value + body


def _guard() -> SequenceGuard:
    guard = SequenceGuard()
    for sender in range(3):
        for sequence in (0, 4, 9, 2):
            guard.admit(sender, 1, sequence)
    return guard


def _archives() -> Iterator[bytes]:
    own = json.loads((files("streams.ops.archive") / "archived_record.avsc").read_text("utf-8"))
    rows = [{"offset": n, "timestamp_ms": n, "key": None, "value": b"v"} for n in range(3)]
    metadata = {"topic": "t", "partition": "0", "first": "0", "begin": "0", "missing": "0"}
    recursive = {"type": "record", "name": "R", "fields": [{"name": "r", "type": ["null", "R"]}]}
    for schema, records in ((own, rows), (recursive, [{"r": {"r": None}}])):
        with tempfile.TemporaryFile() as file:
            writer(file, parse_schema(schema), records, codec="deflate", metadata=metadata)
            file.seek(0)
            yield file.read()


def main() -> None:
    """Write the seeds."""
    for name, inputs in seeds().items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("seed-*"):
            stale.unlink()
        for number, data in enumerate(inputs):
            (folder / f"seed-{number:02}").write_bytes(data)


if __name__ == "__main__":
    main()
