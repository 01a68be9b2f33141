"""Observer of an export's progress; needs none of the libraries of an export."""

from __future__ import annotations


class ExportObserver:
    """Observer of an export's progress; the base class ignores it."""

    def begin(self, offsets: int) -> None:
        """Receive the number of offsets to be exported."""

    def advance(self, offsets: int) -> None:
        """Receive the number of further offsets passed."""

    def committed(self, rows: int) -> None:
        """Receive the number of further rows that the target has committed."""
