"""Units measured by a plan, whatever happens to the workers: live, and folded again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from streams.kafka.admin import create_topics
from streams.model.events import CommandKind
from streams.model.ids import experiment_id
from streams.model.quantities import MICRO
from streams.tallies.cell import ProductTally, Tally
from streams.tallies.merging import merge
from streams.tallies.periods import PeriodTally
from streams.wire.cells import decode_cell
from tests.integration.engine_ledger import Ledger, workers_of
from tests.integration.test_replay import replayed
from tests.patience import until

PLAIN, CAPPED = 7, 8
CAP = 50 * MICRO


@pytest.fixture
def workers(settings, tmp_path):
    create_topics(settings)
    with workers_of(settings, tmp_path) as running:
        yield running


@pytest.fixture
def ledger(settings):
    return Ledger(settings)


class Shop:
    """Sends purchases, and keeps what every unit has spent."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._spent: Counter[tuple[int, str]] = Counter()
        self._orders: Counter[tuple[int, str]] = Counter()

    def send(self, experiment: int) -> None:
        for partition in range(4):
            for number, receipt in enumerate(self._ledger.assign(experiment, partition)[:20]):
                for value in (30 * MICRO, -5 * MICRO * (number % 2), 40 * MICRO):
                    self._ledger.observe(receipt, metric="spent", value=value, times=2)
                    self._spent[experiment, receipt] += value
                for _ in range(1 + number % 3):
                    self._ledger.observe(receipt, metric="orders", times=2)
                    self._orders[experiment, receipt] += MICRO
        self._ledger.producer.flush()

    def is_exact(self, experiment: int, cap: int | None = None) -> bool:
        snapshot = self._ledger.snapshot(experiment)
        if snapshot is None:
            return False
        expected: Counter[int] = Counter()
        for (number, receipt), spent in self._spent.items():
            if number == experiment:
                worth = spent if cap is None else min(spent, cap)
                expected[self._ledger.opened(receipt).variant] += worth
        counted = {
            index: variant.metrics["spent"].sum_micro
            for index, variant in enumerate(snapshot.variants)
            if "spent" in variant.metrics
        }
        return counted == dict(expected)

    def products(self, experiment: int, cap: int) -> Counter[int]:
        """Return the sum of spent * orders of every variant, over the units."""
        found: Counter[int] = Counter()
        for (number, receipt), spent in self._spent.items():
            if number == experiment:
                product = min(spent, cap) * self._orders[number, receipt]
                found[self._ledger.opened(receipt).variant] += product
        return found


def tallied(ledger: Ledger, experiment: int) -> Tally:
    """Return what the newest cells in `tallies` sum to."""
    cells = (decode_cell(value) for _, value in ledger.read("tallies"))
    return merge(cell for cell in cells if cell.experiment == experiment)


def tallied_products(ledger: Ledger, experiment: int) -> Counter[int]:
    """Return the same as the newest cells have it."""
    variants = tallied(ledger, experiment).variants
    none = ProductTally()
    return Counter(
        {
            index: variant.products.get(("orders", "spent"), none).total
            for index, variant in variants.items()
        }
    )


def sums(periods: Iterable[PeriodTally]) -> tuple[int, int, int, int]:
    """Return units, units with a value, observations and total of all periods."""
    every = sum(periods, PeriodTally())
    return every.units, every.units_with_value, sum(every.arrivals), every.total


def test_capped_units_are_exact_over_crashes_and_in_a_replay(settings, workers, ledger):
    worker = workers.start()
    shop = Shop(ledger)
    ledger.start_experiment(PLAIN, primaryMetric="spent")
    shop.send(PLAIN)
    until(lambda: shop.is_exact(PLAIN))
    # The worker has read the commands by now, and meets another experiment.
    ledger.start_experiment(
        CAPPED,
        primaryMetric="spent",
        secondaryMetrics=["each"],
        periods={"halfLife": 3600, "delayed": True},
        metrics={
            "spent": {"kind": "revenue", "cap": 50},
            "each": {"kind": "ratio", "numerator": "spent", "denominator": "orders"},
        },
    )
    refused = ledger.command(CAPPED, CommandKind.UPDATE, {"metrics": {"spent": {"cap": 40}}})
    assert (refused["code"], refused["path"]) == ("METRICS_FIXED", "metrics")

    shop.send(CAPPED)
    worker.kill()
    workers.start()
    shop.send(CAPPED)
    shop.send(PLAIN)

    until(lambda: shop.is_exact(CAPPED, CAP))
    until(lambda: shop.is_exact(PLAIN))
    until(lambda: tallied_products(ledger, CAPPED) == shop.products(CAPPED, CAP))
    for variant in tallied(ledger, CAPPED).variants.values():
        spent = variant.metrics["spent"]
        whole = variant.units, spent.units, spent.observations, spent.total
        assert sums(variant.periods.values()) == whole
    assert not any(variant.periods for variant in tallied(ledger, PLAIN).variants.values())
    ledger.command(CAPPED, CommandKind.PAUSE)
    until(lambda: (found := ledger.snapshot(CAPPED)) and found.experiment.status == "paused")
    code, report = replayed(settings, "verify")
    assert (code, report["difference"]) == (0, None)
    assert report["cells"] >= 12

    name = experiment_id(CAPPED)
    code, both = replayed(settings, "what-if", "--experiment", name, "--cap", "spent=none")
    assert code == 0
    # The first two of three purchases and a refund leave more than 50 to every unit.
    assert both["supposed"]["variants"][0]["upper"] > both["actual"]["variants"][0]["upper"]
