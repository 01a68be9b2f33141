"""Observer of an export's progress; needs none of the libraries of an export."""

from __future__ import annotations


class ExportObserver:
    """Observer of an export's progress; the base class ignores it."""

    def begin(self, offsets: int) -> None:
        """Take note that so many offsets are to be exported."""

    def advance(self, offsets: int) -> None:
        """Take note that so many offsets were passed."""

    def committed(self, rows: int) -> None:
        """Take note that so many more rows are in the target permanently."""
