"""Receipts: signed assignment ids, which are verified without a look-up.

A receipt says what was assigned, with which probability, when, and until when observations count.
`streams.model.receipt_layout` has its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple, Self

from streams.model.errors import ConfigurationError, InputError
from streams.model.experiment_keys import named_experiment
from streams.model.receipt_layout import MAC_BYTES, pack, raw_of, refused, text_of, unpack

MAX_KEY_ID = 255
MIN_SECRET_BYTES = 16
MAX_SECRET_BYTES = 64
"""Bounds of a secret: as long as the MAC, and what BLAKE2b takes."""

TAG_BYTES = 17
"""Length of what `Keyring.tag` returns: id of the key, and MAC."""

_PURPOSE_OF_TAGS = b"batch tag"  # of another purpose than receipts, so neither passes for the other
_new_tuple = tuple.__new__  # half the time of calling the class, for what is done per click


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
            key_id: blake2b(key=secret, digest_size=MAC_BYTES) for key_id, secret in secrets.items()
        }
        self._tag_states = {
            key_id: blake2b(key=secret, digest_size=MAC_BYTES, person=_PURPOSE_OF_TAGS)
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
        chosen = self._chosen
        signer = chosen.get(receipt.experiment, self._signer) if chosen else self._signer
        try:
            state = self._states[signer].copy()
        except KeyError:  # removed before its experiments were archived
            signer = self._signer
            state = self._states[signer].copy()
        body = pack(receipt, signer)
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
        key_id = raw[1]
        try:
            state = self._states[key_id].copy()
        except KeyError:
            message = f"no key {key_id} to verify the receipt with"
            raise refused("UNKNOWN_RECEIPT_KEY", message) from None
        state.update(raw[:-MAC_BYTES])
        if not compare_digest(state.digest(), raw[-MAC_BYTES:]):
            raise refused("FORGED_RECEIPT", "the receipt was not signed by the key it names")
        fields, identity = unpack(raw)
        receipt = _new_tuple(Receipt, fields)
        if self._limits and not self.may_sign(key_id, receipt.experiment):
            raise refused("FORGED_RECEIPT", f"key {key_id} may not sign for this experiment")
        return receipt, identity


def _entries(text: str) -> list[str]:
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [part for line in lines if line.strip() for part in line.strip().split(",")]
