"""Bound on the evidence of a logged decision, so that it fits its topic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_EVIDENCE_BYTES = 262_144
"""Largest evidence of a decision, as JSON: a quarter of a record of `decisions`. An experiment of
40 variants with guardrails has some 100 kB."""

MAX_MEMBER_BYTES = 16_384
"""Largest member that is kept of evidence that is too large: a number for each of 256 variants."""

OMITTED = "omitted"


def bounded(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return evidence without its large members if it is too large, and their names.

    >>> bounded({"reason": "late", "evidence": "x" * 300_000})
    {'reason': 'late', 'omitted': ['evidence']}
    """
    sizes = {name: _size(value) for name, value in evidence.items()}
    if sum(sizes.values()) <= MAX_EVIDENCE_BYTES:
        return dict(evidence)
    large = [name for name, size in sizes.items() if size > MAX_MEMBER_BYTES]
    return {name: value for name, value in evidence.items() if name not in large} | {OMITTED: large}


def _size(value: Any) -> int:
    """Return the bytes of a JSON value; of anything else, more than is ever kept."""
    try:
        return len(json.dumps(value, ensure_ascii=False, default=str).encode())
    except (TypeError, ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
        return MAX_EVIDENCE_BYTES + 1
