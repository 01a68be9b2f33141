"""Report of a verification."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from streams.replay.difference import Difference


@dataclass(frozen=True, slots=True)
class Report:
    """Compared records, and the first difference.

    Attributes:
        difference: The first difference; None when everything compared is equal.
        experiments: Experiments that something was compared of.
        cells: Newest cells of `tallies` compared.
        snapshots: Snapshots of `posteriors` compared, allocation and all.
        conclusions: Snapshots as of conclusions compared.
        projected: Snapshots of Redis compared.
        commands: Decisions about commands compared.
        actions: Changes of the recommended action compared, those on a snapshot that the log still
            has.
        actions_not_compared: The others: which states were evaluated is not in the log.
        behind: Cells that the log continues after, by at least one event of theirs; they lag, and
            that is no difference.
        unreadable: Records of `tallies`, `posteriors`, `timeseries` and `decisions` that cannot be
            decoded.
        deduplication_limit: Events remembered per experiment and partition. It comes from the
            settings, not from the log; live with another, the answers may differ.
        key_ids: Ids of the receipt keys, of which the same is true.
        points: Points of time series compared.
    """

    difference: Difference | None
    experiments: int
    cells: int
    snapshots: int
    conclusions: int
    projected: int
    commands: int
    actions: int
    actions_not_compared: int
    behind: int
    unreadable: int
    deduplication_limit: int
    key_ids: tuple[int, ...]
    points: int = 0

    @property
    def is_equal(self) -> bool:
        """Whether there is no difference."""
        return self.difference is None

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        fields = {_camel(name): value for name, value in asdict(self).items()}
        return {"equal": self.is_equal} | fields


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
