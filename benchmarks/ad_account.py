"""Account of what an ad server's users did, and bounds of what an engine may have counted of it.

What was answered with success must be counted, what was not answered may be, and nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from experiment_streams_client import Stats

CLICK = "click"
REVENUE = "revenue"
REASON = "bot"


class Line(NamedTuple):
    """Comparison of a number of events with what was counted.

    Attributes:
        name: Kind of the events.
        acknowledged: Events that must be counted.
        counted: Events that are.
        possible: Events that may be: the acknowledged ones, and those of unknown fate.
    """

    name: str
    acknowledged: int
    counted: int
    possible: int

    @property
    def is_exact(self) -> bool:
        """Whether everything acknowledged is counted, and nothing that was not sent."""
        return self.acknowledged <= self.counted <= self.possible


@dataclass(slots=True)
class Account:
    """Account of a run.

    An event is acknowledged from the first success on, however often it failed before.

    Attributes:
        exposures: Whether the exposure was acknowledged, by receipt.
        clicks: The same by receipt and impression.
        orders: The same by user and order.
        receipts: Receipts that each user was shown.
        voided: Receipts that were voided; every one of them was acknowledged in the end.
        outcomes: Numbers of answers by kind of request and outcome, for the report.
    """

    exposures: dict[str, bool] = field(default_factory=dict)
    clicks: dict[tuple[str, str], bool] = field(default_factory=dict)
    orders: dict[tuple[str, str], bool] = field(default_factory=dict)
    receipts: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    voided: set[str] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)

    def shown(self, user: str, receipt: str) -> None:
        """Note that a user was shown the ad of a receipt."""
        self.receipts[user].add(receipt)

    def exposed(self, receipt: str, *, is_acknowledged: bool) -> None:
        """Note an exposure."""
        self.exposures[receipt] = self.exposures.get(receipt, False) or is_acknowledged

    def clicked(self, receipt: str, impression: str, *, is_acknowledged: bool) -> None:
        """Note a click."""
        place = receipt, impression
        self.clicks[place] = self.clicks.get(place, False) or is_acknowledged

    def ordered(self, user: str, order: str, *, is_acknowledged: bool) -> None:
        """Note an order."""
        place = user, order
        self.orders[place] = self.orders.get(place, False) or is_acknowledged

    def compared(self, stats: Stats) -> tuple[Line, ...]:
        """Return what must and may be counted beside what is."""
        counted: Counter[str] = Counter()
        for variant in stats.variants:
            for name, metric in variant.stats.metrics.items():
                counted[name] += metric.observations
        n_voided = sum(each.units for each in stats.voided if each.reason == REASON)
        return (
            Line("exposures", *self._exposures(stats.total_exposures or 0)),
            Line("clicks", *self._clicks(counted[CLICK])),
            Line("orders", *self._orders(counted[REVENUE])),
            Line("voids", len(self.voided), n_voided, len(self.voided)),
        )

    def _exposures(self, counted: int) -> tuple[int, int, int]:
        """Count units; a user who got two receipts while Redis was away may be one or two."""
        certain = sum(
            any(self.exposures.get(each) for each in receipts - self.voided)
            for receipts in self.receipts.values()
        )
        return certain, counted, len(self.exposures.keys() - self.voided)

    def _clicks(self, counted: int) -> tuple[int, int, int]:
        certain = sum(
            is_acknowledged and self.exposures.get(receipt, False) and receipt not in self.voided
            for (receipt, _), is_acknowledged in self.clicks.items()
        )
        return certain, counted, sum(each not in self.voided for each, _ in self.clicks)

    def _orders(self, counted: int) -> tuple[int, int, int]:
        certain = sum(
            is_acknowledged and all(map(self._is_exposed, self.receipts[user]))
            for (user, _), is_acknowledged in self.orders.items()
        )
        possible = sum(bool(self.receipts[user] - self.voided) for user, _ in self.orders)
        return certain, counted, possible

    def _is_exposed(self, receipt: str) -> bool:
        return self.exposures.get(receipt, False) and receipt not in self.voided


def table(lines: Collection[Line], outcomes: Mapping[str, int]) -> str:
    """Return lines and outcomes as Markdown."""
    rows = [
        "| | acknowledged | counted | acknowledged and unanswered | |",
        "|---|---|---|---|---|",
        *(
            f"| {each.name} | {each.acknowledged:,} | {each.counted:,} | {each.possible:,} "
            f"| {'exact' if each.is_exact else 'WRONG'} |"
            for each in lines
        ),
        "",
        ", ".join(f"{name} {number:,}" for name, number in sorted(outcomes.items())),
    ]
    return "\n".join(rows)
