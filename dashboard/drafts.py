"""Forms submitted after their session had ended: kept until their page is shown again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

MAX_DRAFTS = 64
"""Forms that are kept: each waits for the one page that follows."""


class Drafts:
    """Fields typed into forms, by the session that gets them back; in memory alone."""

    def __init__(self) -> None:
        self._drafts: OrderedDict[tuple[str, str], Mapping[str, str]] = OrderedDict()

    def keep(self, session_id: str, path: str, fields: Mapping[str, str]) -> None:
        """Keep the fields of a form for the next page at its address."""
        self._drafts[session_id, path] = fields
        self._drafts.move_to_end((session_id, path))
        if len(self._drafts) > MAX_DRAFTS:
            self._drafts.popitem(last=False)

    def take(self, session_id: str, path: str) -> Mapping[str, str]:
        """Return the fields of a form, once; empty where none are kept."""
        return self._drafts.pop((session_id, path), {})
