"""Receipts: signed assignment ids, which are verified without a look-up.

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
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple, Self

from streams.model.dimensions import MAX_DIMENSIONS
from streams.model.errors import ConfigurationError, InputError, ReceiptError
from streams.model.experiment_keys import named_experiment
from streams.model.variant_weights import MAX_PACKED
from streams.model.vectors import ENTRY_BYTES, MAX_ENTRIES

RECEIPT_LENGTH = 75
"""Characters of a receipt without weights and features."""

MAX_KEY_ID = 255
MIN_SECRET_BYTES = 16
MAX_SECRET_BYTES = 64
"""Bounds of a secret: as long as the MAC, and what BLAKE2b takes."""

TAG_BYTES = 17
"""Length of what `Keyring.tag` returns: id of the key, and MAC."""

_PURPOSE_OF_TAGS = b"batch tag"  # of another purpose than receipts, so neither passes for the other
_VERSION = 1
_EXTENDED_VERSION = 2
_SLICED_VERSION = 3
_BODY = struct.Struct(">BBQHIHIHIQI")
_MAC_BYTES = 16
_WHOLE = struct.Struct(f"{_BODY.format}Q8x")  # the MAC as what `open` takes of it
_SIZE = _WHOLE.size
_BODY_SIZE = _BODY.size
_NUMBERS_OF_WEIGHTS = frozenset({0, *range(3, MAX_PACKED + 1)})
_LOW = 0xFFFFFFFF
_new_tuple = tuple.__new__  # half the time of calling the class, for what is done per click

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


class Receipt(NamedTuple):
    """Content of an assignment id. A tuple, because one is made for every click.

    Attributes:
        experiment: The experiment as a 64-bit number.
        variant: Index of the assigned variant, below 2**16.
        propensity: Probability it had, numerator over 2**32, in 1..2**32.
        allocation_version: Version of the allocation that decided, below 2**48.
        assigned_at_ms: Time of the assignment, below 2**48.
        unit: 64-bit hash of the unit.
        attribution_window_s: Seconds during which observations count, below 2**32; 0 for no limit.
        weights: Weights of all variants, packed (`streams.model.variant_weights`); empty where the
            allocation is fixed and all variants were eligible, or of two variants.
        features: What a contextual policy has seen of the request, packed
            (`streams.model.vectors`); empty under every other policy.
        dimensions: Values of the unit in the dimensions of the experiment, one byte each
            (`streams.model.dimensions`); empty where it has none.
    """

    experiment: int
    variant: int
    propensity: int
    allocation_version: int
    assigned_at_ms: int
    unit: int
    attribution_window_s: int
    weights: bytes = b""
    features: bytes = b""
    dimensions: bytes = b""


class Keyring:
    """Secrets that sign and verify receipts, by key id.

    Args:
        secrets: Secret by key id, ids in 0..255; the first signs, all verify. To rotate, add the
            new one behind the others everywhere, and only then put it first: no verifier then meets
            a receipt that it cannot verify.
        limits: Of keys that may sign for some experiments alone, as those of a program that is
            trusted with no more: the numbers of these experiments. Such a key signs the receipts of
            the experiments that start after it was added, and of no other, and numbers batches of
            impressions of these, and of nothing else.

    The receipts of one experiment are all signed by one key, the one that signed when it started
    (`sign_with`), whichever signs now: the text of a receipt chooses its partition and identifies
    its unit, so signing a unit's receipt again with another key would count the unit twice.

    Raises:
        ConfigurationError: there is no secret, an id is out of range, or a secret is too short or
            too long.
    """

    __slots__ = ("_chosen", "_limits", "_signer", "_states", "_tag_states")

    def __init__(
        self, secrets: Mapping[int, bytes], limits: Mapping[int, frozenset[int]] | None = None
    ) -> None:
        if not secrets:
            raise ConfigurationError("no receipt key, must be at least one", "receipt_keys")
        for key_id, secret in secrets.items():
            if not 0 <= key_id <= MAX_KEY_ID:
                raise ConfigurationError(
                    f"key id == {key_id}, must be in 0..{MAX_KEY_ID}", "receipt_keys"
                )
            if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
                raise ConfigurationError(
                    f"secret of key {key_id} has {len(secret)} bytes, must have "
                    f"{MIN_SECRET_BYTES} to {MAX_SECRET_BYTES}",
                    "receipt_keys",
                )
        # Keyed once: copying a state costs less than keying a new one.
        self._states = {
            key_id: blake2b(key=secret, digest_size=_MAC_BYTES)
            for key_id, secret in secrets.items()
        }
        self._tag_states = {
            key_id: blake2b(key=secret, digest_size=_MAC_BYTES, person=_PURPOSE_OF_TAGS)
            for key_id, secret in secrets.items()
        }
        self._limits = dict(limits or {})
        self._signer = next(filter(self.is_unlimited, secrets), next(iter(secrets)))
        self._chosen: dict[int, int] = {}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the keyring written as `1:hex,2:hex`, or in lines; the first signs.

        A key that is limited to some experiments has their ids or keys behind it, joined by `+`:
        `7:hex:homepage+checkout`. Empty lines and what stands behind a `#` do not count.

        Raises:
            ConfigurationError: it is not written so, or as above. The error never quotes `text`.
        """
        secrets: dict[int, bytes] = {}
        limits: dict[int, frozenset[int]] = {}
        for number, entry in enumerate(_entries(text), 1):
            name, _, rest = entry.strip().partition(":")
            digits, limit, experiments = rest.partition(":")
            try:
                key_id, secret = int(name), bytes.fromhex(digits)
                if limit:
                    limits[key_id] = frozenset(map(named_experiment, experiments.split("+")))
            except (ValueError, InputError):
                # The cause would quote the secret.
                raise ConfigurationError(
                    f"key {number} is not written as id:hexadecimal or id:hexadecimal:experiments",
                    "receipt_keys",
                ) from None
            if key_id in secrets:
                raise ConfigurationError(f"key id {key_id} is given twice", "receipt_keys")
            secrets[key_id] = secret
        return cls(secrets, limits)

    def take(self, other: Keyring) -> None:
        """Have the secrets of another keyring from now on, all at once."""
        self._states, self._tag_states, self._signer, self._limits = (
            other._states,
            other._tag_states,
            other._signer,
            other._limits,
        )

    def sign_with(self, experiment: int, key_id: int | None) -> None:
        """Sign the receipts of an experiment with this key, as long as it is here.

        Args:
            experiment: The experiment as a 64-bit number.
            key_id: The key that signed when it started; None where that is not known, and once the
                experiment has ended.
        """
        if key_id is None:
            self._chosen.pop(experiment, None)
        else:
            self._chosen[experiment] = key_id

    def key_of_new(self, experiment: int) -> int:
        """Return the id of the key that signs the receipts of an experiment that starts now.

        It is the first one that is limited to this experiment, if there is one.
        """
        limited = (each for each, numbers in self._limits.items() if experiment in numbers)
        return next(limited, self._signer)

    def is_unlimited(self, key_id: int) -> bool:
        """Return whether a key may sign for every experiment."""
        return key_id not in self._limits

    def may_sign(self, key_id: int, experiment: int) -> bool:
        """Return whether a key may sign the receipts of an experiment."""
        limit = self._limits.get(key_id)
        return limit is None or experiment in limit

    @property
    def limits(self) -> Mapping[int, frozenset[int]]:
        """Experiments of the keys that may sign for some alone."""
        return self._limits

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids of the secrets; the first that is not limited signs."""
        return tuple(self._states)

    def __repr__(self) -> str:
        return f"Keyring(ids={list(self._states)})"

    def sign(self, receipt: Receipt) -> str:
        """Return the receipt as the text that is the assignment id."""
        return text_of(self.sign_bytes(receipt))

    def sign_bytes(self, receipt: Receipt) -> bytes:
        """Return the bytes that `sign` returns the text of."""
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
        ) = receipt
        version = _EXTENDED_VERSION if weights or features else _VERSION
        if dimensions:
            version = _SLICED_VERSION
        signer = self._chosen.get(experiment, self._signer) if self._chosen else self._signer
        state = self._states.get(signer)
        if state is None:  # taken out of the ring before its experiments were archived
            signer = self._signer
            state = self._states[signer]
        body = _BODY.pack(
            version,
            signer,
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
        if dimensions:
            body = b"".join((body, len(dimensions).to_bytes(), dimensions))
        if version != _VERSION:
            body = b"".join((body, len(weights).to_bytes(), weights, features))
        state = state.copy()
        state.update(body)
        return body + state.digest()

    def macs(self, bodies: Iterable[bytes]) -> bytes:
        """Return the MACs of receipts without their MACs, one after the other.

        Args:
            bodies: Each by a key that is here: its second byte is one of `ids`.
        """
        states = self._states
        macs = []
        for body in bodies:
            state = states[body[1]].copy()
            state.update(body)
            macs.append(state.digest())
        return b"".join(macs)

    def tag(self, *parts: bytes, key_id: int | None = None) -> bytes:
        """Return the tag of a record, see `streams.wire.batch_tags`: `TAG_BYTES` bytes.

        Args:
            parts: The record.
            key_id: Id of the key, one of `ids`; None for the one that signs.
        """
        signer = self._signer if key_id is None else key_id
        state = self._tag_states[signer].copy()
        for part in parts:
            state.update(part)
        return bytes([signer]) + state.digest()

    def has_tagged(self, tag: bytes, *parts: bytes, may_be_limited: bool = False) -> bool:
        """Return whether one of the secrets, the one that the tag names, made it of these parts.

        Args:
            tag: The tag.
            parts: The parts.
            may_be_limited: Whether the tag of a limited key will do.
        """
        state = self._tag_states.get(tag[0]) if len(tag) == TAG_BYTES else None
        if state is None or not (may_be_limited or self.is_unlimited(tag[0])):
            return False
        state = state.copy()
        for part in parts:
            state.update(part)
        return compare_digest(state.digest(), tag[1:])

    def verify(self, text: str) -> Receipt:
        """Return what a receipt says, once it is certain that one of the secrets signed it.

        Raises:
            ReceiptError: as `open`.
        """
        return self.open(text)[0]

    def open(self, text: str) -> tuple[Receipt, int]:
        """Return what a receipt says, and 64 bits that stand for its text.

        The bits are the first of the MAC: uniform, and not predictable without the secret.

        Raises:
            ReceiptError: it is not the one spelling of a receipt (`MALFORMED_RECEIPT`), of a later
                version (`UNKNOWN_RECEIPT_VERSION`), signed by a key that is not here
                (`UNKNOWN_RECEIPT_KEY`), or not signed by that key (`FORGED_RECEIPT`).
        """
        raw = raw_of(text)
        (
            _,
            key_id,
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
        ) = _WHOLE.unpack(raw if len(raw) == _SIZE else raw[:_BODY_SIZE] + raw[-_MAC_BYTES:])
        weights = features = dimensions = b""
        if len(raw) != _SIZE:
            at = _BODY_SIZE
            if raw[0] == _SLICED_VERSION:
                at += 1 + raw[at]
                dimensions = raw[_BODY_SIZE + 1 : at]
            features_at = at + 1 + raw[at]
            weights, features = raw[at + 1 : features_at], raw[features_at:-_MAC_BYTES]
        state = self._states.get(key_id)
        if state is None:
            raise _refused("UNKNOWN_RECEIPT_KEY", f"no key {key_id} to verify the receipt with")
        state = state.copy()
        state.update(raw[:-_MAC_BYTES])
        if not compare_digest(state.digest(), raw[-_MAC_BYTES:]):
            raise _refused("FORGED_RECEIPT", "the receipt was not signed by the key it names")
        if self._limits and not self.may_sign(key_id, experiment):
            raise _refused("FORGED_RECEIPT", f"key {key_id} may not sign for this experiment")
        allocation = allocation_high << 32 | allocation_low
        assigned = assigned_high << 32 | assigned_low
        fields = (
            experiment,
            variant,
            propensity + 1,
            allocation,
            assigned,
            unit,
            window,
            weights,
            features,
            dimensions,
        )
        return _new_tuple(Receipt, fields), identity


def _entries(text: str) -> list[str]:
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [part for line in lines if line.strip() for part in line.strip().split(",")]


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
        raise _refused("MALFORMED_RECEIPT", "the receipt is not base64url") from error
    if len(raw) < _SIZE:
        raise _refused("MALFORMED_RECEIPT", f"the receipt is shorter than {_SIZE} bytes")
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
        raise _refused("UNKNOWN_RECEIPT_VERSION", f"version {raw[0]} of receipts is not known")
    if not is_whole or text[-1] not in _LAST_CHARACTERS[len(text) % 4]:
        raise _refused("MALFORMED_RECEIPT", "the receipt is not spelled as it was given out")
    return raw


def _is_extension(raw: bytes, at: int) -> bool:
    """Return whether the bytes of a receipt from a place on are those of weights and entries."""
    if at >= len(raw) - _MAC_BYTES:
        return False
    n_weights = raw[at]
    entries, rest = divmod(len(raw) - _MAC_BYTES - at - 1 - n_weights, ENTRY_BYTES)
    return n_weights in _NUMBERS_OF_WEIGHTS and not rest and 0 <= entries <= MAX_ENTRIES


def _refused(code: str, message: str) -> ReceiptError:
    return ReceiptError(code, message, "assignmentId")
