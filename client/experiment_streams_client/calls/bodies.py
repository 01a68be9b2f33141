"""Bodies of requests as JSON, refused by the codes of the API where JSON cannot hold them."""

from __future__ import annotations

import json
from typing import Any

from streams.model.errors import InputError

# A cycle is not looked for: it is nested too deeply.
_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
).encode


def json_body(value: Any) -> bytes:
    """Return a JSON-like value as JSON.

    Raises:
        InputError: it holds a NaN or an infinity (`NOT_FINITE`), what JSON has no value for
            (`WRONG_TYPE`), a lone surrogate (`INVALID_JSON`), or is nested too deeply (`TOO_DEEP`).
    """
    try:
        return _encode(value).encode()
    except UnicodeEncodeError as error:
        raise InputError("INVALID_JSON", f"the body is not UTF-8: {error}") from error
    except TypeError as error:
        raise InputError("WRONG_TYPE", f"the body is not JSON: {error}") from error
    except ValueError as error:
        raise InputError("NOT_FINITE", "a number must be finite") from error
    except RecursionError as error:
        raise InputError("TOO_DEEP", "the body is nested too deeply") from error
