"""Query strings, read strictly: every parameter is known, and given once."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import parse_qsl

from streams.model.errors import InputError

MAX_PARAMETERS = 32


def check_query(query: bytes, known: Collection[str] = ()) -> None:
    """Return if a query string has known parameters alone, each of them once.

    A misspelt filter that is ignored would be answered with something else than was asked for.

    Raises:
        InputError: it has another one (`UNKNOWN_PARAMETER`), one twice (`DUPLICATE_PARAMETER`), or
            is not a query string in UTF-8 (`INVALID_QUERY`). The path is `query.<name>`.
    """
    if not query:
        return
    try:
        pairs = parse_qsl(
            query.decode(),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError as error:  # of UTF-8, too
        raise InputError(
            "INVALID_QUERY", "the query string must be name=value&... in UTF-8", "query"
        ) from error
    seen = set()
    for name, _ in pairs:
        path = f"query.{name[:64]}"
        if name not in known:
            allowed = ", ".join(sorted(known)) or "none"
            raise InputError(
                "UNKNOWN_PARAMETER", f"no such parameter; this call takes: {allowed}", path
            )
        if name in seen:
            raise InputError("DUPLICATE_PARAMETER", "given more than once", path)
        seen.add(name)
