"""Mutations of a corpus, as hypothesis draws them."""

from __future__ import annotations

import random
import time
from functools import cache

from hypothesis import strategies as st

from tests.fuzz.decoders import Decoder, check
from tests.fuzz.seeds import CORPUS

SPLICES = (
    b"",
    b"\x00",
    b"\xff" * 9,
    b"\x80" * 7 + b"\x02",  # a count of 2**56
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # 2**63 - 1
    b"\x01",  # -1
    b"[" * 200,
    b'{"a":' * 200,
    b"\xed\xa0\x80",  # a lone surrogate
    b"1e400",
    b"NaN",
    b"\\ud800",
    b"\x1b[2J",
)


@cache
def corpus(name: str) -> tuple[bytes, ...]:
    """Return the inputs that are kept of a decoder."""
    return tuple(file.read_bytes() for file in sorted((CORPUS / name).iterdir()))


def mutated(name: str) -> st.SearchStrategy[bytes]:
    """Return a strategy for inputs near those of the corpus, and for any bytes."""
    kept = st.sampled_from(corpus(name))
    near = st.builds(_spliced, kept, st.integers(0, 2_000), st.integers(0, 20), _spliced_in)
    return st.one_of(
        near, st.builds(_spliced, near, st.integers(0, 2_000), st.just(1), _spliced_in)
    )


_spliced_in = st.sampled_from(SPLICES) | st.binary(max_size=12)


def _spliced(data: bytes, at: int, cut: int, more: bytes) -> bytes:
    at %= len(data) + 1
    return data[:at] + more + data[at + cut :]


def find(name: str, decoder: Decoder, seconds: float) -> bytes | None:
    """Return an input that is a finding, or None if none is found in so many seconds."""
    draws = random.Random(time.time_ns())
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = draws.choice(corpus(name))
        for _ in range(draws.randint(1, 4)):
            more = draws.choice([*SPLICES, draws.randbytes(draws.randint(0, 12))])
            data = _spliced(data, draws.randint(0, len(data)), draws.randint(0, 20), more)
        try:
            check(decoder, data)
        except Exception:  # noqa: BLE001 - that is what is looked for
            return data
    return None
