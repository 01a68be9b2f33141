"""Errors of records and of the schema registry."""

from __future__ import annotations

from typing import ClassVar


class RecordError(ValueError):
    """A record cannot be read.

    Attributes:
        code: Stable name of the condition, upper snake case; the text of the message is not stable.
    """

    code: ClassVar[str]


class UndecodableRecordError(RecordError):
    """The bytes are not a record of the schema they claim: truncated, too long, or noise."""

    code = "UNDECODABLE_RECORD"


class RecordTooLargeError(RecordError):
    """The record is larger than any that its topic takes uncompressed; it was not decoded."""

    code = "RECORD_TOO_LARGE"


class UnknownSchemaError(RecordError):
    """The record names a schema, by fingerprint or by registry id, that is unknown here."""

    code = "UNKNOWN_SCHEMA"


class UnexpectedSchemaError(RecordError):
    """A valid record of a schema that does not belong on the topic it was read from."""

    code = "UNEXPECTED_SCHEMA"


class SchemaNotEnabledError(RecordError):
    """A record needs a schema version that is not written yet: not every reader reads it.

    Operator action: upgrade every process, then run `experiment schemas enable`.
    """

    code = "SCHEMA_NOT_ENABLED"


class RegistryError(Exception):
    """The schema registry does not answer, or not as it should; a later attempt may succeed."""


class RegistryRefusedError(RegistryError):
    """The schema registry refuses to register a schema, and will do so again.

    Operator action: see its message; delete or correct what the subject holds, or its rule of
    compatibility, or grant the right to register.
    """
