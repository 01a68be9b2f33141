"""Layout of receipts: the bytes of an assignment id, and its text.

A receipt says what was assigned, with which probability, when, and until when observations count.
Version 1 is 56 bytes, all integers unsigned and big-endian:

    offset  bytes  field
         0      1  version, 1
         1      1  id of the signing key
         2      8  experiment
        10      2  index of the variant
        12      4  propensity: numerator over 2**32, minus 1
        16      6  version of the allocation that decided
        22      6  time of the assignment, milliseconds since 1970-01-01 UTC
        28      8  hash of the unit
        36      4  attribution window in seconds, 0 for no limit
        40     16  BLAKE2b of bytes 0..39, keyed with the secret, digest of 16 bytes

The text is base64url without padding (RFC 4648, section 5): 75 characters, of which the last
carries two zero bits. Only that spelling is accepted, so a text stands for one assignment.

Version 2 has the first byte 2 and, between byte 39 and the MAC, what else decided:

    offset  bytes  field
        40      1  n, the number of bytes of weights that follow: 0, or 3 to 32
        41      n  the weights of all variants in the order of the definition, or, of more than 16,
                   a bit for each that could be assigned (`streams.model.variant_weights`)
      41+n     3e  what a contextual policy has seen of the request: e entries of its vector, those
                   that are not 0, except the intercept; an index of one byte and a value of two,
                   signed, in 1 / 1,024; e is 0 to 32, and at least 1 if n is 0

The text of ten weights has 90 characters, that of three and six entries 104.

Version 3 has the first byte 3 and, between byte 39 and what version 2 has there, the values of the
unit in the dimensions of the experiment:

    offset  bytes  field
        40      1  d, the number of dimensions, 1 to 4
        41      d  of each the place of the value among the declared ones, from 1; 0 for any other

There, n and e may both be 0. A receipt without dimensions is of version 2, and one without weights
and entries either of version 1. The MAC always covers everything before it, and the first byte
says what that is.

To check another implementation: with the secret 000102..1f (32 bytes) under key id 1,

    experiment 0x0123456789abcdef, variant 2, propensity 2**30 (one quarter), allocation version 7,
    assigned at 1,700,000,000,123 ms, unit 0xfedcba9876543210, attribution window 86,400 s

has the receipt

    AQEBI0VniavN7wACP____wAAAAAABwGLz-Voe_7cuph2VDIQAAFRgKIQd87bB2w7MDUwCDcMcvE

With the integer weights 32768, 16384 and 16384, the bytes of which are 10 20 20 (16 times the
binary logarithms of 2, 4 and 4), the bytes between byte 39 and the MAC are 03 10 20 20:

    AgEBI0VniavN7wACP____wAAAAAABwGLz-Voe_7cuph2VDIQAAFRgAMQICACjfej0IL2VcLRzuLkAw3F

With the entries 1024 at index 3 and -307 at index 5, and no weights, they are 00 03 0400 05 fecd:

    AgEBI0VniavN7wACP____wAAAAAABwGLz-Voe_7cuph2VDIQAAFRgAADBAAF_s3BpYa0jSdNO27VQSFAV3tK

With both they are 03 10 20 20 03 0400 05 fecd:

    AgEBI0VniavN7wACP____wAAAAAABwGLz-Voe_7cuph2VDIQAAFRgAMQICADBAAF_s1ziYXc_9fIaxRvSipqGK_C

With the second value of the first dimension and another one of the second, and nothing else, they
are 02 02 00 00:

    AwEBI0VniavN7wACP____wAAAAAABwGLz-Voe_7cuph2VDIQAAFRgAICAABDvysvM2t36ng03Z6GS3VS

and with the weights 03 10 20 20 besides, 02 02 00 03 10 20 20:

    AwEBI0VniavN7wACP____wAAAAAABwGLz-Voe_7cuph2VDIQAAFRgAICAAMQICDbTOE90ukdwAV_Sn5cTvhH
"""

from __future__ import annotations

import struct
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from streams.model.dimensions import MAX_DIMENSIONS
from streams.model.errors import ReceiptError
from streams.model.variant_weights import MAX_PACKED
from streams.model.vectors import ENTRY_BYTES, MAX_ENTRIES

RECEIPT_LENGTH = 75
"""Characters of a receipt without weights and features."""

MAC_BYTES = 16
"""Length of the MAC, at the end of a receipt."""

Fields = tuple[int, int, int, int, int, int, int, bytes, bytes, bytes]
"""Fields of a `streams.model.receipts.Receipt`, in their order."""

_VERSION = 1
_EXTENDED_VERSION = 2
_SLICED_VERSION = 3
_BODY = struct.Struct(">BBQHIHIHIQI")
_WHOLE = struct.Struct(f"{_BODY.format}Q8x")  # of the MAC the bits that stand for the text
_SIZE = _WHOLE.size
_BODY_SIZE = _BODY.size
_NUMBERS_OF_WEIGHTS = frozenset({0, *range(3, MAX_PACKED + 1)})
_LOW = 0xFFFFFFFF
# To the alphabet of a2b_base64; what only that alphabet has becomes something it refuses.
_TO_STANDARD = bytes.maketrans(b"-_+/", b"+/!!")
_TO_URL = bytes.maketrans(b"+/", b"-_")
_PADDING = (b"", b"!", b"==", b"=")  # by length modulo 4, and no text has the length 1
_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# By length modulo 4: the bits of the last character that belong to no byte are zero.
_LAST_CHARACTERS: tuple[frozenset[str], ...] = (
    frozenset(_CHARACTERS),
    frozenset(),
    frozenset(_CHARACTERS[::16]),
    frozenset(_CHARACTERS[::4]),
)


def pack(fields: Fields, key_id: int) -> bytes:
    """Return the bytes of a receipt without its MAC.

    Args:
        fields: Its fields, within the bounds of `Receipt`.
        key_id: Id of the key that signs it.
    """
    (
        experiment,
        variant,
        propensity,
        allocation,
        assigned,
        unit,
        window,
        weights,
        features,
        dimensions,
    ) = fields
    version, extension = _VERSION, b""
    if weights or features or dimensions:
        version = _EXTENDED_VERSION
        extension = b"".join((len(weights).to_bytes(), weights, features))
        if dimensions:
            version = _SLICED_VERSION
            extension = b"".join((len(dimensions).to_bytes(), dimensions, extension))
    body = _BODY.pack(
        version,
        key_id,
        experiment,
        variant,
        propensity - 1,
        allocation >> 32,
        allocation & _LOW,
        assigned >> 32,
        assigned & _LOW,
        unit,
        window,
    )
    return body + extension


def unpack(raw: bytes) -> tuple[Fields, int]:
    """Return the fields of a receipt, and the first 64 bits of its MAC.

    Args:
        raw: Its bytes, as `raw_of` returns them.
    """
    (
        _,
        _,
        experiment,
        variant,
        propensity,
        allocation_high,
        allocation_low,
        assigned_high,
        assigned_low,
        unit,
        window,
        identity,
    ) = _WHOLE.unpack(raw if len(raw) == _SIZE else raw[:_BODY_SIZE] + raw[-MAC_BYTES:])
    weights = features = dimensions = b""
    if len(raw) != _SIZE:
        at = _BODY_SIZE
        if raw[0] == _SLICED_VERSION:
            at += 1 + raw[at]
            dimensions = raw[_BODY_SIZE + 1 : at]
        features_at = at + 1 + raw[at]
        weights, features = raw[at + 1 : features_at], raw[features_at:-MAC_BYTES]
    fields = (
        experiment,
        variant,
        propensity + 1,
        allocation_high << 32 | allocation_low,
        assigned_high << 32 | assigned_low,
        unit,
        window,
        weights,
        features,
        dimensions,
    )
    return fields, identity


def check_form(text: str) -> None:
    """Refuse what cannot be a receipt, for those who have no key to verify it with.

    Raises:
        ReceiptError: it is not the one spelling of a receipt (`MALFORMED_RECEIPT`), or of a later
            version (`UNKNOWN_RECEIPT_VERSION`).
    """
    raw_of(text)


def text_of(raw: bytes) -> str:
    """Return the text of a receipt; the inverse of `raw_of`."""
    return b2a_base64(raw, newline=False).translate(_TO_URL, b"=").decode()


def raw_of(text: str) -> bytes:
    """Return the bytes that a receipt is the text of; three quarters of its length.

    Raises:
        ReceiptError: as `check_form`.
    """
    try:
        standard = text.encode("ascii").translate(_TO_STANDARD)
        raw = a2b_base64(standard + _PADDING[len(text) % 4], strict_mode=True)
    except (Base64Error, UnicodeEncodeError) as error:
        raise refused("MALFORMED_RECEIPT", "the receipt is not base64url") from error
    if len(raw) < _SIZE:
        raise refused("MALFORMED_RECEIPT", f"the receipt is shorter than {_SIZE} bytes")
    if raw[0] == _VERSION:
        is_whole = len(raw) == _SIZE
    elif raw[0] == _EXTENDED_VERSION:
        is_whole = len(raw) > _SIZE + 1 and _is_extension(raw, _BODY_SIZE)
    elif raw[0] == _SLICED_VERSION:
        n_dimensions = raw[_BODY_SIZE]
        is_whole = 0 < n_dimensions <= MAX_DIMENSIONS and _is_extension(
            raw, _BODY_SIZE + 1 + n_dimensions
        )
    else:
        raise refused("UNKNOWN_RECEIPT_VERSION", f"version {raw[0]} of receipts is not known")
    if not is_whole or text[-1] not in _LAST_CHARACTERS[len(text) % 4]:
        raise refused("MALFORMED_RECEIPT", "the receipt is not spelled as it was given out")
    return raw


def _is_extension(raw: bytes, at: int) -> bool:
    """Return whether the bytes of a receipt from a place on are those of weights and entries."""
    if at >= len(raw) - MAC_BYTES:
        return False
    n_weights = raw[at]
    entries, rest = divmod(len(raw) - MAC_BYTES - at - 1 - n_weights, ENTRY_BYTES)
    return n_weights in _NUMBERS_OF_WEIGHTS and not rest and 0 <= entries <= MAX_ENTRIES


def refused(code: str, message: str) -> ReceiptError:
    """Return the error of an assignment id that is refused."""
    return ReceiptError(code, message, "assignmentId")
