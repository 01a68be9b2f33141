"""Headers of records, as far as the client can read them."""

from __future__ import annotations

from confluent_kafka import Message

Headers = tuple[tuple[str, bytes | None], ...]
"""Name and value of each, in their order."""


def headers_of(message: Message) -> Headers:
    """Return the headers of a record; ask once, since a client that failed may crash.

    Names that are no UTF-8, which brokers take, are beyond the client: such a record has none.
    """
    try:
        found = message.headers() or ()
    except (SystemError, UnicodeDecodeError):
        return ()
    pairs = found.items() if isinstance(found, dict) else found
    return tuple(
        (name, value.encode() if isinstance(value, str) else value) for name, value in pairs
    )
