"""Codec of Avro records: the first bytes of a record identify the schema of its writer.

| first bytes | then |
|---|---|
| `C3 01`, fingerprint (8 bytes, little-endian) | Avro: single-object encoding |
| `00`, id (4 bytes, big-endian) | Avro: Confluent wire format |

Source: Avro 1.12 specification, "Single-object encoding"; Confluent, "Wire format".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from fastavro import schemaless_reader, schemaless_writer
from fastavro.schema import parse_schema

from schemas import library
from schemas.catalogue import STATE_BYTES
from schemas.errors import (
    RecordTooLargeError,
    SchemaNotEnabledError,
    UndecodableRecordError,
    UnexpectedSchemaError,
    UnknownSchemaError,
)
from schemas.learned import readable_schema
from schemas.narrowing import Loss, loss_of
from schemas.plain_observation import is_plain, read_plain_observation

Record = dict[str, Any]

SINGLE_OBJECT_MARK = b"\xc3\x01"
SINGLE_OBJECT_HEADER_BYTES = 10
CONFLUENT_MARK = b"\x00"
CONFLUENT_HEADER_BYTES = 5

_SINGLE_OBJECT_FIRST = SINGLE_OBJECT_MARK[0]
_CONFLUENT_FIRST = CONFLUENT_MARK[0]


@dataclass(frozen=True, slots=True, eq=False)
class _Writer:
    """The writer's schema of a record, and the reader's; None if both are the newest version.

    A record of a foreign schema is read whole before it is resolved: to skip a field that the
    reader lacks, fastavro trusts the count of an array of booleans, numbers or fixed bytes, however
    few bytes follow.
    """

    name: str
    schema: Any
    reader: Any
    is_plain: bool = False
    is_foreign: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Encoder:
    """Header and schema of the records that are written, and what the schema cannot hold."""

    header: bytes
    schema: Any
    loss: Loss | None = None


class Codec:
    """Encoder and decoder of records.

    It writes single-object encoding, or the Confluent wire format for schemas whose registry id
    `use_id` has set. It reads both, in every released version. It writes the newest version of
    every schema, or the one that `write` has set.
    """

    def __init__(self) -> None:
        self._ids: dict[tuple[str, int], int] = {}
        self._written: dict[str, int] = {}
        self._encoders: dict[str, _Encoder] = {}
        self._writers: dict[bytes, _Writer] = {}
        for name in library.NAMES:
            *older, newest = library.versions(name)
            self._writers[SINGLE_OBJECT_MARK + newest.fingerprint] = _newest_writer(name)
            for schema in older:
                header = SINGLE_OBJECT_MARK + schema.fingerprint
                self._writers[header] = _Writer(name, schema.parsed, newest.parsed)
        self.write(library.newest_versions())

    @property
    def written(self) -> Mapping[str, int]:
        """Version written of every schema; 0 if none."""
        return dict(self._written)

    def write(self, versions: Mapping[str, int]) -> None:
        """Set the versions that are written; schemas without an entry keep theirs.

        Args:
            versions: Version by name of the schema. 0 disables the schema. A version above the
                newest one counts as the newest.
        """
        for name in library.NAMES:
            if name in versions:
                self._written[name] = min(versions[name], library.current(name).version)
                self._choose(name)

    def encode(self, name: str, record: Mapping[str, Any]) -> bytes:
        """Return `record` with its header, in the written version of schema `name`.

        Raises:
            SchemaNotEnabledError: that version cannot hold the record without loss.
            ValueError, TypeError, OverflowError, KeyError: the record does not fit the schema.
        """
        encoder = self._encoders.get(name)
        if encoder is None:
            raise _not_enabled(name, 0, name)
        if encoder.loss is not None:
            for path in encoder.loss(record, name):
                raise _not_enabled(name, self._written[name], path)
        stream = BytesIO()
        stream.write(encoder.header)
        schemaless_writer(stream, encoder.schema, record)
        return stream.getvalue()

    def decode(self, value: bytes | None) -> tuple[str, Record]:
        """Return the schema name of a record, and the record in the shape of the newest version.

        Raises:
            RecordError: the bytes are not a record of a known schema, or exceed `STATE_BYTES`.
        """
        if not value:
            raise UndecodableRecordError("the record has no value")
        if len(value) > STATE_BYTES:
            raise RecordTooLargeError(f"{len(value)} bytes, must be <= {STATE_BYTES}")
        size = 10 if value[0] == _SINGLE_OBJECT_FIRST else 5
        writer = self._writers.get(value[:size])
        if writer is None:
            raise _unreadable(value)
        if writer.is_plain and (plain := read_plain_observation(value, size)) is not None:
            return writer.name, plain
        stream = BytesIO(value)
        stream.seek(size)
        try:
            if writer.is_foreign:
                schemaless_reader(stream, writer.schema, None)
                stream.seek(size)
            record = schemaless_reader(stream, writer.schema, writer.reader)
        except Exception as error:
            # fastavro raises whatever the bytes make its primitives raise: EOFError, IndexError,
            # UnicodeDecodeError, OverflowError, MemoryError and its own resolution errors.
            raise UndecodableRecordError(
                f"not a record of {writer.name}: {type(error).__name__}"
            ) from error
        if stream.tell() != len(value):
            raise UndecodableRecordError(f"bytes follow the record of {writer.name}")
        return writer.name, record  # type: ignore[return-value]  # every schema of ours is a record

    def decode_as(self, name: str, value: bytes | None) -> Record:
        """Return the record in `value`, which must be of schema `name`.

        Raises:
            RecordError: as `decode`, or the record is of another schema.
        """
        found, record = self.decode(value)
        if found != name:
            raise UnexpectedSchemaError(f"schema == {found}, must be {name}")
        return record

    def use_id(self, schema: library.Schema, schema_id: int) -> None:
        """Frame this version of a schema in the Confluent wire format from now on."""
        newest = library.current(schema.name)
        self._ids[schema.name, schema.version] = schema_id
        self._writers[_confluent_header(schema_id)] = (
            _newest_writer(schema.name)
            if schema is newest
            else _Writer(schema.name, schema.parsed, newest.parsed)
        )
        self._choose(schema.name)

    def learn_id(self, schema_id: int, text: str) -> None:
        """Read records with this registry id from now on.

        Args:
            schema_id: Id in the registry, in [0, 2**32).
            text: The writer's schema, JSON. The name of its record, without namespace, identifies
                the schema; it may have further fields. Logical types are read as the types that
                they annotate.

        Raises:
            UnknownSchemaError: the text is not a schema, not one of a known record, or one that
                could take any memory or depth to read a few bytes.
        """
        try:
            schema = parse_schema(readable_schema(text))
            name = library.by_record_name()[schema["name"].rpartition(".")[2]]  # type: ignore[index,call-overload]
        except Exception as error:
            # A registry is shared with others: what it holds under an id may be anything.
            raise UnknownSchemaError(
                f"id {schema_id} is not a schema of ours: {type(error).__name__}"
            ) from error
        newest = library.current(name)
        same = library.crc64_avro(json.loads(text)) == newest.fingerprint
        self._writers[_confluent_header(schema_id)] = (
            _newest_writer(name) if same else _Writer(name, schema, newest.parsed, is_foreign=True)
        )

    def _choose(self, name: str) -> None:
        version = self._written[name]
        if version == 0:
            self._encoders.pop(name, None)
            return
        schema, newest = library.versions(name)[version - 1], library.current(name)
        schema_id = self._ids.get((name, version))
        self._encoders[name] = _Encoder(
            SINGLE_OBJECT_MARK + schema.fingerprint
            if schema_id is None
            else _confluent_header(schema_id),
            schema.parsed,
            None if schema is newest else loss_of(newest.parsed, schema.parsed),
        )

    def unknown_ids(self, values: Iterable[bytes | None]) -> set[int]:
        """Return the registry ids of these records that are unknown."""
        return {
            int.from_bytes(value[1:CONFLUENT_HEADER_BYTES], "big")
            for value in values
            if value
            and value[0] == _CONFLUENT_FIRST
            and len(value) >= CONFLUENT_HEADER_BYTES
            and value[:CONFLUENT_HEADER_BYTES] not in self._writers
        }


def _newest_writer(name: str) -> _Writer:
    schema = library.current(name).parsed
    return _Writer(name, schema, None, is_plain=name == "observation" and is_plain(schema))


def _not_enabled(name: str, version: int, path: str) -> SchemaNotEnabledError:
    return SchemaNotEnabledError(
        f"{path} needs a newer version of {name} than {version}, which is written until every "
        "reader reads a newer one"
    )


def _confluent_header(schema_id: int) -> bytes:
    return CONFLUENT_MARK + schema_id.to_bytes(4, "big")


def _unreadable(value: bytes) -> UndecodableRecordError | UnknownSchemaError:
    """Return the error of a record whose first bytes identify no known schema."""
    if value.startswith(SINGLE_OBJECT_MARK) and len(value) >= SINGLE_OBJECT_HEADER_BYTES:
        written = int.from_bytes(value[2:SINGLE_OBJECT_HEADER_BYTES], "little")
        return UnknownSchemaError(f"no schema has the fingerprint {written:016x}")
    if value.startswith(CONFLUENT_MARK) and len(value) >= CONFLUENT_HEADER_BYTES:
        written = int.from_bytes(value[1:CONFLUENT_HEADER_BYTES], "big")
        return UnknownSchemaError(f"no schema is known by the id {written}")
    return UndecodableRecordError(f"no record starts with {value[:2].hex(' ')}")
