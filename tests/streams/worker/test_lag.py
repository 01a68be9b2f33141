"""The delay until records are durable, by topic."""

from __future__ import annotations

from faust.types import TP

from streams.worker import metrics
from streams.worker.lag import REMEMBERED_S, Lag

FIRST, SECOND, OTHER = TP("observations", 0), TP("observations", 1), TP("impressions", 0)


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_an_idle_partition_has_no_lag_however_old_its_last_record_is():
    clock = Clock()
    lag = Lag(clock)
    assert lag.seconds("observations") == 0.0

    lag.arrived(FIRST, 999_900)
    lag.durable(FIRST, 1)
    clock.now_s += 3600

    assert lag.seconds("observations") == 0.0


def test_the_oldest_record_that_waits_says_how_late_a_topic_is():
    clock = Clock()
    lag = Lag(clock)
    lag.arrived(FIRST, 998_000)
    lag.arrived(FIRST, 999_000)
    lag.arrived(SECOND, 995_000)
    lag.arrived(OTHER, 900_000)

    assert lag.seconds("observations") == 5.0
    lag.durable(SECOND, 1)
    clock.now_s += REMEMBERED_S + 1
    assert lag.seconds("observations") == REMEMBERED_S + 3
    assert lag.seconds("impressions") == REMEMBERED_S + 101


def test_a_delay_is_seen_by_a_scrape_after_it():
    clock = Clock()
    lag = Lag(clock)
    for age_s in (4, 2, 3):
        lag.arrived(FIRST, round(1000 * (clock.now_s - age_s)))
        lag.durable(FIRST, 1)
        clock.now_s += 10

    assert lag.seconds("observations") == 4.0  # of 30 s ago
    clock.now_s += 1
    assert lag.seconds("observations") == 3.0
    clock.now_s += 20
    assert lag.seconds("observations") == 0.0


def test_a_partition_of_another_worker_waits_there():
    clock = Clock()
    lag = Lag(clock)
    lag.arrived(FIRST, 0)
    lag.forget(FIRST)
    lag.durable(FIRST, 1)  # a batch that was under way

    assert lag.seconds("observations") == 0.0


def test_several_batches_may_become_durable_at_once():
    lag = Lag(Clock())
    for timestamp_ms in (990_000, 991_000, 992_000):
        lag.arrived(FIRST, timestamp_ms)
    lag.durable(FIRST, 2)

    assert lag.seconds("observations") == 10.0
    lag.forget(FIRST)


def test_a_partition_of_another_worker_has_no_series_here():
    def partitions() -> set[str]:
        [family] = metrics.LAG.collect()
        return {
            sample.labels["partition"]
            for sample in family.samples
            if sample.labels["topic"] == "lag-test"
        }

    metrics.LAG.labels("lag-test", 1).set(5)
    metrics.LAG.labels("lag-test", 2).set(7)
    metrics.forget("lag-test", 1)
    metrics.forget("lag-test", 3)  # never read

    assert partitions() == {"2"}
    metrics.forget("lag-test", 2)


def test_every_series_of_a_topic_is_there_before_its_first_event():
    metrics.begin("begin-test", Lag())

    for metric in (metrics.LOG_GAPS, metrics.EVENTS, metrics.DUPLICATES, metrics.LAG_SECONDS):
        [family] = metric.collect()
        values = [each.value for each in family.samples if each.labels["topic"] == "begin-test"]
        assert 0.0 in values
